//! Names of layers, providers and chains.

use std::{
    borrow::{Borrow, Cow},
    fmt,
    str::FromStr,
    sync::Arc,
};

use crate::ConfigError;

/// A checked name: `[A-Za-z][A-Za-z0-9_.-]{0,63}`.
///
/// Such a name is an RFC 9651 token that needs no escaping in headers, metrics, logs or URLs. A literal is checked at
/// compile time by [`name!`](crate::name!), a run-time string by [`Name::new`]. Cloning never copies the text.
///
/// ```
/// use backstop_core::{Name, name};
///
/// assert_eq!(name!("ml_service").as_str(), "ml_service");
/// assert_eq!(Name::new("ml service").unwrap_err().field, "name");
/// ```
///
/// ```compile_fail
/// let spaces = backstop_core::name!("ml service");
/// ```
#[derive(Clone)]
pub struct Name(Text);

#[derive(Clone)]
enum Text {
    Static(&'static str),
    Shared(Arc<str>),
}

impl Name {
    /// The rule for names, as [`ConfigError::allowed`] shows it.
    pub const ALLOWED: &'static str = "a letter, then at most 63 letters, digits, '_', '.' or '-'";

    /// Checks a name that is only known at run time.
    ///
    /// # Errors
    /// [`ConfigError`] with the field `name` if the text isn't a valid name.
    pub fn new(text: impl Into<Cow<'static, str>>) -> Result<Self, ConfigError> {
        let text = text.into();
        if !is_name(&text) {
            return Err(ConfigError::new("name", text, Self::ALLOWED));
        }
        Ok(Self(match text {
            Cow::Borrowed(text) => Text::Static(text),
            Cow::Owned(text) => Text::Shared(text.into()),
        }))
    }

    /// For [`name!`](crate::name!), which evaluates it at compile time.
    #[doc(hidden)]
    #[must_use]
    #[expect(clippy::panic, reason = "evaluated by the compiler, where a panic is the error message")]
    pub const fn __from_literal(text: &'static str) -> Self {
        if !is_name(text) {
            panic!("a name is a letter, then at most 63 letters, digits, '_', '.' or '-'");
        }
        Self(Text::Static(text))
    }

    /// The text of the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Text::Static(text) => text,
            Text::Shared(text) => text,
        }
    }
}

/// A [`Name`](crate::Name) from a literal, checked at compile time.
///
/// ```
/// let name = backstop_core::name!("popular_items");
/// assert_eq!(name, "popular_items");
/// ```
#[macro_export]
macro_rules! name {
    ($text:expr) => {
        const { $crate::Name::__from_literal($text) }
    };
}

const fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    if bytes.is_empty() || bytes.len() > 64 || !bytes[0].is_ascii_alphabetic() {
        return false;
    }
    let mut i = 1;
    while i < bytes.len() {
        if !bytes[i].is_ascii_alphanumeric() && !matches!(bytes[i], b'_' | b'.' | b'-') {
            return false;
        }
        i += 1;
    }
    true
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// So that maps by name are searched by text.
impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Name {}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl std::hash::Hash for Name {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl FromStr for Name {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        Self::new(text.to_owned())
    }
}

impl TryFrom<String> for Name {
    type Error = ConfigError;

    fn try_from(text: String) -> Result<Self, ConfigError> {
        Self::new(text)
    }
}

/// So that builders take a [`Name`] where they take a string.
impl From<Name> for Cow<'static, str> {
    fn from(name: Name) -> Self {
        match name.0 {
            Text::Static(text) => Cow::Borrowed(text),
            Text::Shared(text) => Cow::Owned(text.as_ref().to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_token_of_at_most_64_characters() {
        for good in ["a", "ml_service", "eu-west.1", &"x".repeat(64)] {
            assert_eq!(Name::new(good.to_owned()).unwrap(), good);
        }
        for bad in ["", "1a", "_a", "a b", "a/b", "é", "a\n", &"x".repeat(65)] {
            let error = Name::new(bad.to_owned()).unwrap_err();
            assert_eq!((&*error.field, error.value.as_str(), &*error.allowed), ("name", bad, Name::ALLOWED));
        }
    }
}

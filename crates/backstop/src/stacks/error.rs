//! The error.

use std::{error::Error, fmt};

use backstop_core::ConfigError;

/// Why a file doesn't describe the stacks: which setting, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StacksError {
    path: String,
    cause: Cause,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Cause {
    /// The document can't be read, in the words of its parser.
    Unreadable(String),
    /// A value isn't allowed.
    Refused(ConfigError),
}

impl StacksError {
    pub(super) fn unreadable(path: String, message: impl fmt::Display) -> Self {
        Self { path, cause: Cause::Unreadable(message.to_string().trim_end().to_owned()) }
    }

    /// A setting of `stack`. The error's field begins with its part.
    pub(super) fn refused(stack: &str, error: ConfigError) -> Self {
        Self { path: format!("{stack}.{}", error.field), cause: Cause::Refused(error) }
    }

    pub(super) fn unknown(dependency: &str, known: &[&str]) -> Self {
        let error = ConfigError::new("dependency", dependency.to_owned(), known.join(", "));
        Self { path: dependency.to_owned(), cause: Cause::Refused(error) }
    }

    pub(super) fn no_table(dependency: &str, part: &str) -> Self {
        let message = format!("no such table: the file needs it for a {}", part.replace('_', " "));
        Self::unreadable(format!("{dependency}.{part}"), message)
    }

    pub(super) fn missing(dependency: &str) -> Self {
        Self::unreadable(dependency.to_owned(), "missing: its stack exists, and a reload can't remove it")
    }

    /// The path of the setting, such as `ml_service.retry.max_attempts`. Empty for a document that isn't TOML.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The value and what is allowed, if the document could be read.
    #[must_use]
    pub const fn config_error(&self) -> Option<&ConfigError> {
        match &self.cause {
            Cause::Refused(error) => Some(error),
            Cause::Unreadable(_) => None,
        }
    }
}

impl fmt::Display for StacksError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Cause::Unreadable(message) if self.path.is_empty() => f.write_str(message),
            Cause::Unreadable(message) => write!(f, "{}: {message}", self.path),
            Cause::Refused(error) => write!(f, "{}: {error}", self.path),
        }
    }
}

impl Error for StacksError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.config_error().map(|error| error as _)
    }
}

//! Reads and writes values by their text, for `#[serde(with = "backstop_kit::as_text::vec")]`: header names, for example.
//!
//! ```
//! use http::HeaderName;
//!
//! #[derive(serde::Deserialize, serde::Serialize)]
//! struct Headers {
//!     #[serde(with = "backstop_kit::as_text::vec")]
//!     trusted: Vec<HeaderName>,
//! }
//! ```

use std::{borrow::Cow, fmt::Display, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A value that is written as its text.
struct AsText<T>(T);

impl<T: Display> Serialize for AsText<&T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self.0)
    }
}

impl<'de, T: FromStr<Err: Display>> Deserialize<'de> for AsText<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map(Self).map_err(|error| de::Error::custom(format_args!("{text:?}: {error}")))
    }
}

/// For a value that may be missing.
pub mod option {
    use super::*;

    /// Writes a value as its text.
    ///
    /// # Errors
    /// Those of the format.
    pub fn serialize<T: Display, S: Serializer>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
        value.as_ref().map(AsText).serialize(serializer)
    }

    /// Reads a value from its text.
    ///
    /// # Errors
    /// Those of the format, and of the value's parser.
    pub fn deserialize<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        Ok(Option::<AsText<T>>::deserialize(deserializer)?.map(|AsText(value)| value))
    }
}

/// For a list of values.
pub mod vec {
    use super::*;

    /// Writes values as their texts.
    ///
    /// # Errors
    /// Those of the format.
    pub fn serialize<T: Display, S: Serializer>(values: &[T], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(AsText))
    }

    /// Reads values from their texts.
    ///
    /// # Errors
    /// Those of the format, and of the values' parser.
    pub fn deserialize<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        Ok(Vec::<AsText<T>>::deserialize(deserializer)?.into_iter().map(|AsText(value)| value).collect())
    }
}

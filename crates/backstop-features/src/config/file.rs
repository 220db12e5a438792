//! How the errors of a feature are written in a file: `{ min_errors = 5, … }`, or `"ignore"`.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::{DegradeOnErrors, OnErrors};

const IGNORE: &str = "ignore";

impl Serialize for OnErrors {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Degrade(rules) => rules.serialize(serializer),
            Self::Ignore => serializer.serialize_str(IGNORE),
        }
    }
}

impl<'de> Deserialize<'de> for OnErrors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OnErrorsVisitor;

        impl<'de> Visitor<'de> for OnErrorsVisitor {
            type Value = OnErrors;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "the rules of a degradation, or {IGNORE:?}")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<OnErrors, E> {
                if text == IGNORE {
                    Ok(OnErrors::Ignore)
                } else {
                    Err(E::invalid_value(de::Unexpected::Str(text), &self))
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OnErrors, A::Error> {
                DegradeOnErrors::deserialize(MapAccessDeserializer::new(map)).map(OnErrors::Degrade)
            }
        }

        deserializer.deserialize_any(OnErrorsVisitor)
    }
}

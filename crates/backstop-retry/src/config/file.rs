//! How a budget is written in a file: `{ ratio = 0.2, … }`, or `"unlimited"`.

use std::fmt;

use backstop_kit::RetryBudgetConfig;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
    ser,
};

use crate::Budget;

const UNLIMITED: &str = "unlimited";

impl Serialize for Budget {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Own(config) => config.serialize(serializer),
            Self::Unlimited => serializer.serialize_str(UNLIMITED),
            Self::Shared(_) => Err(ser::Error::custom("a shared budget can't be written to a file")),
        }
    }
}

impl<'de> Deserialize<'de> for Budget {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BudgetVisitor;

        impl<'de> Visitor<'de> for BudgetVisitor {
            type Value = Budget;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "the settings of a budget, or {UNLIMITED:?}")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Budget, E> {
                if text == UNLIMITED {
                    Ok(Budget::Unlimited)
                } else {
                    Err(E::invalid_value(de::Unexpected::Str(text), &self))
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Budget, A::Error> {
                RetryBudgetConfig::deserialize(MapAccessDeserializer::new(map)).map(Budget::Own)
            }
        }

        deserializer.deserialize_any(BudgetVisitor)
    }
}

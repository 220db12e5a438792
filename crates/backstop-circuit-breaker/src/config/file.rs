//! How choices are written in a file: a [`Wait`] as `"60s"` or `{ first = "5s", max = "2m" }`, a [`Window`] as `100` calls or
//! `"10s"`.

use std::{fmt, time::Duration};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::choices::{Wait, Window};

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Growing {
    #[serde(with = "humantime_serde")]
    first: Duration,
    #[serde(with = "humantime_serde")]
    max: Duration,
}

impl Serialize for Wait {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::Fixed(wait) => humantime_serde::serialize(&wait, serializer),
            Self::Growing { first, max } => Growing { first, max }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Wait {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WaitVisitor;

        impl<'de> Visitor<'de> for WaitVisitor {
            type Value = Wait;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration, or the first and the max of a growing wait")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Wait, E> {
                humantime_serde::deserialize(de::value::StrDeserializer::<E>::new(text)).map(Wait::Fixed)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Wait, A::Error> {
                let Growing { first, max } = Growing::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Wait::Growing { first, max })
            }
        }

        deserializer.deserialize_any(WaitVisitor)
    }
}

impl Serialize for Window {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Calls(calls) => calls.serialize(serializer),
            Self::Time(time) => humantime_serde::serialize(time, serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Window {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WindowVisitor;

        impl Visitor<'_> for WindowVisitor {
            type Value = Window;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of calls, or a duration")
            }

            fn visit_u64<E: de::Error>(self, calls: u64) -> Result<Window, E> {
                let calls = calls.try_into().map_err(|_| E::invalid_value(de::Unexpected::Unsigned(calls), &self))?;
                Ok(Window::Calls(calls))
            }

            fn visit_i64<E: de::Error>(self, calls: i64) -> Result<Window, E> {
                let calls = calls.try_into().map_err(|_| E::invalid_value(de::Unexpected::Signed(calls), &self))?;
                Ok(Window::Calls(calls))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Window, E> {
                humantime_serde::deserialize(de::value::StrDeserializer::<E>::new(text)).map(Window::Time)
            }
        }

        deserializer.deserialize_any(WindowVisitor)
    }
}

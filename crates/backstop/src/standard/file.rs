//! How a standard stack is written in a file: a part is a table with its settings, or `false` to leave it out. A timeout may be
//! its limit alone.

use std::{fmt, marker::PhantomData, time::Duration};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::StandardConfig;
use crate::{BulkheadConfig, CircuitBreakerConfig, PropagateDeadlineConfig, RetryConfig, TimeoutConfig};

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    name: String,
    retry: Part<RetryConfig>,
    circuit_breaker: Part<CircuitBreakerConfig>,
    bulkhead: Part<BulkheadConfig>,
    timeout: Part<TimeoutConfig>,
    propagate_deadline: Part<PropagateDeadlineConfig>,
}

impl Default for File {
    fn default() -> Self {
        let StandardConfig { retry, circuit_breaker, bulkhead, timeout, propagate_deadline, .. } =
            StandardConfig::new("");
        Self {
            name: String::new(),
            retry: Part(retry),
            circuit_breaker: Part(circuit_breaker),
            bulkhead: Part(bulkhead),
            timeout: Part(timeout),
            propagate_deadline: Part(propagate_deadline),
        }
    }
}

impl<'de> Deserialize<'de> for StandardConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let File { name, retry, circuit_breaker, bulkhead, timeout, propagate_deadline } =
            File::deserialize(deserializer)?;
        let mut config = Self::new("");
        (config.retry, config.circuit_breaker, config.bulkhead) = (retry.0, circuit_breaker.0, bulkhead.0);
        (config.timeout, config.propagate_deadline) = (timeout.0, propagate_deadline.0);
        if let Some(other) = config.part_names().find(|part| !part.is_empty() && **part != name) {
            let message = format_args!("a part has the name {other:?}: it must be the stack's, {name:?}, or left out");
            return Err(de::Error::custom(message));
        }
        Ok(config.with_name(name))
    }
}

impl Serialize for StandardConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(untagged)]
        enum PartInFile<'a, T> {
            LeftOut(bool),
            Table(&'a T),
        }

        impl<'a, T> From<&'a Option<T>> for PartInFile<'a, T> {
            fn from(part: &'a Option<T>) -> Self {
                part.as_ref().map_or(Self::LeftOut(false), Self::Table)
            }
        }

        #[derive(Serialize)]
        struct File<'a> {
            name: &'a str,
            retry: PartInFile<'a, RetryConfig>,
            circuit_breaker: PartInFile<'a, CircuitBreakerConfig>,
            bulkhead: PartInFile<'a, BulkheadConfig>,
            timeout: PartInFile<'a, TimeoutConfig>,
            propagate_deadline: PartInFile<'a, PropagateDeadlineConfig>,
        }

        let Self { name, retry, circuit_breaker, bulkhead, timeout, propagate_deadline } = self;
        File {
            name,
            retry: retry.into(),
            circuit_breaker: circuit_breaker.into(),
            bulkhead: bulkhead.into(),
            timeout: timeout.into(),
            propagate_deadline: propagate_deadline.into(),
        }
        .serialize(serializer)
    }
}

/// A part, or `None` if it is left out.
struct Part<T>(Option<T>);

/// A part's configuration.
trait PartConfig: Sized {
    fn defaults() -> Self;

    /// The part by its main setting, if that is a time.
    fn with_time(_: Duration) -> Option<Self> {
        None
    }
}

macro_rules! part_configs {
    ($($config:ty),+) => {$(
        impl PartConfig for $config {
            fn defaults() -> Self {
                Self::new("")
            }
        }
    )+};
}

part_configs!(RetryConfig, CircuitBreakerConfig, BulkheadConfig, PropagateDeadlineConfig);

impl PartConfig for TimeoutConfig {
    fn defaults() -> Self {
        Self::new("")
    }

    fn with_time(limit: Duration) -> Option<Self> {
        let mut config = Self::defaults();
        config.limit = limit;
        Some(config)
    }
}

impl<'de, T: PartConfig + Deserialize<'de>> Deserialize<'de> for Part<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PartVisitor<T>(PhantomData<T>);

        impl<'de, T: PartConfig + Deserialize<'de>> Visitor<'de> for PartVisitor<T> {
            type Value = Part<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of settings, or false to leave the part out")
            }

            fn visit_bool<E: de::Error>(self, is_in: bool) -> Result<Part<T>, E> {
                Ok(Part(is_in.then(T::defaults)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Part<T>, E> {
                let time = humantime_serde::deserialize(de::value::StrDeserializer::<E>::new(text))?;
                let part = T::with_time(time).ok_or_else(|| E::invalid_type(de::Unexpected::Str(text), &self))?;
                Ok(Part(Some(part)))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Part<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(|part| Part(Some(part)))
            }
        }

        deserializer.deserialize_any(PartVisitor(PhantomData))
    }
}

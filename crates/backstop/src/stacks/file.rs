//! Reads the file, and gives each dependency what `default` says.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::error::StacksError;
#[cfg(feature = "fallback")]
use crate::FallbackConfig;
#[cfg(feature = "last-known-good")]
use crate::LastKnownGoodConfig;
use crate::{DeadlineConfig, StandardConfig};

/// The table that holds for all dependencies.
const DEFAULT: &str = "default";

/// What a document says of one dependency.
pub(super) struct Described {
    pub(super) standard: StandardConfig,
    pub(super) deadline: Option<DeadlineConfig>,
    #[cfg(feature = "last-known-good")]
    pub(super) last_known_good: Option<LastKnownGoodConfig>,
    #[cfg(feature = "fallback")]
    pub(super) fallback: Option<FallbackConfig>,
}

/// What a document says, by the names of the dependencies.
pub(super) fn read(text: &str) -> Result<BTreeMap<String, Described>, StacksError> {
    let mut tables: Table = toml::from_str(text).map_err(|error| StacksError::unreadable(String::new(), error))?;
    let mut default = tables.remove(DEFAULT).unwrap_or_else(|| Value::Table(Table::new()));
    spell_out(&mut default);
    // By itself, so that its own errors have its own path.
    _ = describe(DEFAULT, default.clone())?;
    let with_default = |(name, mut table): (String, Value)| {
        spell_out(&mut table);
        let described = describe(&name, merged(default.clone(), table))?;
        Ok((name, described))
    };
    tables.into_iter().map(with_default).collect()
}

fn describe(name: &str, mut table: Value) -> Result<Described, StacksError> {
    if let Value::Table(table) = &mut table {
        name_parts(name, table)?;
    }
    Ok(Described {
        deadline: take(name, "deadline", &mut table)?,
        #[cfg(feature = "last-known-good")]
        last_known_good: take(name, "last_known_good", &mut table)?,
        #[cfg(feature = "fallback")]
        fallback: take(name, "fallback", &mut table)?,
        standard: deserialize(name.to_owned(), table)?,
    })
}

/// Gives the dependency's name to its table and to all parts, and refuses another one.
fn name_parts(name: &str, table: &mut Table) -> Result<(), StacksError> {
    let set_name = |path: String, table: &mut Table| match table.insert("name".to_owned(), name.into()) {
        Some(other) if other.as_str() != Some(name) => Err(StacksError::unreadable(
            path + ".name",
            format!("{other} isn't allowed: the name is {name:?}, the table's"),
        )),
        _ => Ok(()),
    };
    for (part, value) in table.iter_mut() {
        if let Value::Table(part_table) = value {
            set_name(format!("{name}.{part}"), part_table)?;
        }
    }
    set_name(name.to_owned(), table)
}

/// A part that isn't one of the standard stack's. `None` if the table doesn't have it, or has it as `false`.
fn take<C: DeserializeOwned>(name: &str, part: &str, table: &mut Value) -> Result<Option<C>, StacksError> {
    let value = match table.as_table_mut().and_then(|table| table.remove(part)) {
        None | Some(Value::Boolean(false)) => return Ok(None),
        Some(Value::Boolean(true)) => Value::Table(Table::from_iter([("name".to_owned(), name.into())])),
        Some(value) => value,
    };
    deserialize(format!("{name}.{part}"), value).map(Some)
}

fn deserialize<C: DeserializeOwned>(at: String, value: Value) -> Result<C, StacksError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = match error.path().to_string().as_str() {
            "." => at,
            // An item of a list.
            path if path.starts_with('[') => format!("{at}{path}"),
            path => format!("{at}.{path}"),
        };
        StacksError::unreadable(path, error.into_inner().message())
    })
}

/// `timeout = "1s"` is short for a table, which can be merged. So is `deadline = "5s"`.
fn spell_out(table: &mut Value) {
    for part in ["timeout", "deadline"] {
        if let Some(time @ Value::String(_)) = table.get_mut(part) {
            let limit = time.clone();
            *time = Value::Table(Table::from_iter([("limit".to_owned(), limit)]));
        }
    }
}

/// `over`, and whatever of `under` it doesn't set.
fn merged(under: Value, over: Value) -> Value {
    match (under, over) {
        (Value::Table(mut under), Value::Table(over)) => {
            for (key, value) in over {
                let value = match under.remove(&key) {
                    Some(under) => merged(under, value),
                    None => value,
                };
                under.insert(key, value);
            }
            Value::Table(under)
        }
        // `true` puts a part in, with what the default says of it.
        (under @ Value::Table(_), Value::Boolean(true)) => under,
        (_, over) => over,
    }
}

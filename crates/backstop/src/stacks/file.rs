//! Reads the file, and gives each dependency what `default` says.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::error::StacksError;
use crate::StandardConfig;

/// The table that holds for all dependencies.
const DEFAULT: &str = "default";

/// The configurations of a document's dependencies, by their names.
pub(super) fn read(text: &str) -> Result<BTreeMap<String, StandardConfig>, StacksError> {
    let mut tables: Table = toml::from_str(text).map_err(|error| StacksError::unreadable(String::new(), error))?;
    let mut default = tables.remove(DEFAULT).unwrap_or_else(|| Value::Table(Table::new()));
    spell_out(&mut default);
    // By itself, so that its own errors have its own path.
    _ = config_of(DEFAULT, default.clone())?;
    let with_default = |(name, mut table): (String, Value)| {
        spell_out(&mut table);
        let config = config_of(&name, merged(default.clone(), table))?;
        Ok((name, config))
    };
    tables.into_iter().map(with_default).collect()
}

fn config_of(name: &str, table: Value) -> Result<StandardConfig, StacksError> {
    let config: StandardConfig = serde_path_to_error::deserialize(table).map_err(|error| {
        let path = match error.path().to_string().as_str() {
            "." => name.to_owned(),
            path => format!("{name}.{path}"),
        };
        StacksError::unreadable(path, error.into_inner().message())
    })?;
    if config.name.is_empty() || config.name == name {
        return Ok(config.with_name(name.to_owned()));
    }
    Err(StacksError::unreadable(format!("{name}.name"), "the name of a stack is that of its table"))
}

/// `timeout = "1s"` is short for a table, which can be merged.
fn spell_out(table: &mut Value) {
    if let Some(timeout @ Value::String(_)) = table.get_mut("timeout") {
        let limit = timeout.clone();
        *timeout = Value::Table(Table::from_iter([("limit".to_owned(), limit)]));
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

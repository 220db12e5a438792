//! Values as JSON, and JSON from outside.

use std::fmt;

use backstop_core::Value;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value as Json};

/// Writes a [`Value`]: a time as a number of seconds, and a number that JSON doesn't have as `null`.
pub(crate) struct Shown<'a>(pub(crate) &'a Value);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Bool(it) => serializer.serialize_bool(*it),
            Value::Integer(it) => serializer.serialize_u64(*it),
            Value::Number(it) if it.is_finite() => serializer.serialize_f64(*it),
            Value::Text(it) => serializer.serialize_str(it),
            Value::Duration(it) => serializer.serialize_f64(it.as_secs_f64()),
            Value::List(items) => serializer.collect_seq(items.iter().map(Shown)),
            Value::Map(members) => Members(members).serialize(serializer),
            _ => serializer.serialize_none(),
        }
    }
}

/// Writes named values as an object.
pub(crate) struct Members<'a, N>(pub(crate) &'a [(N, Value)]);

impl<N: AsRef<str>> Serialize for Members<'_, N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name.as_ref(), Shown(value))))
    }
}

/// JSON in which no object has two members of one name: parties that read the first and the last of them would disagree.
pub(crate) struct Strict(pub(crate) Json);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, it: bool) -> Result<Json, E> {
        Ok(it.into())
    }

    fn visit_u64<E>(self, it: u64) -> Result<Json, E> {
        Ok(it.into())
    }

    fn visit_i64<E>(self, it: i64) -> Result<Json, E> {
        Ok(it.into())
    }

    fn visit_f64<E>(self, it: f64) -> Result<Json, E> {
        Ok(Number::from_f64(it).map_or(Json::Null, Json::Number))
    }

    fn visit_str<E>(self, it: &str) -> Result<Json, E> {
        Ok(it.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Json::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let Strict(value) = members.next_value()?;
            if object.contains_key(&name) {
                let name: String = name.chars().take(100).collect();
                return Err(A::Error::custom(format_args!("the field {name:?} is there twice")));
            }
            object.insert(name, value);
        }
        Ok(Json::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_seconds_and_what_json_lacks_is_null() {
        let value = Value::Map(vec![
            ("wait", Duration::from_millis(1_500).into()),
            ("share", 0.25.into()),
            ("rate", f64::NAN.into()),
            ("limit", Value::None),
            ("calls", 7_u64.into()),
            ("on", true.into()),
            ("names", ["a", "b"].into_iter().collect()),
        ]);
        let json = serde_json::to_string(&Shown(&value)).unwrap();
        let expected = r#"{"wait":1.5,"share":0.25,"rate":null,"limit":null,"calls":7,"on":true,"names":["a","b"]}"#;
        assert_eq!(json, expected);
    }

    #[test]
    fn a_name_that_is_there_twice_is_refused_at_any_depth() {
        for text in [r#"{"a":1,"a":1}"#, r#"[{"b":{"a":1,"\u0061":2}}]"#] {
            let error = serde_json::from_str::<Strict>(text).err().unwrap();
            assert!(error.to_string().starts_with("the field \"a\" is there twice"), "{error}");
        }
        let text = r#"{"a":[null,true,-1,2,0.5,"x"],"b":{"a":{}}}"#;
        let Strict(parsed) = serde_json::from_str(text).unwrap();
        assert_eq!(parsed, serde_json::from_str::<Json>(text).unwrap());
    }
}

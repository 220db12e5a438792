//! What must hold of a configuration that is read from a file.

use std::fmt;

use proptest::{
    collection::vec,
    prelude::*,
    sample::select,
    test_runner::{Config, TestCaseError, TestRunner},
};
use serde::{Serialize, de::DeserializeOwned};

/// Checks that a configuration can be read from a file, and written to one, without surprises:
///
/// - `minimal`, a TOML document with nothing but what is required, is `defaults`.
/// - An unknown field is refused, and named.
/// - `defaults` and all `samples` are equal to themselves after they were written and read.
/// - No document panics, nor does `build` with what it says: not arbitrary text, nor arbitrary values of the `fields`.
///
/// ```
/// use backstop_test::assert_config_file;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
/// #[serde(deny_unknown_fields)]
/// struct Limit {
///     #[serde(default)]
///     calls: u32,
/// }
///
/// let samples = proptest::strategy::Just(Limit { calls: 7 });
/// assert_config_file("", &Limit { calls: 0 }, &["calls"], samples, |limit| drop(limit));
/// ```
///
/// # Panics
/// If one of these doesn't hold.
pub fn assert_config_file<C, R>(
    minimal: &str,
    defaults: &C,
    fields: &'static [&'static str],
    samples: impl Strategy<Value = C>,
    build: impl Fn(C) -> R,
) where
    C: Serialize + DeserializeOwned + PartialEq + fmt::Debug + Clone,
{
    assert_eq!(&toml::from_str::<C>(minimal).expect("the minimal document can be read"), defaults);

    let unknown =
        toml::from_str::<C>(&format!("{minimal}\nno_such_field = 1")).expect_err("an unknown field is refused");
    assert!(unknown.message().contains("unknown field `no_such_field`"), "{unknown}");

    round_trip(defaults).expect("the defaults survive a file");
    check(samples, |sample| round_trip(&sample));

    let text = prop_oneof![any::<String>(), "[a-z_]{0,9} ?[=.\\[] ?[\"\\[{]?[a-z0-9.]{0,9}\n?"];
    let values = vec((select(fields), value()), 0..8).prop_map(move |values| {
        values.into_iter().fold(String::new(), |text, (field, value)| format!("{text}{field} = {value}\n"))
    });
    let minimal = minimal.to_owned();
    let document = prop_oneof![text, values.prop_map(move |values| format!("{minimal}\n{values}"))];
    check(document, |document| {
        if let Ok(config) = toml::from_str::<C>(&document) {
            round_trip(&config)?;
            drop(build(config));
        }
        Ok(())
    });
}

fn check<T: fmt::Debug>(values: impl Strategy<Value = T>, holds: impl Fn(T) -> Result<(), TestCaseError>) {
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
    if let Err(error) = runner.run(&values, holds) {
        panic!("{error}");
    }
}

fn round_trip<C: Serialize + DeserializeOwned + PartialEq + fmt::Debug>(config: &C) -> Result<(), TestCaseError> {
    let text = toml::to_string(config).map_err(|error| TestCaseError::fail(format!("{config:?}: {error}")))?;
    let read = toml::from_str::<C>(&text).map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?;
    prop_assert_eq!(&read, config, "{}", text);
    Ok(())
}

/// A value, often one that makes sense somewhere. No NaN, which isn't equal to itself.
fn value() -> impl Strategy<Value = String> {
    let time = (any::<u64>(), select(vec!["ns", "us", "ms", "s", "m", "h", "days", "years", "", "x"]));
    let leaf = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        (-3..10_i64).prop_map(|number| number.to_string()),
        (0.0..2.0_f64).prop_map(|number| format!("{number:?}")),
        any::<bool>().prop_map(|choice| choice.to_string()),
        time.prop_map(|(number, unit)| format!("\"{number}{unit}\"")),
        (0..100_u64).prop_map(|millis| format!("\"{millis}ms\"")),
        "[a-z_-]{0,12}".prop_map(|text| format!("\"{text}\"")),
        any::<String>().prop_map(|text| toml::Value::from(text).to_string()),
        Just("inf".to_owned()),
    ];
    leaf.prop_recursive(2, 8, 4, |value| {
        prop_oneof![
            vec(value.clone(), 0..4).prop_map(|values| format!("[{}]", values.join(", "))),
            ("[a-z_]{1,12}", value).prop_map(|(field, value)| format!("{{ {field} = {value} }}")),
        ]
    })
}

//! Properties whose cases take long.

use proptest::{
    strategy::Strategy,
    test_runner::{Config, TestRunner},
};

/// Checks a property of which a case takes long: with as many cases as `PROPTEST_CASES` says, or 256, divided by `divisor`.
///
/// A configuration for `proptest!` can't say so: that macro replaces the number of cases by `PROPTEST_CASES`.
///
/// ```
/// backstop_test::assert_property(16, &proptest::bits::u8::ANY, |byte| {
///     assert_eq!(byte.reverse_bits().reverse_bits(), byte);
/// });
/// ```
///
/// # Panics
/// If it doesn't hold: with the smallest case for which `property` panics.
pub fn assert_property<S: Strategy>(divisor: u32, cases: &S, property: impl Fn(S::Value)) {
    let usual = Config::default();
    let count = usual.cases.div_ceil(divisor);
    let mut runner = TestRunner::new(Config { cases: count, failure_persistence: None, ..usual });
    let result = runner.run(cases, |case| {
        property(case);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

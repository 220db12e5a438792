//! Descriptions of all metrics.

/// Gives the installed recorder the description and the unit of each metric of the layers that are compiled in.
///
/// Call it once, after the recorder is installed. Metrics are recorded without it, too, but show up without a description.
///
/// ```
/// // After the recorder is installed:
/// backstop::describe_metrics();
/// ```
pub fn describe_metrics() {
    #[cfg(feature = "bulkhead")]
    backstop_bulkhead::describe_metrics();
    #[cfg(feature = "circuit-breaker")]
    backstop_circuit_breaker::describe_metrics();
    #[cfg(feature = "deferred")]
    backstop_deferred::describe_metrics();
    #[cfg(feature = "fallback")]
    backstop_fallback::describe_metrics();
    #[cfg(feature = "fault")]
    backstop_fault::describe_metrics();
    #[cfg(feature = "features")]
    backstop_features::describe_metrics();
    #[cfg(feature = "health")]
    backstop_health::describe_metrics();
    #[cfg(feature = "last-known-good")]
    backstop_last_known_good::describe_metrics();
    #[cfg(feature = "partial")]
    backstop_partial::describe_metrics();
    #[cfg(feature = "retry")]
    backstop_retry::describe_metrics();
    #[cfg(feature = "timeout")]
    backstop_timeout::describe_metrics();
}

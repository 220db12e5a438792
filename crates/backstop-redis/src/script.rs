//! Lua scripts, which the server keeps under their hashes.

use redis::Script;

/// Adds one instance's counts of a feature, and decides.
#[cfg(feature = "features")]
pub(crate) fn count_errors() -> Script {
    Script::new(include_str!("count_errors.lua"))
}

/// Reads many flags at once.
#[cfg(feature = "features")]
pub(crate) fn read_flags() -> Script {
    Script::new(include_str!("read_flags.lua"))
}

/// Writes one flag, and another version.
#[cfg(feature = "features")]
pub(crate) fn write_flag() -> Script {
    Script::new(include_str!("write_flag.lua"))
}

/// Puts an instance's view of health.
#[cfg(feature = "health")]
pub(crate) fn put_view() -> Script {
    Script::new(include_str!("put_view.lua"))
}

/// Reads the views of all instances.
#[cfg(feature = "health")]
pub(crate) fn all_views() -> Script {
    Script::new(include_str!("all_views.lua"))
}

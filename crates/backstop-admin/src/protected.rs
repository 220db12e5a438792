//! The checklist as a test.

/// Fails a test unless every dependency of an [`Inventory`](crate::Inventory) is protected. It lists what is missing, and what would
/// close each gap.
///
/// ```
/// # #[cfg(not(feature = "metrics"))]
/// # {
/// use backstop_admin::{Check, Inventory, assert_protected, name};
///
/// let inventory = Inventory::new().depends_on(name!("ml_service"));
/// # let inventory = Check::ALL.iter().fold(inventory, |inventory, check| inventory.exempt_all(*check, "an example"));
/// assert_protected!(inventory);
/// # }
/// ```
///
/// # Panics
/// If something is missing. The message is the [`Audit`](crate::Audit).
#[macro_export]
macro_rules! assert_protected {
    ($inventory:expr $(,)?) => {{
        let audit = $inventory.audit();
        assert!(audit.is_complete(), "not every dependency is protected: {audit}");
    }};
}

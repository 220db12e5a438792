//! Features, and their numbers.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        LazyLock, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
};

use backstop_core::Name;

use crate::{FeatureConfig, Tier};

/// A named capability of the service. Two features with the same name are the same feature.
///
/// Make it a static with [`feature!`](crate::feature!), and [declare](crate::FeaturesBuilder::declare) it once, with a tier:
///
/// ```
/// use backstop_features::{Feature, Features, feature};
///
/// static REVIEWS: Feature = feature!("reviews");
///
/// let features = Features::builder().declare(REVIEWS.nice_to_have()).build()?;
/// assert!(features.is_enabled(&REVIEWS));
/// # Ok::<(), backstop_features::ConfigError>(())
/// ```
pub struct Feature {
    name: Name,
    /// 0 until it is first used.
    id: AtomicU32,
    is_reported: AtomicBool,
}

/// A [`Feature`](crate::Feature) from a literal, for a static. The name is checked at compile time.
///
/// ```
/// use backstop_features::{Feature, feature};
///
/// static REVIEWS: Feature = feature!("reviews");
/// assert_eq!(*REVIEWS.name(), "reviews");
/// ```
///
/// ```compile_fail
/// static REVIEWS: backstop_features::Feature = backstop_features::feature!("customer reviews");
/// ```
#[macro_export]
macro_rules! feature {
    ($name:expr) => {
        $crate::Feature::new($crate::name!($name))
    };
}

impl Feature {
    /// The feature of this name. For names that are known at compile time there is [`feature!`](crate::feature!).
    #[must_use]
    pub const fn new(name: Name) -> Self {
        Self { name, id: AtomicU32::new(0), is_reported: AtomicBool::new(false) }
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// Declares it with the tier [`Core`](Tier::Core): on even if the service is critical.
    pub fn core(&self) -> FeatureConfig {
        FeatureConfig::new(self.name.clone(), Tier::Core)
    }

    /// Declares it with the tier [`Standard`](Tier::Standard): on while the service is healthy or degraded.
    pub fn standard(&self) -> FeatureConfig {
        FeatureConfig::new(self.name.clone(), Tier::Standard)
    }

    /// Declares it with the tier [`NiceToHave`](Tier::NiceToHave): on while the service is healthy.
    pub fn nice_to_have(&self) -> FeatureConfig {
        FeatureConfig::new(self.name.clone(), Tier::NiceToHave)
    }

    /// A number that is unique to its name in this process, from 1.
    #[inline]
    pub(crate) fn id(&self) -> u32 {
        match self.id.load(Relaxed) {
            0 => self.find_id(),
            id => id,
        }
    }

    /// Whether it wasn't reported as undeclared before.
    pub(crate) fn is_first_report(&self) -> bool {
        !self.is_reported.swap(true, Relaxed)
    }

    #[cold]
    fn find_id(&self) -> u32 {
        let id = id_of(&self.name);
        self.id.store(id, Relaxed);
        id
    }
}

/// The number of a name. Grows with each new name, and never shrinks: names are in the code or in a configuration.
pub(crate) fn id_of(name: &Name) -> u32 {
    static IDS: LazyLock<Mutex<HashMap<Name, u32>>> = LazyLock::new(Mutex::default);
    let mut ids = IDS.lock().unwrap_or_else(PoisonError::into_inner);
    let next = ids.len() as u32 + 1;
    *ids.entry(name.clone()).or_insert(next)
}

/// So that a feature is named wherever its name is.
impl AsRef<str> for Feature {
    fn as_ref(&self) -> &str {
        self.name.as_str()
    }
}

impl Clone for Feature {
    fn clone(&self) -> Self {
        Self { id: AtomicU32::new(self.id.load(Relaxed)), ..Self::new(self.name.clone()) }
    }
}

impl fmt::Debug for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Feature").field(&self.name).finish()
    }
}

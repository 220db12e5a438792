//! Stores behind pointers.

use std::{pin::Pin, time::Duration};

use backstop_core::Name;
use bytes::Bytes;

use crate::{CountReport, CountStore, FlagStore, FleetVerdict, StoreError, StoredValue};

type Boxed<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

pub(crate) trait ErasedFlags: Send + Sync {
    fn version(&self) -> Boxed<'_, Option<Bytes>>;
    fn read<'a>(&'a self, features: &'a [Name]) -> Boxed<'a, Vec<StoredValue>>;
    fn write<'a>(&'a self, feature: &'a Name, value: Bytes, ttl: Option<Duration>) -> Boxed<'a, ()>;
}

impl<S: FlagStore> ErasedFlags for S {
    fn version(&self) -> Boxed<'_, Option<Bytes>> {
        Box::pin(FlagStore::version(self))
    }

    fn read<'a>(&'a self, features: &'a [Name]) -> Boxed<'a, Vec<StoredValue>> {
        Box::pin(FlagStore::read(self, features))
    }

    fn write<'a>(&'a self, feature: &'a Name, value: Bytes, ttl: Option<Duration>) -> Boxed<'a, ()> {
        Box::pin(FlagStore::write(self, feature, value, ttl))
    }
}

pub(crate) trait ErasedCounts: Send + Sync {
    fn report<'a>(&'a self, instance: &'a str, reports: &'a [CountReport]) -> Boxed<'a, Vec<FleetVerdict>>;
}

impl<S: CountStore> ErasedCounts for S {
    fn report<'a>(&'a self, instance: &'a str, reports: &'a [CountReport]) -> Boxed<'a, Vec<FleetVerdict>> {
        Box::pin(CountStore::report(self, instance, reports))
    }
}

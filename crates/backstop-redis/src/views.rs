//! The instances' views of health, for `backstop-health`.

use std::{sync::LazyLock, time::Duration};

use backstop_core::Name;
use backstop_health::{StoreError, VIEW_MAX_BYTES, VIEW_TTL, VIEWS_MAX, ViewStore};
use bytes::Bytes;
use redis::Script;

use crate::RedisStore;

static PUT_VIEW: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("put_view.lua")));
static ALL_VIEWS: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("all_views.lua")));

impl RedisStore {
    fn views_key(&self) -> String {
        self.key(&["health:instances"])
    }
}

impl ViewStore for RedisStore {
    async fn put(&self, instance: &Name, view: Bytes, ttl: Duration) -> Result<(), StoreError> {
        let mut put = PUT_VIEW.key(self.views_key());
        put.arg(instance.as_str()).arg(&*view);
        put.arg(ttl.min(VIEW_TTL).as_millis() as u64).arg(VIEW_TTL.as_millis() as u64);
        self.call(async |mut connection, _| put.invoke_async(&mut connection).await).await
    }

    async fn all(&self) -> Result<Vec<(String, Bytes)>, StoreError> {
        let mut all = ALL_VIEWS.key(self.views_key());
        all.arg(VIEWS_MAX).arg(VIEW_MAX_BYTES).arg(VIEW_TTL.as_millis() as u64);
        let found: Vec<(Vec<u8>, Vec<u8>)> =
            self.call(async |mut connection, _| all.invoke_async(&mut connection).await).await?;
        // An instance whose name isn't text isn't ours.
        let named = |(instance, view): (Vec<u8>, Vec<u8>)| Some((String::from_utf8(instance).ok()?, view.into()));
        Ok(found.into_iter().filter_map(named).collect())
    }

    async fn remove(&self, instance: &Name) -> Result<(), StoreError> {
        let mut remove = redis::cmd("HDEL");
        remove.arg(self.views_key()).arg(instance.as_str());
        self.call(async |mut connection, _| remove.query_async(&mut connection).await).await
    }
}

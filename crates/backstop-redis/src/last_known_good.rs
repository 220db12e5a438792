//! Answers, for `backstop-last-known-good`.

use std::time::Duration;

use backstop_last_known_good::{Store, StoreError};
use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::RedisStore;

impl RedisStore {
    /// A hash, because the key holds the URI of a request and the name of its user: keys are in slow logs and monitors.
    fn answer_key(&self, key: &[u8]) -> Vec<u8> {
        let mut hashed = self.prefix().as_bytes().to_vec();
        hashed.extend_from_slice(b"answer:");
        hashed.extend_from_slice(&Sha256::digest(key));
        hashed
    }

    /// Reads one byte more than an answer may have, so that what is longer is seen to be longer.
    fn read(&self, key: &[u8]) -> redis::Cmd {
        let mut read = redis::cmd("GETRANGE");
        read.arg(self.answer_key(key)).arg(0).arg(self.max_answer());
        read
    }

    /// No answer is empty: each begins with its head.
    fn answer(&self, found: Vec<u8>) -> Option<Bytes> {
        (1..=self.max_answer()).contains(&found.len()).then(|| found.into())
    }
}

impl Store for RedisStore {
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let found: Vec<u8> =
            self.call(async |mut connection, _| self.read(key).query_async(&mut connection).await).await?;
        Ok(self.answer(found))
    }

    /// Reads all in one round trip.
    async fn get_all(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let mut pipeline = redis::pipe();
        for key in keys {
            pipeline.add_command(self.read(key));
        }
        let found: Vec<Vec<u8>> =
            self.call(async |mut connection, _| pipeline.query_async(&mut connection).await).await?;
        Ok(found.into_iter().map(|found| self.answer(found)).collect())
    }

    async fn put(&self, key: &[u8], value: Bytes, ttl: Duration) -> Result<(), StoreError> {
        if value.len() > self.max_answer() {
            return Err(format!("it is longer than {} bytes", self.max_answer()).into());
        }
        let mut set = redis::cmd("SET");
        let ttl = u64::try_from(ttl.as_millis())?.clamp(1, i64::MAX as u64);
        set.arg(self.answer_key(key)).arg(&*value).arg("PX").arg(ttl);
        self.call(async |mut connection, _| set.query_async(&mut connection).await).await
    }

    async fn remove(&self, key: &[u8]) -> Result<(), StoreError> {
        let mut remove = redis::cmd("DEL");
        remove.arg(self.answer_key(key));
        self.call(async |mut connection, _| remove.query_async(&mut connection).await).await
    }
}

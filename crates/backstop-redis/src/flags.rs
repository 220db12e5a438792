//! Operators' flags and error counts, for `backstop-features`.

use std::{sync::LazyLock, time::Duration};

use backstop_core::Name;
use backstop_features::{CountReport, CountStore, FLAG_MAX_BYTES, FlagStore, FleetVerdict, StoreError, StoredValue};
use bytes::Bytes;
use redis::{RedisResult, Script, Value};

use crate::{RedisStore, connection::needs_another};

static READ_FLAGS: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("read_flags.lua")));
static WRITE_FLAG: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("write_flag.lua")));
static COUNT_ERRORS: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("count_errors.lua")));

/// A longer version isn't ours.
const VERSION_MAX_BYTES: isize = 64;
/// What a script returns for a flag.
type Found = (u8, Vec<u8>, i64);
/// What a script returns for a report.
type Verdict = (i64, i64, u64);

impl RedisStore {
    fn flag_key(&self, feature: &Name) -> String {
        self.key(&["feature:", feature.as_str()])
    }

    fn errors_key(&self, feature: &Name) -> String {
        self.key(&["feature:", feature.as_str(), ":errors"])
    }

    fn version_key(&self) -> String {
        self.key(&["features:version"])
    }
}

impl FlagStore for RedisStore {
    async fn version(&self) -> Result<Option<Bytes>, StoreError> {
        let mut get = redis::cmd("GETRANGE");
        get.arg(self.version_key()).arg(0).arg(VERSION_MAX_BYTES - 1);
        let version: Vec<u8> = self.call(async |mut connection, _| get.query_async(&mut connection).await).await?;
        Ok((!version.is_empty()).then(|| version.into()))
    }

    async fn read(&self, features: &[Name]) -> Result<Vec<StoredValue>, StoreError> {
        if features.is_empty() {
            return Ok(Vec::new());
        }
        let mut read = READ_FLAGS.prepare_invoke();
        for feature in features {
            read.key(self.flag_key(feature));
        }
        // One more, so that a longer one is seen to be longer.
        read.arg(FLAG_MAX_BYTES + 1);
        let found: Vec<Found> = self.call(async |mut connection, _| read.invoke_async(&mut connection).await).await?;
        Ok(found.into_iter().map(stored_value).collect())
    }

    async fn write(&self, feature: &Name, value: Bytes, ttl: Option<Duration>) -> Result<(), StoreError> {
        // Both at once. A transaction would hide why the server refuses it.
        let mut write = WRITE_FLAG.key(self.flag_key(feature));
        write
            .key(self.version_key())
            .arg(&*value)
            .arg(backstop_kit::random_token())
            .arg(ttl.map_or(0, |ttl| millis(ttl).max(1)));
        self.call(async |mut connection, _| write.invoke_async(&mut connection).await).await
    }
}

impl CountStore for RedisStore {
    async fn report(&self, instance: &str, reports: &[CountReport]) -> Result<Vec<FleetVerdict>, StoreError> {
        if reports.is_empty() {
            self.call(async |mut connection, _| redis::cmd("PING").exec_async(&mut connection).await).await?;
            return Ok(Vec::new());
        }
        let verdicts = self
            .call(async |mut connection, generation| {
                let mut all = redis::pipe();
                all.ignore_errors();
                // Once for each connection, in the same round trip. A report that finds no script is lost, and the next one loads it.
                let now = self.server_time(generation);
                if now.is_none() {
                    all.load_script(&COUNT_ERRORS).ignore();
                }
                for report in reports {
                    let mut count = COUNT_ERRORS.key(self.errors_key(&report.feature));
                    count.arg(report.calls).arg(report.errors).arg(instance);
                    count.arg(millis(report.window)).arg(report.min_errors).arg(report.share_ppm);
                    count.arg(millis(report.degrade)).arg(millis(report.degrade_max)).arg(millis(report.settle));
                    count.arg(now.unwrap_or(0));
                    all.invoke_script(&count);
                }
                let verdicts = all.query_async(&mut connection).await.and_then(each_verdict);
                let time = verdicts.as_ref().ok().and_then(|all| all.iter().flatten().last());
                self.set_server_time(generation, time.map(|(_, _, now)| *now));
                verdicts
            })
            .await?;
        Ok(verdicts.into_iter().map(|it| it.map_or(FleetVerdict::Malformed, verdict)).collect())
    }
}

fn stored_value((kind, bytes, ttl): Found) -> StoredValue {
    match kind {
        0 => StoredValue::Missing,
        1 => StoredValue::Value { bytes: bytes.into(), ttl: u64::try_from(ttl).ok().map(Duration::from_millis) },
        _ => StoredValue::Malformed,
    }
}

/// Each report's verdict, or `None` if the server refuses its key alone.
fn each_verdict(answers: Vec<Value>) -> RedisResult<Vec<Option<Verdict>>> {
    let (mut verdicts, mut refusal) = (Vec::with_capacity(answers.len()), None);
    for answer in answers {
        match answer.extract_error().and_then(|answer| Ok(redis::from_redis_value(answer)?)) {
            Ok(verdict) => verdicts.push(Some(verdict)),
            Err(error) if matches!(error.code(), Some("ERR" | "NOPERM" | "WRONGTYPE")) && !needs_another(&error) => {
                verdicts.push(None);
                refusal.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    match refusal {
        // No key is to blame if all are refused.
        Some(error) if verdicts.iter().all(Option::is_none) => Err(error),
        _ => Ok(verdicts),
    }
}

fn verdict((verdict, remaining, _): Verdict) -> FleetVerdict {
    match verdict {
        0 => FleetVerdict::Counting,
        1 | 2 => FleetVerdict::Degraded(Duration::from_millis(remaining.unsigned_abs())),
        3 => FleetVerdict::OnlyReporter,
        _ => FleetVerdict::Malformed,
    }
}

fn millis(time: Duration) -> u64 {
    // The server counts in signed numbers.
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).min(i64::MAX as u64)
}

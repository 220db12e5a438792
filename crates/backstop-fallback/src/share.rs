//! How a chain shares its time.

use std::{num::NonZero, time::Duration};

use backstop_core::{Deadline, Limit, SetBy};
use tokio::time::Instant;

/// The deadline of the next of `providers_left` providers: its own timeout, or an equal share of the time left, whichever is
/// shorter. The last one has all of the time left.
///
/// A share of the caller's limit counts as the caller's, because a timeout of the caller isn't a provider's failure.
pub(crate) fn next_deadline(now: Instant, limit: Deadline, providers_left: u32, own: Option<Duration>) -> Deadline {
    let share = limit.first_of(NonZero::new(providers_left).unwrap_or(NonZero::<u32>::MIN), now);
    share.narrowed_by(own.map(|own| Deadline::at(now + own, SetBy::Us)))
}

/// The share of the first of `providers`, before its time has begun.
pub(crate) fn first_limit(limit: Limit, providers: u32) -> Limit {
    limit.first_of(NonZero::new(providers).unwrap_or(NonZero::<u32>::MIN))
}

/// This share, or its owner's timeout, whichever is shorter.
#[inline]
pub(crate) fn narrowed(share: Limit, own: Option<Duration>) -> Limit {
    share.narrowed_by(own.map(|own| Limit::new(own, SetBy::Us)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn what_an_early_provider_does_not_use_the_later_ones_have() {
        let start = Instant::now();
        let limit = Deadline::at(start + 800 * MS, SetBy::Us);
        let end = |now: u32, left, own| next_deadline(start + now * MS, limit, left, own).instant() - start;
        assert_eq!(end(0, 4, None), 200 * MS, "a quarter of 800");
        assert_eq!(end(0, 4, Some(50 * MS)), 50 * MS, "its own timeout is shorter");
        assert_eq!(end(0, 4, Some(500 * MS)), 200 * MS, "its share is shorter");
        assert_eq!(end(50, 3, None), 300 * MS, "a third of the 750 that are left");
        assert_eq!(end(700, 1, None), 800 * MS, "all that is left");
    }

    #[test]
    fn a_share_of_the_callers_time_is_the_callers_and_a_timeout_is_ours() {
        let now = Instant::now();
        let limit = Deadline::at(now + 10 * MS, SetBy::Caller);
        assert_eq!(next_deadline(now, limit, 2, None).set_by(), SetBy::Caller);
        assert_eq!(next_deadline(now, limit, 2, Some(2 * MS)).set_by(), SetBy::Us);
    }

    proptest! {
        #[test]
        fn time_that_has_not_begun_is_shared_as_if_it_began_now(
            total in 1u64..10_000,
            providers in 1u32..9,
            own in prop::option::of(1u64..10_000),
            by_caller: bool,
        ) {
            let set_by = if by_caller { SetBy::Caller } else { SetBy::Us };
            let (now, total) = (Instant::now(), Duration::from_millis(total));
            let own = own.map(Duration::from_millis);
            let begun = next_deadline(now, Deadline::at(now + total, set_by), providers, own);
            let share = narrowed(first_limit(Limit::new(total, set_by), providers), own);
            prop_assert_eq!(share, Limit::new(begun.instant() - now, begun.set_by()));
        }

        #[test]
        fn nobody_has_more_than_a_share_and_the_last_one_always_has_one(
            total in 1u64..10_000,
            uses in prop::collection::vec((prop::option::of(1u64..10_000), 0.0f64..=1.0), 1..=8),
        ) {
            let start = Instant::now();
            let limit = Deadline::at(start + Duration::from_millis(total), SetBy::Us);
            let mut now = start;
            for (i, (own, used)) in uses.iter().enumerate() {
                let left = limit.instant() - now;
                let providers_left = (uses.len() - i) as u32;
                let own = own.map(Duration::from_millis);
                let end = next_deadline(now, limit, providers_left, own).instant();
                prop_assert!(end > now, "every one has some time");
                prop_assert!(end - now <= left / providers_left || providers_left == 1);
                prop_assert!(own.is_none_or(|own| end - now <= own));
                prop_assert!(end <= limit.instant(), "the sum never passes the total");
                now += (end - now).mul_f64(*used * 0.999);
            }
        }
    }
}

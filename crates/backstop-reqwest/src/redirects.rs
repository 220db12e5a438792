//! Notices that reqwest follows a redirect while a request is polled: its errors don't say so.
//!
//! reqwest asks the redirect policy while the response future is polled, on the same thread.

use std::cell::Cell;

use reqwest::redirect::Policy;

thread_local! {
    static WAS_ASKED: Cell<bool> = const { Cell::new(false) };
}

/// The same policy, which remembers that it was asked.
pub(crate) fn watched(policy: Policy) -> Policy {
    Policy::custom(move |attempt| {
        WAS_ASKED.set(true);
        policy.redirect(attempt)
    })
}

/// Runs `poll`, and says whether a watched policy was asked meanwhile.
pub(crate) fn watch<T>(poll: impl FnOnce() -> T) -> (T, bool) {
    // A request may be polled while another one is: by its body, say.
    let outer = WAS_ASKED.replace(false);
    let polled = poll();
    (polled, WAS_ASKED.replace(outer))
}

//! How long a caller waits, according to trusted headers.

use std::time::Duration;

use backstop_core::{Name, SetBy};
use http::{HeaderMap, Request};

use super::layer_state::DeadlineSettings;
use crate::{
    header::{self, DeadlineHeader},
    telemetry,
};

/// The limit of a request, and who set it: the caller, if its limit is shorter than ours. `by` is the layer.
#[inline]
pub(crate) fn limit_of<B>(request: &Request<B>, ours: &DeadlineSettings, by: &Name) -> (Duration, SetBy) {
    header::of(request, &ours.trust)
        .filter_map(|header| trusted(header, request.headers(), by))
        .filter(|limit| *limit < ours.limit)
        .min()
        .map_or((ours.limit, SetBy::Us), |limit| (limit, SetBy::Caller))
}

fn trusted(header: &DeadlineHeader, headers: &HeaderMap, by: &Name) -> Option<Duration> {
    header.read(headers).unwrap_or_else(|why| {
        telemetry::ignored(by, header, why);
        None
    })
}

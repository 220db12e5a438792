//! How long a caller waits, according to trusted headers.

use std::{sync::Arc, time::Duration};

use backstop_core::{Name, SetBy};
use http::{HeaderMap, Request};

use crate::{
    header::{self, DeadlineHeader},
    settings::Settings,
    telemetry,
};

/// The headers in which callers' time limits are trusted, besides gRPC's own.
#[derive(Clone, Debug)]
pub(crate) struct TrustedHeaders(pub(crate) Arc<[DeadlineHeader]>);

impl TrustedHeaders {
    pub(crate) fn new(headers: Vec<DeadlineHeader>) -> Self {
        Self(headers.into())
    }

    /// The limit of a request, and who set it: the caller, if its limit is shorter than ours.
    pub(crate) fn limit_of<R, B>(&self, request: &Request<B>, ours: &Settings<R>) -> (Duration, SetBy) {
        header::of(request, &self.0)
            .filter_map(|header| trusted(header, request.headers(), &ours.name))
            .filter(|limit| *limit < ours.limit)
            .min()
            .map_or((ours.limit, SetBy::Us), |limit| (limit, SetBy::Caller))
    }
}

fn trusted(header: &DeadlineHeader, headers: &HeaderMap, by: &Name) -> Option<Duration> {
    header.read(headers).unwrap_or_else(|why| {
        telemetry::ignored(by, header, why);
        None
    })
}

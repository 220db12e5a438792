//! Until when a call holds its permit: to the end of its response body, or to the head of its response.

use std::mem;

use backstop_kit::{AbortBody, GuardedBody, UntilBodyEnd, UntilHeaders};

use crate::{body::PermitInBody, permit::Permit};

/// Until when a call holds its permit: see [`until_headers`](crate::BulkheadBuilder::until_headers).
///
/// | | a call holds its permit until | needs |
/// |---|---|---|
/// | [`UntilBodyEnd`], the default | its response body has ended, or `max_hold` has passed | a response whose body can be [ended early](AbortBody) |
/// | [`UntilHeaders`] | its response head has arrived | nothing |
#[diagnostic::on_unimplemented(
    message = "the bulkhead can't hold a permit to the end of a `{Res}`",
    label = "no response whose body can be broken off",
    note = "by default a permit lasts to the end of the body of an `http::Response`, which must be `axum::body::Body` \
            (feature `axum`), `tonic::body::Body` (feature `tonic`, around a `Channel` `tonic-transport`), or a boxed body of `http-body-util` whose error \
            implements `From<Rejection>` (`BoxError` does)",
    note = "for `hyper::body::Incoming`, enable Backstop's feature `hyper-util` and put `backstop::http_client(…)` \
            around the client",
    note = "for other bodies, map the response body below the layer, for example to `axum::body::Body`",
    note = "or choose `.until_headers()`, which takes responses of any type"
)]
pub trait Until<Res>: sealed::HandOver<Res> {}

pub(crate) mod sealed {
    use super::Permit;

    #[expect(unnameable_types, reason = "sealed")]
    pub trait HandOver<Res> {
        /// Moves the permit into the response, if the body is to hold it.
        fn hand_over(permit: &mut Permit, response: &mut Res);
    }
}

impl<Res> Until<Res> for UntilHeaders {}

impl<Res> sealed::HandOver<Res> for UntilHeaders {
    #[inline]
    fn hand_over(_: &mut Permit, _: &mut Res) {}
}

#[diagnostic::do_not_recommend]
impl<B: AbortBody> Until<http::Response<B>> for UntilBodyEnd {}

#[diagnostic::do_not_recommend]
impl<B: AbortBody> sealed::HandOver<http::Response<B>> for UntilBodyEnd {
    fn hand_over(permit: &mut Permit, response: &mut http::Response<B>) {
        let body = response.body_mut();
        if !body.is_end_stream()
            && let Some(permit) = permit.take_body_permit()
        {
            *body = GuardedBody::wrap(mem::take(body), PermitInBody::new(permit));
        }
    }
}

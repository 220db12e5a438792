//! Until when a call is observed: until the head of its response is there, or until its body has ended.

use std::sync::Arc;

use backstop_core::{Classify, Outcome, Verdict, grpc};
use backstop_kit::{GuardedBody, UntilBodyEnd, UntilHeaders, WrapBody};

use crate::{
    body::CallInBody,
    call_guard::CallGuard,
    failure::Failure,
    layer_state::{CircuitRef, LayerState},
};

/// Until when a call is observed: see [`observe`](crate::CircuitBreakerBuilder::observe).
///
/// | | a call has ended when | needs |
/// |---|---|---|
/// | [`UntilHeaders`], the default | its response head is there | nothing |
/// | [`UntilBodyEnd`] | its response body has ended | a response whose body can [wrap others](WrapBody) |
///
/// Until the end of the body, one that breaks off is a failure, and so are gRPC trailers with a bad status; the permit goes
/// with the body. A body that is dropped follows [`OnDrop`](crate::OnDrop); where that is no failure, the call counts by
/// its head, which was good. So does a body that is still coming after the length of a probe's
/// [lease](crate::CircuitBreakerBuilder::probe_lease); if it breaks off later, that is a failure as well.
#[diagnostic::on_unimplemented(
    message = "the circuit breaker can't watch the body of a `{Res}`",
    note = "`UntilBodyEnd` needs an `http::Response` whose body can wrap others: `axum::body::Body` (feature `axum`), \
            `tonic::body::Body` (feature `tonic`), or a boxed body of `http-body-util`",
    note = "and a classifier and a way to reject that are `Send + Sync + 'static`",
    note = "for other bodies map the response body below the layer"
)]
pub trait Observe<Res, C, J, L: CircuitRef<C, J> = Arc<LayerState<C, J>>>: sealed::HandOver<Res, C, J, L> {}

mod sealed {
    use super::{CallGuard, CircuitRef, Outcome};

    #[expect(unnameable_types, reason = "sealed")]
    pub trait HandOver<Res, C, J, L: CircuitRef<C, J>> {
        /// Gives the permit back, or gives it to the response. The call hasn't failed so far.
        fn hand_over(guard: &mut CallGuard<C, J, L>, outcome: Outcome, response: Res) -> Res;
    }
}

impl<Res, C, J, L: CircuitRef<C, J>> Observe<Res, C, J, L> for UntilHeaders {}

impl<Res, C, J, L: CircuitRef<C, J>> sealed::HandOver<Res, C, J, L> for UntilHeaders {
    #[inline]
    fn hand_over(guard: &mut CallGuard<C, J, L>, outcome: Outcome, response: Res) -> Res {
        guard.finish_well(outcome);
        response
    }
}

#[diagnostic::do_not_recommend]
impl<B, C, J, L> Observe<http::Response<B>, C, J, L> for UntilBodyEnd
where
    B: WrapBody,
    C: Classify<http::Response<B>> + Send + Sync + 'static,
    J: Send + Sync + 'static,
    L: CircuitRef<C, J> + Send + 'static,
{
}

#[diagnostic::do_not_recommend]
impl<B, C, J, L> sealed::HandOver<http::Response<B>, C, J, L> for UntilBodyEnd
where
    B: WrapBody,
    C: Classify<http::Response<B>> + Send + Sync + 'static,
    J: Send + Sync + 'static,
    L: CircuitRef<C, J> + Send + 'static,
{
    fn hand_over(guard: &mut CallGuard<C, J, L>, outcome: Outcome, response: http::Response<B>) -> http::Response<B> {
        let status_to_come = grpc::is_grpc(response.headers()) && grpc::status_in_headers(response.headers()).is_none();
        if outcome.verdict != Verdict::Success {
            guard.finish_well(outcome);
            return response;
        }
        if response.body().is_end_stream() {
            if status_to_come {
                guard.finish(Outcome::failure(), Failure::NoBody);
            } else {
                guard.finish_well(outcome);
            }
            return response;
        }
        if !guard.go_on_with_body() {
            return response;
        }
        response.map(|body| GuardedBody::wrap(body, CallInBody::new(guard.take(), status_to_come)))
    }
}

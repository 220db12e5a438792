//! Until when a call is observed: until its response head has arrived, or until its body has ended.

use std::{mem, sync::Arc};

use backstop_core::{Outcome, Verdict, grpc};
use backstop_kit::{GuardedBody, Judge, Protocol, UntilBodyEnd, UntilHeaders, WrapBody};

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
/// | [`UntilHeaders`], the default | its response head has arrived | nothing |
/// | [`UntilBodyEnd`] | its response body has ended | a response whose body can [wrap others](WrapBody) |
///
/// With `UntilBodyEnd`, a body that breaks off is a failure, and so are gRPC trailers with a bad status. The body holds the
/// permit. If the body is dropped, [`OnDrop`](crate::OnDrop) decides. If that isn't a failure, the call counts as a success,
/// because its head was good. So does a body that hasn't ended after the length of a probe's
/// [lease](crate::CircuitBreakerBuilder::probe_lease). If it breaks off later, that is a failure, too.
#[diagnostic::on_unimplemented(
    message = "the circuit breaker can't watch the body of a `{Res}`",
    note = "`UntilBodyEnd` needs an `http::Response` whose body can wrap others: `axum::body::Body` (feature `axum`), \
            `tonic::body::Body` (feature `tonic`, around a `Channel` `tonic-transport`), or a boxed body of `http-body-util`",
    note = "and strategies that are `Send + Sync + 'static`",
    note = "for other bodies map the response body below the layer"
)]
pub trait Observe<Res, P, L: CircuitRef<P> = Arc<LayerState<P>>>: sealed::HandOver<Res, P, L> {}

pub(crate) mod sealed {
    use super::{CallGuard, CircuitRef, Outcome};

    #[expect(unnameable_types, reason = "sealed")]
    pub trait HandOver<Res, P, L: CircuitRef<P>> {
        /// Gives the permit back, or gives it to the response. The call hasn't failed so far.
        fn hand_over(guard: &mut CallGuard<P, L>, outcome: Outcome, response: &mut Res);
    }
}

impl<Res, P, L: CircuitRef<P>> Observe<Res, P, L> for UntilHeaders {}

impl<Res, P, L: CircuitRef<P>> sealed::HandOver<Res, P, L> for UntilHeaders {
    #[inline]
    fn hand_over(guard: &mut CallGuard<P, L>, outcome: Outcome, _: &mut Res) {
        guard.finish_well(outcome);
    }
}

#[diagnostic::do_not_recommend]
impl<B, P, L> Observe<http::Response<B>, P, L> for UntilBodyEnd
where
    B: WrapBody,
    P: Protocol<Judge: Judge<http::Response<B>>> + Send + Sync + 'static,
    L: CircuitRef<P> + Send + 'static,
{
}

#[diagnostic::do_not_recommend]
impl<B, P, L> sealed::HandOver<http::Response<B>, P, L> for UntilBodyEnd
where
    B: WrapBody,
    P: Protocol<Judge: Judge<http::Response<B>>> + Send + Sync + 'static,
    L: CircuitRef<P> + Send + 'static,
{
    fn hand_over(guard: &mut CallGuard<P, L>, outcome: Outcome, response: &mut http::Response<B>) {
        let status_to_come = grpc::is_grpc(response.headers()) && grpc::status_in_headers(response.headers()).is_none();
        if outcome.verdict != Verdict::Success {
            return guard.finish_well(outcome);
        }
        if response.body().is_end_stream() {
            if status_to_come {
                guard.finish(Outcome::failure(), Failure::NoBody);
            } else {
                guard.finish_well(outcome);
            }
        } else if guard.continue_with_body() {
            let body = response.body_mut();
            *body = GuardedBody::wrap(mem::take(body), CallInBody::new(guard.take(), status_to_come));
        }
    }
}

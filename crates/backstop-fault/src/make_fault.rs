//! How a failure is made in the types of the service.

use backstop_core::{
    Rejection,
    grpc::{self, GRPC_STATUS, GrpcCode, WireProtocol},
};
use backstop_kit::{AbortBody, WrapBody, http_response};
use http::{
    HeaderValue, Request, Response,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use http_body_util::{BodyExt, Full};

use crate::{
    StatusFault,
    body::{FailedBody, TruncatedBody},
    pending::PendingFault,
    run::RequestView,
};

/// How failures are made in the types of a service: a choice of the [builder](crate::FaultBuilder).
///
/// | strategy | for | by |
/// |---|---|---|
/// | [`HttpFaults`] | servers: the service may be infallible | default |
/// | [`HttpFaultsAsErrors`] | clients: the service's error implements `From<Rejection>` | [`reject_as_error`](crate::FaultBuilder::reject_as_error) |
/// | [`PlainFaults`] | services that don't speak HTTP, with such an error | [`plain`](crate::FaultBuilder::plain) |
#[diagnostic::on_unimplemented(
    message = "the fault layer can't make a call of this service fail",
    label = "no way to fail with `{Res}` or `{E}`",
    note = "by default it answers with an `http::Response` whose body can be ended early, such as `axum::body::Body` \
            (feature `axum`) or `tonic::body::Body` (feature `tonic`)",
    note = "for `hyper::body::Incoming`, enable Backstop's feature `hyper-util` and put `backstop::http_client(…)` \
            around the client; for other bodies, map the response body below the layer, for example to `axum::body::Body`",
    note = "with `.reject_as_error()`, and with `.plain()` for services that don't speak HTTP, the error must implement \
            `From<Rejection>`, as `BoxError` does: add `.map_err(BoxError::from)` below the layer"
)]
pub trait MakeFault<Req, Res, E>: Make<Req, Res, E> {}

pub(crate) mod sealed {
    use backstop_core::{Rejection, grpc::WireProtocol};

    use crate::{StatusFault, pending::PendingFault, run::RequestView};

    /// A call that fails without being made.
    #[expect(unnameable_types, reason = "sealed")]
    #[derive(Clone, Copy, Debug)]
    pub enum Failure<'a> {
        Error,
        Status(&'a StatusFault),
        Reset,
    }

    #[expect(unnameable_types, reason = "sealed")]
    pub trait Make<Req, Res, E> {
        /// What decides whether a request may be hit. `None` if it isn't HTTP's.
        fn view(request: &Req) -> Option<RequestView<'_>>;

        fn protocol(request: &Req) -> WireProtocol;

        fn fail(protocol: WireProtocol, failure: Failure<'_>, rejection: Rejection) -> Result<Res, E>;

        /// Lets the answer break off after some bytes, if there is something to break off and the run still runs then.
        fn truncate(result: &mut Result<Res, E>, after: u64, fault: &PendingFault);
    }
}

use sealed::{Failure, Make};

/// For HTTP and gRPC servers, the default: failures are answers, and a reset is a body that fails at once.
#[derive(Clone, Copy, Debug)]
pub enum HttpFaults {}

/// For HTTP and gRPC clients: errors and resets are errors of the service.
#[derive(Clone, Copy, Debug)]
pub enum HttpFaultsAsErrors {}

/// For services that don't speak HTTP: every failure is an error of the service.
#[derive(Clone, Copy, Debug)]
pub enum PlainFaults {}

#[diagnostic::do_not_recommend]
impl<ReqBody, B: AbortBody, E> MakeFault<Request<ReqBody>, Response<B>, E> for HttpFaults {}

#[diagnostic::do_not_recommend]
impl<ReqBody, B: AbortBody, E> Make<Request<ReqBody>, Response<B>, E> for HttpFaults {
    fn view(request: &Request<ReqBody>) -> Option<RequestView<'_>> {
        Some(RequestView::of(request))
    }

    fn protocol(request: &Request<ReqBody>) -> WireProtocol {
        WireProtocol::of(request)
    }

    fn fail(protocol: WireProtocol, failure: Failure<'_>, rejection: Rejection) -> Result<Response<B>, E> {
        Ok(match failure {
            Failure::Error => http_response(protocol, rejection),
            Failure::Status(status) => status.response(protocol),
            // Nobody sees the head but layers further out, which must not take it for a success.
            Failure::Reset => {
                http_response(protocol, rejection.clone()).map(|_: B| B::wrap(FailedBody::<B>::new(rejection)))
            }
        })
    }

    fn truncate(result: &mut Result<Response<B>, E>, after: u64, fault: &PendingFault) {
        truncate(result, after, fault);
    }
}

#[diagnostic::do_not_recommend]
impl<ReqBody, B: AbortBody, E: From<Rejection>> MakeFault<Request<ReqBody>, Response<B>, E> for HttpFaultsAsErrors {}

#[diagnostic::do_not_recommend]
impl<ReqBody, B: AbortBody, E: From<Rejection>> Make<Request<ReqBody>, Response<B>, E> for HttpFaultsAsErrors {
    fn view(request: &Request<ReqBody>) -> Option<RequestView<'_>> {
        Some(RequestView::of(request))
    }

    fn protocol(request: &Request<ReqBody>) -> WireProtocol {
        WireProtocol::of(request)
    }

    fn fail(protocol: WireProtocol, failure: Failure<'_>, rejection: Rejection) -> Result<Response<B>, E> {
        match failure {
            Failure::Status(status) => Ok(status.response(protocol)),
            Failure::Error | Failure::Reset => Err(rejection.into()),
        }
    }

    fn truncate(result: &mut Result<Response<B>, E>, after: u64, fault: &PendingFault) {
        truncate(result, after, fault);
    }
}

#[diagnostic::do_not_recommend]
impl<Req, Res, E: From<Rejection>> MakeFault<Req, Res, E> for PlainFaults {}

#[diagnostic::do_not_recommend]
impl<Req, Res, E: From<Rejection>> Make<Req, Res, E> for PlainFaults {
    fn view(_: &Req) -> Option<RequestView<'_>> {
        None
    }

    fn protocol(_: &Req) -> WireProtocol {
        WireProtocol::Http
    }

    fn fail(_: WireProtocol, failure: Failure<'_>, rejection: Rejection) -> Result<Res, E> {
        Err(failure.of_function(rejection).into())
    }

    fn truncate(result: &mut Result<Res, E>, _: u64, fault: &PendingFault) {
        if result.is_ok()
            && let Some(rejection) = fault.apply()
        {
            *result = Err(rejection.into());
        }
    }
}

fn truncate<B: AbortBody, E>(result: &mut Result<Response<B>, E>, after: u64, fault: &PendingFault) {
    if let Ok(response) = result
        && !response.body().is_end_stream()
    {
        let body = response.body_mut();
        *body = B::wrap(TruncatedBody::new(std::mem::take(body), after, fault.clone()));
    }
}

impl Failure<'_> {
    /// The rejection where there is no answer with a status.
    pub(crate) fn of_function(self, rejection: Rejection) -> Rejection {
        match self {
            Self::Status(fault) => rejection.with_status(fault.status, fault.code()),
            Self::Error | Self::Reset => rejection,
        }
    }
}

impl StatusFault {
    fn code(&self) -> GrpcCode {
        self.code.unwrap_or_else(|| {
            let mut answer = Response::new(());
            *answer.status_mut() = self.status;
            let mapped = grpc::mapped_from_http(&answer);
            mapped.and_then(|headers| grpc::status_in_headers(&headers)).unwrap_or(GrpcCode::UNKNOWN)
        })
    }

    fn response<B: WrapBody>(&self, protocol: WireProtocol) -> Response<B> {
        let mut response = Response::new(B::default());
        *response.headers_mut() = self.headers.clone();
        let headers = response.headers_mut();
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        if protocol.is_grpc() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(protocol.grpc_content_type()));
            headers.insert(GRPC_STATUS, u16::from(self.code().number()).into());
            return response;
        }
        *response.status_mut() = self.status;
        if !self.body.is_empty() {
            *response.body_mut() = B::wrap(Full::new(self.body.clone()).map_err(|never| match never {}));
        }
        response
    }
}

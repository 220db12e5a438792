//! Help for stacks that don't compile, or whose compiler errors say too little.

use tower_service::Service;

/// Erases the type of a stack: returns it as an opaque `impl Service`, at no cost at run time.
///
/// Use it when a stack doesn't compile and should, and to learn which layer doesn't fit.
///
/// A stack whose own type spells `BoxError` (by a `map_err(BoxError::from)`, or a boxed service inside) may trip the
/// compiler where it is used inside an async block that must be `Send`: in an axum handler, in `tokio::spawn`. It then
/// says "higher-ranked lifetime error", or that an implementation "is not general enough". Nothing is wrong with the
/// stack: passed through this function, it compiles.
///
/// ```
/// use std::convert::Infallible;
/// use backstop::opaque;
/// use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let stack = opaque(
///     ServiceBuilder::new()
///         .map_err(|error: Infallible| -> BoxError { match error {} })
///         .service(service_fn(|n: u32| async move { Ok::<_, Infallible>(n + 1) })),
/// );
/// let answer = tokio::spawn(async move { stack.oneshot(1).await }).await.unwrap();
/// assert_eq!(answer.unwrap(), 2);
/// # }
/// ```
///
/// # Under tonic's generated clients
///
/// The bounds of these clients trip the compiler over a boxed error even without a layer of ours, and what is generic, as
/// this function is, can't cure that. Leave a `Channel`'s error as it is: every layer fits it, and rejects with a gRPC
/// status. Where it must be boxed, make the stack in a function that isn't generic, and that returns
/// `impl Service<Request<Body>, Response = Response<Body>, Error = BoxError, Future: Send> + Clone`.
///
/// # Where a layer doesn't fit
///
/// A method such as `oneshot` says of a stack that is no service only that "its trait bounds were not satisfied". This
/// function lets the compiler say why. Around a hyper client, whose response bodies a layer can't make itself,
/// `opaque::<_, Request<Body>>(stack)` says:
///
/// ```text
/// error[E0277]: this layer can't make a response of its own for this service
///   = note: by default a layer answers with an `http::Response` whose body has a `Default`
///   = note: for `hyper::body::Incoming`, map the response body below the layer, for example to `axum::body::Body`
///   = note: or choose `.reject_as_error()` where the error implements `From<Rejection>` (`BoxError` does)
///   = note: or choose `.reject_with(|rejection| …)`, which makes the service's own `Result`
/// ```
pub fn opaque<S, Req>(
    stack: S,
) -> impl Service<Req, Response = S::Response, Error = S::Error, Future: Send + 'static> + Clone + Send + Sync + 'static
where
    S: Service<Req, Future: Send + 'static> + Clone + Send + Sync + 'static,
{
    stack
}

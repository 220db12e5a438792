//! Help for stacks that don't compile, or whose compiler errors are unclear.

use tower_service::Service;

/// Erases the type of a stack: returns it as an opaque `impl Service`, at no cost at run time.
///
/// Use it when a stack should compile but doesn't, and to find the layer that doesn't fit.
///
/// The compiler may reject a stack whose type contains `BoxError` (from a `map_err(BoxError::from)`, or a boxed service
/// inside) in an async block that must be `Send`, as in an axum handler or `tokio::spawn`. It then reports a
/// "higher-ranked lifetime error", or that an implementation "is not general enough". The stack itself is correct:
/// passed through this function, it compiles.
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
/// With the bounds of these clients, the compiler rejects a boxed error even without a Backstop layer. A generic
/// function such as this one can't help there. Leave a `Channel`'s error as it is: every layer fits it, and rejects
/// with a gRPC status. If the error must be boxed, build the stack in a function that isn't generic and that returns
/// `impl Service<Request<Body>, Response = Response<Body>, Error = BoxError, Future: Send> + Clone`.
///
/// # Where a layer doesn't fit
///
/// For a stack that isn't a service, the compiler's error at a method such as `oneshot` is only that "its trait bounds
/// were not satisfied". With this function the compiler gives the cause. Around a hyper client, whose response bodies a
/// layer can't create, `opaque::<_, Request<Body>>(stack)` reports:
///
/// ```text
/// error[E0277]: this layer can't make a response of its own for this service
///   = note: by default a layer answers with an `http::Response` whose body has a `Default`
///   = note: for `hyper::body::Incoming`, enable Backstop's feature `hyper-util` and put `backstop::http_client(…)` around the client
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

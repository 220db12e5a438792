//! An axum `Router` as a provider.
//!
//! A router adds the parameters of its path to those in the request. If an outer route has matched before, a handler inside
//! would see both. So the extensions are saved before the router, and restored once it has found its route. Those that it
//! added take precedence.

use std::{any::Any, mem};

use axum::{Router, body::Body, middleware::map_request};
use http::{Extensions, Request};

/// The extensions of a request before the router.
#[derive(Clone)]
struct SavedExtensions(Extensions);

/// Prepares `service` for requests that were already routed, if it is a router. Also returns whether it is one.
pub(crate) fn prepare<S: 'static>(mut service: S) -> (S, bool) {
    let router = (&mut service as &mut dyn Any).downcast_mut::<Router>();
    let is_router = router.map(|router| *router = mem::take(router).layer(map_request(restore_extensions))).is_some();
    (service, is_router)
}

/// Saves the extensions of a request for a [prepared](prepare) router.
pub(crate) fn save_extensions<Req: 'static>(mut request: Req) -> Req {
    if let Some(request) = (&mut request as &mut dyn Any).downcast_mut::<Request<Body>>() {
        let saved = SavedExtensions(mem::take(request.extensions_mut()));
        request.extensions_mut().insert(saved);
    }
    request
}

async fn restore_extensions(mut request: Request<Body>) -> Request<Body> {
    if let Some(SavedExtensions(mut extensions)) = request.extensions_mut().remove() {
        extensions.extend(mem::take(request.extensions_mut()));
        *request.extensions_mut() = extensions;
    }
    request
}

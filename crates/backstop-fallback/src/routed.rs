//! An axum `Router` as a provider.
//!
//! A router adds the parameters of its path to those in the request. After a route outside has matched, a handler inside would
//! see both. So the extensions are saved on the way in, and restored once the router has found its route. What it added wins.

use std::{any::Any, mem};

use axum::{Router, body::Body, middleware::map_request};
use http::{Extensions, Request};

/// The extensions of a request when it came.
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

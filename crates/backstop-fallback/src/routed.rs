//! An axum `Router` as a provider.
//!
//! A router puts the parameters of its path beside those that are in the request already. A request that a route outside
//! has matched would come to a handler inside with both. So the extensions are put aside on the way in, for the router to
//! begin with none, and put back once it has found its route; what it added wins.

use std::{any::Any, mem};

use axum::{Router, body::Body, middleware::map_request};
use http::{Extensions, Request};

/// The extensions with which a request came.
#[derive(Clone)]
struct SavedExtensions(Extensions);

/// Prepares `service` for requests that were routed already, if it is a router. Also returns whether it is one.
pub(crate) fn prepare<S: 'static>(mut service: S) -> (S, bool) {
    let router = (&mut service as &mut dyn Any).downcast_mut::<Router>();
    let is_router = router.map(|router| *router = mem::take(router).layer(map_request(restore_extensions))).is_some();
    (service, is_router)
}

/// Puts the extensions of a request aside, for a router that was [prepared](prepare).
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

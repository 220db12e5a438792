//! A page as a response of axum's.

use std::convert::Infallible;

use axum::{
    Json,
    response::{IntoResponse, IntoResponseParts, Response, ResponseParts},
};
use backstop_kit::caching;
use serde::Serialize;

use super::{Page, PageStatus};

/// JSON, with the headers that keep a degraded page out of caches.
impl<T: Serialize> IntoResponse for Page<T> {
    fn into_response(self) -> Response {
        let status = self.status.clone();
        (status, Json(self)).into_response()
    }
}

/// The headers that keep a degraded page out of caches, for a body of your own: `(status, Json(dashboard))`. Headers of
/// your own come before it, so that it can remove them.
impl IntoResponseParts for PageStatus {
    type Error = Infallible;

    fn into_response_parts(self, mut response: ResponseParts) -> Result<ResponseParts, Infallible> {
        caching::set_headers(response.headers_mut(), self.freshness());
        // For the layer that writes the other headers, if it isn't in the same scope.
        let worst = self.degradations.into_iter().max_by_key(backstop_core::Degradation::current_freshness);
        if let Some(worst) = worst {
            response.extensions_mut().insert(worst);
        }
        Ok(response)
    }
}

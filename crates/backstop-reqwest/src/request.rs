//! Requests that reqwest has built.

use backstop_kit::ClientBody;
use bytes::Bytes;
use http::Request;

/// A request that reqwest has built, for a stack around a [`ReqwestClient`](crate::ReqwestClient).
///
/// The request's own `timeout` still counts. A body in memory is copied; another one streams.
///
/// ```
/// use backstop_reqwest::{ReqwestClient, http_request};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let client = ReqwestClient::build(reqwest::Client::builder())?;
/// let request = client.get_ref().post("http://orders.example/").body("the order").build()?;
/// let request = http_request(request)?;
/// assert_eq!(request.uri(), "http://orders.example/");
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If the request's URL can't be a URI.
pub fn http_request(request: reqwest::Request) -> reqwest::Result<Request<ClientBody>> {
    let request: Request<reqwest::Body> = request.try_into()?;
    Ok(request.map(|body| match body.as_bytes() {
        Some(content) => Bytes::copy_from_slice(content).into(),
        None => ClientBody::new(body),
    }))
}

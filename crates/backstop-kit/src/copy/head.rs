//! A cheap copy of a request's head, because most copies are never needed.

use http::{Extensions, HeaderMap, HeaderValue, Method, Request, Uri, uri::PathAndQuery};

use super::{CopyAs, NotCopied};

mod flat;
#[cfg(test)]
mod tests;

use flat::{Flat, Line, To};

/// A request's head as flat bytes. A clone of a header map costs several times as much.
#[derive(Debug)]
pub(crate) struct HeadSnapshot {
    flat: Flat,
    /// The target, if it isn't part of the flat bytes. Boxed, because that is rare.
    uri: Option<Box<Uri>>,
    extensions: Extensions,
}

impl HeadSnapshot {
    /// Calls `visit` with each header, once or twice.
    #[inline]
    pub(crate) fn of<B>(request: &Request<B>, visit: impl FnMut(&str, &HeaderValue)) -> Self {
        let (uri, extensions) = (request.uri(), request.extensions());
        let is_flat = is_its_text(uri);
        let line = Line { method: request.method(), target: is_flat.then_some(uri), version: request.version() };
        Self {
            flat: Flat::of(line, request.headers(), visit),
            uri: if is_flat { None } else { Some(Box::new(uri.clone())) },
            extensions: if extensions.is_empty() { Extensions::new() } else { extensions.clone() },
        }
    }

    /// A request with this head, as `copy` says, and the headers that were left out because the copy has no body.
    pub(crate) fn request<B>(&self, copy: CopyAs, body: B) -> Result<(Request<B>, HeaderMap), NotCopied> {
        let head = self.flat.restore(|method, name| to(name, copy, method))?;
        let mut request = Request::new(body);
        *request.method_mut() = head.method;
        *request.uri_mut() = match &self.uri {
            Some(uri) => Uri::clone(uri),
            None => Uri::from_maybe_shared(head.target).map_err(|_| NotCopied::InvalidHead)?,
        };
        *request.version_mut() = head.version;
        *request.headers_mut() = head.headers;
        *request.extensions_mut() = self.extensions.clone();
        remove_live(request.extensions_mut());
        Ok((request, head.left_out))
    }
}

/// The longest target that `http` parses, in bytes.
const LONGEST_TARGET: usize = u16::MAX as usize - 1;

/// Whether the text of a target parses to the same target. That is so in origin form, and for `http` and `https` in
/// absolute form (RFC 9112 §3.2). Copying the text costs less than cloning the target.
#[inline]
fn is_its_text(uri: &Uri) -> bool {
    let Some(path) = uri.path_and_query().map(PathAndQuery::as_str).filter(|path| path.starts_with('/')) else {
        return false;
    };
    let before = match (uri.scheme_str(), uri.authority()) {
        (None, None) => 0,
        (Some(scheme @ ("http" | "https")), Some(authority)) => scheme.len() + "://".len() + authority.as_str().len(),
        _ => return false,
    };
    before + path.len() <= LONGEST_TARGET
}

/// Removes the upgrade handle. It belongs to the connection of the original request.
fn remove_live(extensions: &mut Extensions) {
    #[cfg(feature = "hyper-util")]
    extensions.remove::<hyper::upgrade::OnUpgrade>();
    #[cfg(not(feature = "hyper-util"))]
    let _ = extensions;
}

/// Where a copy puts the header with this lower-case name.
fn to(name: &[u8], copy: CopyAs, method: &Method) -> To {
    let is_of_another = || !names_a_representation(name) && (!guards_a_change(name) || !method.is_safe());
    match copy {
        CopyAs::HeadOnly if describes_the_body(name) => To::LeftOut,
        CopyAs::ForAnotherSource | CopyAs::HeadOnly if !is_of_another() => To::Nowhere,
        CopyAs::Same | CopyAs::ForAnotherSource | CopyAs::HeadOnly => To::Headers,
    }
}

fn names_a_representation(name: &[u8]) -> bool {
    matches!(name, b"range" | b"if-range" | b"if-modified-since")
}

/// With an unsafe method, these guard against a lost update (RFC 9110 §13.1). Without them the copy would ask for more than
/// the original.
fn guards_a_change(name: &[u8]) -> bool {
    matches!(name, b"if-match" | b"if-none-match" | b"if-unmodified-since")
}

fn describes_the_body(name: &[u8]) -> bool {
    name.starts_with(b"content-") || matches!(name, b"transfer-encoding" | b"trailer" | b"expect")
}

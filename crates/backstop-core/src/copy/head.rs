//! The head of a request, copied as cheaply as can be for the case that it is never needed.

use http::{Extensions, HeaderMap, HeaderValue, Method, Request, Uri, Version};

use super::{CopyAs, NotCopied};

mod flat;
#[cfg(test)]
mod tests;

use flat::Flat;

/// A request's head. Its target and headers are flat bytes until they are asked for: a clone of a header map costs several
/// times as much, and most requests succeed.
#[derive(Debug)]
pub(crate) struct HeadSnapshot {
    method: Method,
    version: Version,
    flat: Flat,
    /// The target, where it isn't part of the flat bytes. Boxed, since that is rare, and a target is large.
    uri: Option<Box<Uri>>,
    extensions: Extensions,
}

impl HeadSnapshot {
    /// Each header is shown to `visit`.
    #[inline]
    pub(crate) fn of<B>(request: &Request<B>, visit: impl FnMut(&str, &HeaderValue)) -> Self {
        let extensions = request.extensions();
        let target = flat_target(request.uri());
        Self {
            method: request.method().clone(),
            version: request.version(),
            uri: if target.is_none() { Some(Box::new(request.uri().clone())) } else { None },
            flat: Flat::of(target.unwrap_or_default(), request.headers(), visit),
            extensions: if extensions.is_empty() { Extensions::new() } else { extensions.clone() },
        }
    }

    /// A request with this head, as far as the copy wants it.
    pub(crate) fn request<B>(&self, copy: CopyAs, body: B) -> Result<Request<B>, NotCopied> {
        let (target, headers) = self.flat.restore(|name| belongs(name, copy, &self.method))?;
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = match &self.uri {
            Some(uri) => Uri::clone(uri),
            None => Uri::from_maybe_shared(target).map_err(|_| NotCopied::InvalidHead)?,
        };
        *request.version_mut() = self.version;
        *request.headers_mut() = headers;
        *request.extensions_mut() = self.extensions.clone();
        remove_live(request.extensions_mut());
        Ok(request)
    }

    /// The headers that a head-only copy doesn't hold for want of a body.
    pub(crate) fn of_the_body(&self) -> Result<HeaderMap, NotCopied> {
        self.flat.restore(describes_the_body).map(|(_, headers)| headers)
    }
}

/// The longest target that `http` reads.
const LONGEST_TARGET: usize = u16::MAX as usize - 1;

/// The text of a target, in parts, where reading it gives the same target again: of those in origin form, and of those
/// of the web in absolute form (RFC 9112 §3.2). A clone of a target costs more than a copy of its text.
fn flat_target(uri: &Uri) -> Option<[&str; 4]> {
    let path = uri.path_and_query()?.as_str();
    let parts = match (uri.scheme_str(), uri.authority()) {
        (None, None) => ["", "", "", path],
        (Some(scheme @ ("http" | "https")), Some(authority)) => [scheme, "://", authority.as_str(), path],
        _ => return None,
    };
    let length = parts.iter().map(|part| part.len()).sum::<usize>();
    (path.starts_with('/') && length <= LONGEST_TARGET).then_some(parts)
}

/// Removes what stands for the connection that the first copy came on: a second one must not act upon it.
fn remove_live(extensions: &mut Extensions) {
    #[cfg(feature = "hyper-util")]
    extensions.remove::<hyper::upgrade::OnUpgrade>();
    #[cfg(not(feature = "hyper-util"))]
    let _ = extensions;
}

/// Whether the header of this name, in lower case, is part of such a copy.
fn belongs(name: &[u8], copy: CopyAs, method: &Method) -> bool {
    let of_another = || !names_a_representation(name) && (!guards_a_change(name) || !method.is_safe());
    match copy {
        CopyAs::Same => true,
        CopyAs::ForProvider => of_another(),
        CopyAs::HeadOnly => of_another() && !describes_the_body(name),
    }
}

fn names_a_representation(name: &[u8]) -> bool {
    matches!(name, b"range" | b"if-range" | b"if-modified-since")
}

/// On a method that changes something, these are the guard against a lost update (RFC 9110 §13.1): without them the
/// copy would ask for more than the original.
fn guards_a_change(name: &[u8]) -> bool {
    matches!(name, b"if-match" | b"if-none-match" | b"if-unmodified-since")
}

fn describes_the_body(name: &[u8]) -> bool {
    name.starts_with(b"content-") || matches!(name, b"transfer-encoding" | b"trailer" | b"expect")
}

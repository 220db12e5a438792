//! The head of a request, copied as cheaply as can be for the case that it is never needed.

use bytes::Bytes;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};

use super::{CopyAs, NotCopied};

/// A request's head. Its headers are flat bytes until they are asked for: a clone of a header map costs several times as
/// much, and most requests succeed.
#[derive(Debug)]
pub(crate) struct HeadSnapshot {
    method: Method,
    uri: Uri,
    version: Version,
    headers: FlatHeaders,
    extensions: Option<Extensions>,
}

impl HeadSnapshot {
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        let extensions = request.extensions();
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            headers: FlatHeaders::of(request.headers()),
            extensions: if extensions.is_empty() {
                None
            } else {
                Some(extensions.clone())
            },
        }
    }

    /// A request with this head, as far as the copy wants it.
    pub(crate) fn request<B>(&self, copy: CopyAs, body: B) -> Result<Request<B>, NotCopied> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.version_mut() = self.version;
        *request.headers_mut() = self.headers.restore(|name| belongs(name, copy))?;
        if let Some(extensions) = &self.extensions {
            *request.extensions_mut() = extensions.clone();
            remove_live(request.extensions_mut());
        }
        Ok(request)
    }
}

/// Removes what stands for the connection that the first copy came on: a second one must not act upon it.
fn remove_live(extensions: &mut Extensions) {
    #[cfg(feature = "hyper-util")]
    extensions.remove::<hyper::upgrade::OnUpgrade>();
    #[cfg(not(feature = "hyper-util"))]
    let _ = extensions;
}

/// Whether the header of this name, in lower case, is part of such a copy.
fn belongs(name: &[u8], copy: CopyAs) -> bool {
    match copy {
        CopyAs::Same => true,
        CopyAs::ForProvider => !names_a_representation(name),
        CopyAs::HeadOnly => !names_a_representation(name) && !describes_the_body(name),
    }
}

fn names_a_representation(name: &[u8]) -> bool {
    matches!(
        name,
        b"range"
            | b"if-range"
            | b"if-match"
            | b"if-none-match"
            | b"if-modified-since"
            | b"if-unmodified-since"
    )
}

fn describes_the_body(name: &[u8]) -> bool {
    name.starts_with(b"content-") || matches!(name, b"transfer-encoding" | b"trailer" | b"expect")
}

/// Headers in one piece of memory, in order: for each its lengths and flag in eight bytes, its name, its value.
#[derive(Clone, Debug)]
struct FlatHeaders {
    bytes: Bytes,
    names: usize,
}

/// Lengths and flag: the name's length in the low 16 bits (names are at most 65,535 bytes), the sensitive flag in the
/// next one, the value's length above.
const PREFIX: usize = size_of::<u64>();
const SENSITIVE: u64 = 1 << 16;
const VALUE_SHIFT: u32 = 17;

impl FlatHeaders {
    fn of(headers: &HeaderMap) -> Self {
        let size = headers
            .iter()
            .map(|(name, value)| PREFIX + name.as_str().len() + value.len())
            .sum();
        // Filled exactly, so that `Bytes` takes the allocation over as it is.
        let mut bytes = Vec::with_capacity(size);
        for (name, value) in headers {
            let name = name.as_str().as_bytes();
            let flag = if value.is_sensitive() { SENSITIVE } else { 0 };
            let prefix = name.len() as u64 | flag | (value.len() as u64) << VALUE_SHIFT;
            bytes.extend_from_slice(&prefix.to_le_bytes());
            bytes.extend_from_slice(name);
            bytes.extend_from_slice(value.as_bytes());
        }
        Self {
            bytes: bytes.into(),
            names: headers.keys_len(),
        }
    }

    /// The headers again, those of the names that `belongs` wants. Values share the one piece of memory.
    fn restore(&self, belongs: impl Fn(&[u8]) -> bool) -> Result<HeaderMap, NotCopied> {
        // The capacity is a hint: a map that is refused it still grows as far as the original could.
        let mut headers = HeaderMap::try_with_capacity(self.names).unwrap_or_default();
        let mut rest = self.bytes.clone();
        while let Some(prefix) = rest.first_chunk::<PREFIX>() {
            let prefix = u64::from_le_bytes(*prefix);
            let name_end = PREFIX + (prefix & (SENSITIVE - 1)) as usize;
            let value_end = name_end + (prefix >> VALUE_SHIFT) as usize;
            if rest.len() < value_end {
                return Err(NotCopied::InvalidHead);
            }
            let field = rest.split_to(value_end);
            let name = &field[PREFIX..name_end];
            if belongs(name) {
                let name = HeaderName::from_bytes(name).map_err(|_| NotCopied::InvalidHead)?;
                let value = field.slice(name_end..);
                let mut value =
                    HeaderValue::from_maybe_shared(value).map_err(|_| NotCopied::InvalidHead)?;
                value.set_sensitive(prefix & SENSITIVE != 0);
                headers
                    .try_append(name, value)
                    .map_err(|_| NotCopied::InvalidHead)?;
            }
        }
        Ok(headers)
    }
}

#[cfg(test)]
mod tests;

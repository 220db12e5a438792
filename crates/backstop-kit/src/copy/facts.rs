//! What is known of a request once it has been given away.

use http::{HeaderName, HeaderValue, Method, Request, Version};

use backstop_core::grpc;

/// What decides whether a request may be sent again, noted before it is given away.
///
/// It costs no allocation. A strategy of your own starts with [`RequestFacts::none`] and adds what it knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct RequestFacts {
    bits: u8,
}

/// Your own word on whether one request may be sent again, as a request extension.
///
/// ```
/// use backstop_kit::{Repeat, RequestFacts};
///
/// let mut search = http::Request::post("/search").body(())?;
/// search.extensions_mut().insert(Repeat::Safe);
/// assert!(RequestFacts::of(&search).is_idempotent());
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Repeat {
    /// Not once it may have been processed, whatever else allows it: by no retry, which keeps nothing of it, and by no
    /// provider of a fallback that isn't marked `even_if_processed`.
    Never,
    /// As if it were idempotent, whatever its method: for retries, and for the providers of a fallback.
    Safe,
}

const IDEMPOTENT: u8 = 1;
const KEYED: u8 = 1 << 1;
const UPGRADE: u8 = 1 << 2;
const EARLY: u8 = 1 << 3;
const ONCE: u8 = 1 << 4;
const GRPC: u8 = 1 << 5;

impl RequestFacts {
    /// Nothing is known: not idempotent, no key, no upgrade, no early data.
    pub const fn none() -> Self {
        Self { bits: 0 }
    }

    /// The facts of an HTTP request.
    pub fn of<B>(request: &Request<B>) -> Self {
        let mut fields = Fields::of(request);
        let tell = |facts, (name, value): (&HeaderName, _)| fields.tell(facts, name.as_str(), value);
        request.headers().iter().fold(Self::at_a_glance(request), tell)
    }

    /// What is known without a look at the headers: by method and extensions.
    pub fn at_a_glance<B>(request: &Request<B>) -> Self {
        let mut facts = Self::none();
        if is_idempotent(request.method()) {
            facts = facts.idempotent();
        }
        // Of an extended CONNECT (RFC 8441, RFC 9220) the method is CONNECT as well.
        if *request.method() == Method::CONNECT {
            facts = facts.upgrade();
        }
        match request.extensions().get() {
            Some(Repeat::Never) => facts.never_repeated(),
            Some(Repeat::Safe) => facts.idempotent(),
            None => facts,
        }
    }

    /// With this: sending it twice has the effect of sending it once.
    pub const fn idempotent(self) -> Self {
        self.with(IDEMPOTENT)
    }

    /// With this: it carries an `Idempotency-Key`.
    pub const fn with_idempotency_key(self) -> Self {
        self.with(KEYED)
    }

    /// With this: it asks for another protocol on its connection.
    pub const fn upgrade(self) -> Self {
        self.with(UPGRADE)
    }

    /// With this: our own caller sent it in TLS early data.
    pub const fn early_data(self) -> Self {
        self.with(EARLY)
    }

    /// With this: no retry may send it again.
    pub const fn never_repeated(self) -> Self {
        self.with(ONCE)
    }

    /// With this: it is a gRPC call.
    pub const fn grpc(self) -> Self {
        self.with(GRPC)
    }

    /// Whether it is a gRPC call, so that an answer that isn't gRPC's is none: see
    /// [`is_grpc_request`](backstop_core::grpc::is_grpc_request).
    #[must_use]
    pub const fn is_grpc(self) -> bool {
        self.has(GRPC)
    }

    /// Whether sending it twice has the effect of sending it once: by its method, which is GET, HEAD, OPTIONS, TRACE, PUT
    /// or DELETE (RFC 9110 §9.2.2), or because [`Repeat::Safe`] says so.
    #[must_use]
    pub const fn is_idempotent(self) -> bool {
        self.has(IDEMPOTENT)
    }

    /// Whether it carries an `Idempotency-Key` with a value. What that is worth, the server decides.
    #[must_use]
    pub const fn has_idempotency_key(self) -> bool {
        self.has(KEYED)
    }

    /// Whether it is CONNECT, or asks over HTTP/1.1 for a protocol that this hop could switch to: it has the connection
    /// option `upgrade` **and** an `Upgrade` field that names one (RFC 9110 §7.8). `h2c` and `h2` are none (RFC 9113 §3.1,
    /// RFC 7540 §3.2). Such a request is about its connection and must never be repeated or sent elsewhere.
    #[must_use]
    pub const fn is_upgrade(self) -> bool {
        self.has(UPGRADE)
    }

    /// Whether our own caller sent it in early data (`Early-Data`, RFC 8470 §5.1): a 425 is then for the caller to act
    /// upon, not for us.
    #[must_use]
    pub const fn is_early_data(self) -> bool {
        self.has(EARLY)
    }

    /// Whether no retry may send it again, whatever else is known of it: [`Repeat::Never`].
    #[must_use]
    pub const fn is_never_repeated(self) -> bool {
        self.has(ONCE)
    }

    /// Whether the request itself allows that it is sent again where it may have been processed: it is idempotent, and not
    /// one that is never repeated.
    #[must_use]
    pub const fn may_be_repeated(self) -> bool {
        self.is_idempotent() && !self.is_never_repeated()
    }

    const fn with(self, bit: u8) -> Self {
        Self { bits: self.bits | bit }
    }

    const fn has(self, bit: u8) -> bool {
        self.bits & bit != 0
    }
}

/// What the header fields of a request tell.
#[derive(Clone, Copy)]
pub(super) struct Fields {
    /// HTTP/2 and later have no connection options (RFC 9113 §8.2.2), and an `Upgrade` in HTTP/1.0 is to be ignored
    /// (RFC 9110 §7.8).
    may_upgrade: bool,
    is_post: bool,
    has_upgrade_option: bool,
    names_a_protocol: bool,
}

impl Fields {
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        let may_upgrade = request.version() == Version::HTTP_11;
        let is_post = *request.method() == Method::POST;
        Self { may_upgrade, is_post, has_upgrade_option: false, names_a_protocol: false }
    }

    /// `facts`, with what the field of this name, in lower case, tells beside those before it.
    #[inline(always)]
    pub(super) fn tell(&mut self, facts: RequestFacts, name: &str, value: &HeaderValue) -> RequestFacts {
        // Lengths first: most names have another one, and a look-up in the map would cost more for each of them. What is read
        // of a value stays out of line, so that all names are looked at in one small loop.
        match name.len() {
            7 if name == "upgrade" => self.tell_upgrade(facts, value),
            10 if name == "connection" => self.tell_connection(facts, value),
            // RFC 8470 §5.1: several or invalid instances are to be treated as one of the value 1.
            10 if name == "early-data" => facts.early_data(),
            12 if self.is_post && name == "content-type" => tell_content_type(facts, value),
            15 if name == "idempotency-key" && !value.is_empty() => facts.with_idempotency_key(),
            _ => facts,
        }
    }

    #[inline(never)]
    fn tell_upgrade(&mut self, facts: RequestFacts, value: &HeaderValue) -> RequestFacts {
        self.names_a_protocol |= items(value).any(is_protocol);
        self.told_of_upgrade(facts)
    }

    #[inline(never)]
    fn tell_connection(&mut self, facts: RequestFacts, value: &HeaderValue) -> RequestFacts {
        self.has_upgrade_option |= items(value).any(|option| option.eq_ignore_ascii_case(b"upgrade"));
        self.told_of_upgrade(facts)
    }

    /// Either field alone asks for nothing: nginx often sends the option with every request.
    const fn told_of_upgrade(self, facts: RequestFacts) -> RequestFacts {
        if self.may_upgrade && self.has_upgrade_option && self.names_a_protocol { facts.upgrade() } else { facts }
    }
}

#[inline(never)]
fn tell_content_type(facts: RequestFacts, value: &HeaderValue) -> RequestFacts {
    if grpc::is_content_type(value) { facts.grpc() } else { facts }
}

/// RFC 9110 §9.2.2. A method that we don't know isn't.
fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE)
}

/// The members of a list. Bytes, not text: a value that isn't text may still hold one that is.
fn items(list: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    list.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// Whether a member of `Upgrade` names a protocol that a server could switch to. Servers ignore `h2c`, which RFC 9113 §3.1
/// made obsolete, and `h2`, as RFC 7540 §3.2 asks: clients offer it with ordinary requests (Java's `HttpClient`,
/// `curl --http2`).
fn is_protocol(item: &[u8]) -> bool {
    !item.is_empty() && !item.eq_ignore_ascii_case(b"h2c") && !item.eq_ignore_ascii_case(b"h2")
}

//! What is known of a request after it was sent.

use backstop_core::{Blame, Outcome, grpc};
use http::{HeaderName, HeaderValue, Method, Request, Version};

use crate::Repeat;

/// The facts that decide whether a request [may be sent again](crate::repeating), read before it is sent.
///
/// Reading them doesn't allocate. Your own [`CopyRequest`](crate::CopyRequest) starts with [`RequestFacts::none`] and adds
/// what it knows.
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct RequestFacts {
    bits: u8,
}

const IDEMPOTENT: u8 = 1;
const KEYED: u8 = 1 << 1;
const UPGRADE: u8 = 1 << 2;
const EARLY: u8 = 1 << 3;
const ONCE: u8 = 1 << 4;
const GRPC: u8 = 1 << 5;
/// An HTTP request was read: its method and extensions first, its headers when it is kept.
const HTTP: u8 = 1 << 6;

/// Whether they were read from an HTTP request doesn't count.
impl PartialEq for RequestFacts {
    fn eq(&self, other: &Self) -> bool {
        self.with(HTTP).bits == other.with(HTTP).bits
    }
}

impl Eq for RequestFacts {}

impl RequestFacts {
    /// Nothing is known: not idempotent, no key, no upgrade, no early data.
    pub const fn none() -> Self {
        Self { bits: 0 }
    }

    /// The facts of an HTTP request.
    pub fn of<B>(request: &Request<B>) -> Self {
        Self::without_headers(request).with_headers(request)
    }

    /// What the method and the extensions say.
    pub(super) fn without_headers<B>(request: &Request<B>) -> Self {
        let mut facts = Self { bits: HTTP };
        if is_idempotent(request.method()) {
            facts = facts.idempotent();
        }
        // The method of an extended CONNECT (RFC 8441, RFC 9220) is CONNECT, too.
        if *request.method() == Method::CONNECT {
            facts = facts.upgrade();
        }
        match request.extensions().get() {
            Some(Repeat::Never) => facts.never_repeated(),
            Some(Repeat::Safe) => facts.idempotent(),
            None => facts,
        }
    }

    /// Adds what the headers say.
    #[inline(never)]
    pub(super) fn with_headers<B>(self, request: &Request<B>) -> Self {
        let mut headers = HeaderFacts::of(request);
        let read = |facts, (name, value): (&HeaderName, _)| headers.read(facts, name.as_str(), value);
        request.headers().iter().fold(self, read)
    }

    /// Sending it twice has the same effect as sending it once.
    pub const fn idempotent(self) -> Self {
        self.with(IDEMPOTENT)
    }

    /// It has an `Idempotency-Key`.
    pub const fn with_idempotency_key(self) -> Self {
        self.with(KEYED)
    }

    /// It asks for another protocol on its connection.
    pub const fn upgrade(self) -> Self {
        self.with(UPGRADE)
    }

    /// Our own caller sent it in TLS early data.
    pub const fn early_data(self) -> Self {
        self.with(EARLY)
    }

    /// It must not be repeated, as with [`Repeat::Never`].
    pub const fn never_repeated(self) -> Self {
        self.with(ONCE)
    }

    /// It is a gRPC call.
    pub const fn grpc(self) -> Self {
        self.with(GRPC)
    }

    /// Whether it is a gRPC call, for which only a gRPC response is an answer: see
    /// [`is_grpc_request`](backstop_core::grpc::is_grpc_request).
    #[must_use]
    pub const fn is_grpc(self) -> bool {
        self.has(GRPC)
    }

    /// Whether sending it twice has the same effect as sending it once: its method is GET, HEAD, OPTIONS, TRACE, PUT or
    /// DELETE (RFC 9110 §9.2.2), or [`Repeat::Safe`] or a predicate says so.
    #[must_use]
    pub const fn is_idempotent(self) -> bool {
        self.has(IDEMPOTENT)
    }

    /// Whether it has an `Idempotency-Key` with a value. Only the server knows whether it honours the key.
    #[must_use]
    pub const fn has_idempotency_key(self) -> bool {
        self.has(KEYED)
    }

    /// Whether it is CONNECT, or an HTTP/1.1 request to switch protocols: it has the connection option `upgrade` **and** an
    /// `Upgrade` field that names a protocol (RFC 9110 §7.8). `h2c` and `h2` don't count (RFC 9113 §3.1, RFC 7540 §3.2).
    /// Such a request is about its connection, and must never be repeated or sent elsewhere.
    #[must_use]
    pub const fn is_upgrade(self) -> bool {
        self.has(UPGRADE)
    }

    /// Whether our own caller sent it in early data (`Early-Data`, RFC 8470 §5.1). Then a 425 is for the caller to handle.
    #[must_use]
    pub const fn is_early_data(self) -> bool {
        self.has(EARLY)
    }

    /// Whether it must not be repeated, whatever else is known: [`Repeat::Never`], or a predicate.
    #[must_use]
    pub const fn is_never_repeated(self) -> bool {
        self.has(ONCE)
    }

    /// Whether it may be sent again even if it was processed: it is idempotent, and no one said that it is never repeated.
    #[must_use]
    pub const fn may_be_repeated(self) -> bool {
        self.is_idempotent() && !self.is_never_repeated()
    }

    /// Whether this outcome is a 425 for the caller to handle, because the caller sent early data (RFC 8470 §5.2).
    #[must_use]
    pub fn is_too_early_for_caller(self, outcome: &Outcome) -> bool {
        outcome.blame == Some(Blame::EarlyData) && self.is_early_data()
    }

    /// Adds what an HTTP request says, unless it was already read.
    #[inline]
    pub(crate) fn completed_by<B>(self, request: &Request<B>) -> Self {
        if self.has(HTTP) { self } else { self.with(Self::of(request).bits) }
    }

    const fn with(self, bit: u8) -> Self {
        Self { bits: self.bits | bit }
    }

    const fn has(self, bit: u8) -> bool {
        self.bits & bit != 0
    }
}

/// Reads the facts from headers, one after the other.
#[derive(Clone, Copy)]
pub(super) struct HeaderFacts {
    /// HTTP/2 and later have no connection options (RFC 9113 §8.2.2), and an `Upgrade` in HTTP/1.0 must be ignored
    /// (RFC 9110 §7.8).
    may_upgrade: bool,
    is_post: bool,
    has_upgrade_option: bool,
    names_a_protocol: bool,
}

impl HeaderFacts {
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        let may_upgrade = request.version() == Version::HTTP_11;
        let is_post = *request.method() == Method::POST;
        Self { may_upgrade, is_post, has_upgrade_option: false, names_a_protocol: false }
    }

    /// Adds what this header says, together with those before it. `name` is in lower case.
    #[inline(always)]
    pub(super) fn read(&mut self, facts: RequestFacts, name: &str, value: &HeaderValue) -> RequestFacts {
        // Lengths first: most names have another length. A look-up in the map for each name costs more. Values are read out
        // of line, so that the loop over all names stays small.
        match name.len() {
            7 if name == "upgrade" => self.read_upgrade(facts, value),
            10 if name == "connection" => self.read_connection(facts, value),
            // RFC 8470 §5.1: several or invalid instances count as the value 1.
            10 if name == "early-data" => facts.early_data(),
            12 if self.is_post && name == "content-type" => read_content_type(facts, value),
            15 if name == "idempotency-key" && !value.is_empty() => facts.with_idempotency_key(),
            _ => facts,
        }
    }

    #[inline(never)]
    fn read_upgrade(&mut self, facts: RequestFacts, value: &HeaderValue) -> RequestFacts {
        self.names_a_protocol |= items(value).any(is_protocol);
        self.with_upgrade(facts)
    }

    #[inline(never)]
    fn read_connection(&mut self, facts: RequestFacts, value: &HeaderValue) -> RequestFacts {
        self.has_upgrade_option |= items(value).any(|option| option.eq_ignore_ascii_case(b"upgrade"));
        self.with_upgrade(facts)
    }

    /// One field alone isn't an upgrade: nginx often sends the option with every request.
    const fn with_upgrade(self, facts: RequestFacts) -> RequestFacts {
        if self.may_upgrade && self.has_upgrade_option && self.names_a_protocol { facts.upgrade() } else { facts }
    }
}

#[inline(never)]
fn read_content_type(facts: RequestFacts, value: &HeaderValue) -> RequestFacts {
    if grpc::is_content_type(value) { facts.grpc() } else { facts }
}

/// RFC 9110 §9.2.2. Unknown methods are not idempotent.
fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE)
}

/// The members of a list, as bytes, because other members may not be text.
fn items(list: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    list.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// Whether a member of `Upgrade` names a protocol that a server could switch to. Servers ignore `h2c`, which RFC 9113 §3.1
/// made obsolete, and `h2`, as RFC 7540 §3.2 asks: clients offer it with ordinary requests (Java's `HttpClient`,
/// `curl --http2`).
fn is_protocol(item: &[u8]) -> bool {
    !item.is_empty() && !item.eq_ignore_ascii_case(b"h2c") && !item.eq_ignore_ascii_case(b"h2")
}

//! How a layer deals with a protocol, in one type parameter.

use backstop_core::{HttpClassify, ResultClassify};

use crate::{
    CloneCopy, DiscardReplaced, HttpCopy, HttpJudge, HttpReject, KeepReplaced, PlainJudge, RejectAsError, UntilHeaders,
};

/// The strategies by which a layer deals with the requests and answers of its service.
///
/// Layers have one parameter `P` for all of them. It is [`Http`] unless chosen otherwise; [`Plain`] is for functions and
/// other services that don't speak HTTP. A builder's methods replace one strategy at a time.
pub trait Protocol {
    /// Says what a result counts as: a [`Judge`](crate::Judge).
    type Judge;
    /// Makes an answer of the layer's own: a [`Reject`](crate::Reject).
    type Reject;
    /// Copies requests: a [`CopyRequest`](crate::CopyRequest).
    type Copy;
    /// Keeps an answer that may be replaced: a [`KeepAnswer`](crate::KeepAnswer).
    type Keep;
    /// How much of a response belongs to its call: [`UntilHeaders`], [`UntilFirstFrame`](crate::UntilFirstFrame) or
    /// [`UntilBodyEnd`](crate::UntilBodyEnd).
    type Until;

    /// The judge.
    fn judge(&self) -> &Self::Judge;

    /// How to reject.
    fn reject(&self) -> &Self::Reject;

    /// How to copy requests.
    fn copy(&self) -> &Self::Copy;

    /// How to keep answers.
    fn keep(&self) -> &Self::Keep;
}

/// One strategy for each job: see [`Http`] and [`Plain`] for the usual ones.
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct Strategies<J, R, K, A, U> {
    /// Says what a result counts as.
    pub judge: J,
    /// Makes an answer of the layer's own.
    pub reject: R,
    /// Copies requests.
    pub copy: K,
    /// Keeps an answer that may be replaced.
    pub keep: A,
    /// How much of a response belongs to its call.
    pub until: U,
}

/// HTTP and gRPC: rejections are responses, bodies are recorded to be sent again, answers are kept in memory. The default.
pub type Http<C = HttpClassify, R = HttpReject, U = UntilHeaders, K = HttpCopy, A = KeepReplaced> =
    Strategies<HttpJudge<C>, R, K, A, U>;

/// Functions, and services of any other type: each `Ok` is an answer, rejections are errors, requests are cloned, and an
/// answer that is to be replaced is dropped.
///
/// Not for HTTP: in a response it sees no [`Rejection`](backstop_core::Rejection) of a layer further in, it labels no answer,
/// and it watches no request body. For HTTP requests that can't be replayed there is `.clone_requests()`, for responses that
/// can't be made `.reject_as_error()`.
pub type Plain<C = ResultClassify, R = RejectAsError, U = UntilHeaders, K = CloneCopy, A = DiscardReplaced> =
    Strategies<PlainJudge<C>, R, K, A, U>;

impl<J, R, K, A, U> Protocol for Strategies<J, R, K, A, U> {
    type Judge = J;
    type Reject = R;
    type Copy = K;
    type Keep = A;
    type Until = U;

    #[inline]
    fn judge(&self) -> &J {
        &self.judge
    }

    #[inline]
    fn reject(&self) -> &R {
        &self.reject
    }

    #[inline]
    fn copy(&self) -> &K {
        &self.copy
    }

    #[inline]
    fn keep(&self) -> &A {
        &self.keep
    }
}

impl<J, R, K, A, U> Strategies<J, R, K, A, U> {
    /// With another judge.
    pub fn with_judge<J2>(self, judge: J2) -> Strategies<J2, R, K, A, U> {
        let Self { reject, copy, keep, until, .. } = self;
        Strategies { judge, reject, copy, keep, until }
    }

    /// With another way to reject.
    pub fn with_reject<R2>(self, reject: R2) -> Strategies<J, R2, K, A, U> {
        let Self { judge, copy, keep, until, .. } = self;
        Strategies { judge, reject, copy, keep, until }
    }

    /// With another way to copy requests.
    pub fn with_copy<K2>(self, copy: K2) -> Strategies<J, R, K2, A, U> {
        let Self { judge, reject, keep, until, .. } = self;
        Strategies { judge, reject, copy, keep, until }
    }

    /// With another way to keep answers.
    pub fn with_keep<A2>(self, keep: A2) -> Strategies<J, R, K, A2, U> {
        let Self { judge, reject, copy, until, .. } = self;
        Strategies { judge, reject, copy, keep, until }
    }

    /// With another part of the response that belongs to a call.
    pub fn with_until<U2>(self, until: U2) -> Strategies<J, R, K, A, U2> {
        let Self { judge, reject, copy, keep, .. } = self;
        Strategies { judge, reject, copy, keep, until }
    }
}

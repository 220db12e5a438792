//! How a layer deals with a protocol, in one type parameter.

use backstop_core::{HttpClassify, ResultClassify};

use crate::{
    CloneCopy, DiscardReplaced, HttpCopy, HttpJudge, HttpReject, KeepReplaced, PlainJudge, RejectAsError, UntilHeaders,
};

/// How a layer handles the requests and answers of its service: a set of strategies.
///
/// Layers have one type parameter `P` for all of them. The default is [`Http`]. [`Plain`] is for functions and other
/// services that don't speak HTTP. A builder's methods replace one strategy at a time.
pub trait Protocol {
    /// Decides what a result counts as: a [`Judge`](crate::Judge).
    type Judge;
    /// Makes the layer's own answers: a [`Reject`](crate::Reject).
    type Reject;
    /// How far the layer follows a response: [`UntilHeaders`], [`UntilFirstFrame`](crate::UntilFirstFrame) or
    /// [`UntilBodyEnd`](crate::UntilBodyEnd).
    type Until;
    /// Copies requests: a [`CopyRequest`](crate::CopyRequest).
    type Copy;
    /// Keeps an answer that may be replaced: a [`KeepAnswer`](crate::KeepAnswer).
    type Keep;

    /// Decides what a result counts as.
    fn judge(&self) -> &Self::Judge;

    /// Makes the layer's own answers.
    fn reject(&self) -> &Self::Reject;

    /// Copies requests.
    fn copy(&self) -> &Self::Copy;

    /// Keeps an answer that may be replaced.
    fn keep(&self) -> &Self::Keep;
}

/// One strategy for each task: see [`Http`] and [`Plain`].
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct Strategies<J, R, U, K, A> {
    /// Decides what a result counts as.
    pub judge: J,
    /// Makes the layer's own answers.
    pub reject: R,
    /// How far the layer follows a response.
    pub until: U,
    /// Copies requests.
    pub copy: K,
    /// Keeps an answer that may be replaced.
    pub keep: A,
}

/// For HTTP and gRPC, the default: rejections are responses, bodies are recorded to be sent again, and answers are kept in
/// memory.
pub type Http<C = HttpClassify, R = HttpReject, U = UntilHeaders, K = HttpCopy, A = KeepReplaced> =
    Strategies<HttpJudge<C>, R, U, K, A>;

/// For functions and any other service: each `Ok` is an answer, rejections are errors, requests are cloned, and an answer
/// that is to be replaced is dropped.
///
/// Not for HTTP: it doesn't see a [`Rejection`](backstop_core::Rejection) in a response, doesn't label answers, and doesn't
/// watch request bodies. If HTTP requests can't be replayed, use `.clone_requests()`. If responses can't be made, use
/// `.reject_as_error()`.
pub type Plain<C = ResultClassify, R = RejectAsError, U = UntilHeaders, K = CloneCopy, A = DiscardReplaced> =
    Strategies<PlainJudge<C>, R, U, K, A>;

impl<J, R, U, K, A> Protocol for Strategies<J, R, U, K, A> {
    type Judge = J;
    type Reject = R;
    type Until = U;
    type Copy = K;
    type Keep = A;

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

impl<J, R, U, K, A> Strategies<J, R, U, K, A> {
    /// Replaces the judge.
    pub fn with_judge<J2>(self, judge: J2) -> Strategies<J2, R, U, K, A> {
        let Self { reject, until, copy, keep, .. } = self;
        Strategies { judge, reject, until, copy, keep }
    }

    /// Replaces the way to reject.
    pub fn with_reject<R2>(self, reject: R2) -> Strategies<J, R2, U, K, A> {
        let Self { judge, until, copy, keep, .. } = self;
        Strategies { judge, reject, until, copy, keep }
    }

    /// Replaces how far the layer follows a response.
    pub fn with_until<U2>(self, until: U2) -> Strategies<J, R, U2, K, A> {
        let Self { judge, reject, copy, keep, .. } = self;
        Strategies { judge, reject, until, copy, keep }
    }

    /// Replaces the way to copy requests.
    pub fn with_copy<K2>(self, copy: K2) -> Strategies<J, R, U, K2, A> {
        let Self { judge, reject, until, keep, .. } = self;
        Strategies { judge, reject, until, copy, keep }
    }

    /// Replaces the way to keep answers.
    pub fn with_keep<A2>(self, keep: A2) -> Strategies<J, R, U, K, A2> {
        let Self { judge, reject, until, copy, .. } = self;
        Strategies { judge, reject, until, copy, keep }
    }
}

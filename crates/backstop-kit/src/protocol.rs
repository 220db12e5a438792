//! How a layer deals with a protocol, in one type parameter.

use backstop_core::{HttpClassify, ResultClassify};

use crate::{CloneCopy, DiscardReplaced, HttpCopy, HttpJudge, HttpReject, KeepReplaced, PlainJudge, RejectAsError};

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
pub struct Strategies<J, R, K, A> {
    /// Says what a result counts as.
    pub judge: J,
    /// Makes an answer of the layer's own.
    pub reject: R,
    /// Copies requests.
    pub copy: K,
    /// Keeps an answer that may be replaced.
    pub keep: A,
}

/// HTTP and gRPC: rejections are responses, bodies are recorded to be sent again, answers are kept in memory. The default.
pub type Http<C = HttpClassify, R = HttpReject, K = HttpCopy, A = KeepReplaced> = Strategies<HttpJudge<C>, R, K, A>;

/// Functions, and services of any other type: each `Ok` is an answer, rejections are errors, requests are cloned, and an
/// answer that is to be replaced is dropped.
pub type Plain<C = ResultClassify, R = RejectAsError, K = CloneCopy, A = DiscardReplaced> =
    Strategies<PlainJudge<C>, R, K, A>;

impl<J, R, K, A> Protocol for Strategies<J, R, K, A> {
    type Judge = J;
    type Reject = R;
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

impl<J, R, K, A> Strategies<J, R, K, A> {
    /// With another judge.
    pub fn with_judge<J2>(self, judge: J2) -> Strategies<J2, R, K, A> {
        let Self { reject, copy, keep, .. } = self;
        Strategies { judge, reject, copy, keep }
    }

    /// With another way to reject.
    pub fn with_reject<R2>(self, reject: R2) -> Strategies<J, R2, K, A> {
        let Self { judge, copy, keep, .. } = self;
        Strategies { judge, reject, copy, keep }
    }

    /// With another way to copy requests.
    pub fn with_copy<K2>(self, copy: K2) -> Strategies<J, R, K2, A> {
        let Self { judge, reject, keep, .. } = self;
        Strategies { judge, reject, copy, keep }
    }

    /// With another way to keep answers.
    pub fn with_keep<A2>(self, keep: A2) -> Strategies<J, R, K, A2> {
        let Self { judge, reject, copy, .. } = self;
        Strategies { judge, reject, copy, keep }
    }
}

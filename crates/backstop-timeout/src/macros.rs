//! Methods of all three layers.

/// The methods of a builder that choose how its layer rejects. `$builder` has these other fields.
macro_rules! define_reject_methods {
    ($builder:ident { $($field:ident),+ }) => {
        /// Rejects with a response whose body says why: a problem document (RFC 9457), see [`ProblemDetails`]. Unless set, it
        /// has no body.
        ///
        /// For response bodies that are [`WrapBody`](backstop_kit::WrapBody).
        pub fn problem_details(self) -> $builder<ProblemDetails> {
            $builder { $($field: self.$field,)+ reject: ProblemDetails::new() }
        }

        /// Rejects with the service's error, which must implement `From<Rejection>`, as `BoxError` does.
        pub fn reject_as_error(self) -> $builder<RejectAsError> {
            $builder { $($field: self.$field,)+ reject: RejectAsError::new() }
        }

        /// Rejects with what `make` returns: a `Result` with the service's own types.
        pub fn reject_with<F, Res, E>(self, make: F) -> $builder<RejectWith<F>>
        where
            F: Fn(Rejection) -> Result<Res, E>,
        {
            $builder { $($field: self.$field,)+ reject: RejectWith::new(make) }
        }
    };
}

pub(crate) use define_reject_methods;

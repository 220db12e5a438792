//! Finds concrete errors in an error of any type.

use std::{
    any::{Any, TypeId},
    error::Error,
    fmt, io, iter,
    sync::OnceLock,
};

use crate::transport;

type BoxError = Box<dyn Error + Send + Sync>;
type LocalBoxError = Box<dyn Error>;

/// A borrowed error of any type. Finds a concrete error among its causes.
///
/// [`find`](Self::find) looks at the value itself, inside a `Box<dyn Error…>` or an [`io::Error`], and along
/// [`source()`](Error::source). For your own type, `source()` is followed only if the classifier knows the type
/// ([`HttpClassify::see_through`](crate::HttpClassify::see_through)). The layers require only `'static` of an error, so
/// that they fit every service; such a type needn't implement `Error`.
///
/// ```
/// use std::io;
/// use backstop_core::ErrorRef;
///
/// let boxed: Box<dyn std::error::Error + Send + Sync> = io::Error::other("gone").into();
/// assert!(ErrorRef::new(&boxed).find::<io::Error>().is_some());
/// ```
#[derive(Clone, Copy)]
pub struct ErrorRef<'a> {
    value: &'a dyn Any,
    error: Option<&'a (dyn Error + 'static)>,
}

/// Registers `E` for the whole process, so that every [`ErrorRef`] follows its causes.
///
/// For the error types of layers, which call this when they are built. For a type of your own there is
/// [`HttpClassify::see_through`](crate::HttpClassify::see_through).
pub fn see_through<E: Error + 'static>() {
    see_through_as::<E>(view::<E>);
}

/// As [`see_through`], for a type that isn't an error itself, or not always: `view` returns the error that a value is, or
/// holds.
pub fn see_through_as<T: 'static>(view: fn(&dyn Any) -> Option<&(dyn Error + 'static)>) {
    let id = TypeId::of::<T>();
    let mut last = &KNOWN;
    loop {
        let known = last.get_or_init(|| Box::new(Known { id, view, next: OnceLock::new() }));
        if known.id == id {
            return;
        }
        last = &known.next;
    }
}

/// The error types of layers: a list that only grows, so that reading it takes no lock.
static KNOWN: OnceLock<Box<Known>> = OnceLock::new();

struct Known {
    id: TypeId,
    view: View,
    next: OnceLock<Box<Self>>,
}

/// Returns a value as an error, if it has a certain type.
type View = fn(&dyn Any) -> Option<&(dyn Error + 'static)>;

/// The most causes that are followed, in case a chain of causes is cyclic.
const DEEPEST: usize = 32;

impl<'a> ErrorRef<'a> {
    /// Borrows `error`.
    #[must_use]
    pub fn new<E: 'static>(error: &'a E) -> Self {
        let value: &'a dyn Any = error;
        Self { value, error: as_known_error(value) }
    }

    /// Borrows a `value` that is `error`, or holds it, where that is known of its type.
    #[must_use]
    pub fn with_error<E: 'static>(value: &'a E, error: &'a (dyn Error + 'static)) -> Self {
        Self { value, error: Some(error) }
    }

    /// The first `T`: the value itself, the value in its box, or one of its causes.
    #[must_use]
    pub fn find<T: Error + 'static>(self) -> Option<&'a T> {
        if let Some(found) = self.value.downcast_ref() {
            return Some(found);
        }
        self.causes().find_map(|error| error.downcast_ref())
    }

    /// The error and its causes, outermost first. Empty for a type that isn't known to be an error.
    pub fn causes(self) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
        let mut next = self.error;
        let causes = iter::from_fn(move || {
            let cause = next?;
            next = held(cause).or_else(|| cause.source());
            Some(cause)
        });
        causes.take(DEEPEST)
    }

    /// The text of an error that is only a text: a `String` or a `&'static str`.
    #[must_use]
    pub fn message(self) -> Option<&'a str> {
        let string = self.value.downcast_ref::<String>().map(String::as_str);
        string.or_else(|| self.value.downcast_ref::<&'static str>().copied())
    }

    /// Whether this error of a client proves that the request was not processed: the connection was refused or couldn't be
    /// made, the request was cancelled before it was sent, or HTTP/2's `REFUSED_STREAM` or a GOAWAY that excludes the stream
    /// (RFC 9113 §8.7, §6.8).
    ///
    /// It is proof only directly around the client. Further out, the error may come from another call.
    #[must_use]
    pub fn proves_unprocessed(self) -> bool {
        transport::is_unprocessed(self)
    }

    /// Also recognises the user's own error types.
    fn seen_by(self, views: &[View]) -> Self {
        let error = self.error.or_else(|| views.iter().find_map(|view| view(self.value)));
        Self { error, ..self }
    }
}

/// The error that an `io::Error` wraps. Its `source()` skips that error and returns the error's source.
fn held<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    let held = error.downcast_ref::<io::Error>()?.get_ref()?;
    Some(held)
}

fn view<E: Error + 'static>(value: &dyn Any) -> Option<&(dyn Error + 'static)> {
    value.downcast_ref::<E>().map(|error| error as _)
}

/// The user's own error types whose causes are followed.
#[derive(Clone, Default)]
pub(crate) struct Views(Vec<View>);

impl Views {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn add<E: Error + 'static>(&mut self) {
        self.0.push(view::<E>);
    }

    pub(crate) fn see<'a>(&self, error: ErrorRef<'a>) -> ErrorRef<'a> {
        error.seen_by(&self.0)
    }
}

/// Recognises the error types of common services.
fn as_known_error(value: &dyn Any) -> Option<&(dyn Error + 'static)> {
    let id = value.type_id();
    if id == TypeId::of::<BoxError>() {
        return value.downcast_ref::<BoxError>().map(|error| &**error as _);
    }
    if id == TypeId::of::<LocalBoxError>() {
        return value.downcast_ref::<LocalBoxError>().map(|error| &**error);
    }
    const VIEWS: &[View] = &[
        view::<io::Error>,
        view::<http::Error>,
        view::<crate::Rejection>,
        #[cfg(feature = "axum")]
        view::<axum_core::Error>,
        #[cfg(feature = "hyper-util")]
        view::<hyper_util::client::legacy::Error>,
        #[cfg(feature = "hyper-util")]
        view::<hyper::Error>,
        #[cfg(feature = "hyper-util")]
        view::<h2::Error>,
        #[cfg(feature = "tonic")]
        view::<tonic::Status>,
        #[cfg(feature = "tonic-transport")]
        view::<tonic::transport::Error>,
    ];
    VIEWS.iter().find_map(|view| view(value)).or_else(|| {
        let mut known = iter::successors(KNOWN.get(), |known| known.next.get());
        known.find(|known| known.id == id).and_then(|known| (known.view)(value))
    })
}

impl fmt::Debug for ErrorRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.error {
            Some(error) => f.debug_tuple("ErrorRef").field(&error).finish(),
            None => f.write_str("ErrorRef(..)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Wrapper(io::Error);

    impl fmt::Display for Wrapper {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("wrapped")
        }
    }

    impl Error for Wrapper {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    fn wrapper() -> Wrapper {
        Wrapper(io::Error::other("cause"))
    }

    #[test]
    fn a_type_is_found_as_the_value_in_a_box_and_along_source() {
        assert!(ErrorRef::new(&wrapper()).find::<Wrapper>().is_some());
        assert!(ErrorRef::new(&BoxError::from(wrapper())).find::<io::Error>().is_some());
        assert!(ErrorRef::new(&LocalBoxError::from(wrapper())).find::<io::Error>().is_some());
        assert!(ErrorRef::new(&io::Error::other(wrapper())).find::<io::Error>().is_some());
        assert!(ErrorRef::new(&"no error at all").find::<io::Error>().is_none());
    }

    #[test]
    fn what_an_io_error_holds_is_among_its_causes() {
        let error = io::Error::other(io::Error::other(wrapper()));
        let causes: Vec<_> = ErrorRef::new(&error).causes().map(ToString::to_string).collect();
        assert_eq!(causes, ["wrapped", "wrapped", "wrapped", "cause", "cause"]);
        let full = crate::Rejection::refused(crate::name!("ml"), crate::Reason::BULKHEAD_FULL);
        assert!(crate::Rejection::in_error(ErrorRef::new(&io::Error::other(full))).is_some());
    }

    #[test]
    fn a_users_own_type_is_followed_only_where_its_view_is_known() {
        let error = wrapper();
        let error = ErrorRef::new(&error);
        assert!(error.find::<io::Error>().is_none());
        assert!(error.seen_by(&[view::<Wrapper>]).find::<io::Error>().is_some());
    }

    #[test]
    fn a_layers_error_is_followed_everywhere_once_it_is_known() {
        #[derive(Debug)]
        struct OfALayer(Wrapper);
        impl fmt::Display for OfALayer {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("of a layer")
            }
        }
        impl Error for OfALayer {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(&self.0)
            }
        }
        let error = OfALayer(wrapper());
        assert!(ErrorRef::new(&error).find::<io::Error>().is_none());
        see_through::<OfALayer>();
        see_through::<OfALayer>();
        assert!(ErrorRef::new(&error).find::<io::Error>().is_some());
    }

    #[test]
    fn a_chain_of_causes_that_goes_round_ends() {
        #[derive(Debug)]
        struct Round;
        impl fmt::Display for Round {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("round")
            }
        }
        impl Error for Round {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(&Self)
            }
        }
        assert_eq!(ErrorRef::new(&BoxError::from(Round)).causes().count(), DEEPEST);
    }
}

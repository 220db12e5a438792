//! Parts that are gathered together: a tuple, or as many as an iterator has.

use std::{fmt, pin::Pin};

use pin_project_lite::pin_project;

use crate::{
    GatherPart,
    part::slot::{RunSlot, TakeValue},
};

/// Parts by their index, whatever their types.
pub trait Slots {
    #[doc(hidden)]
    fn count(&self) -> usize;

    #[doc(hidden)]
    fn get(self: Pin<&mut Self>, index: usize) -> Option<Pin<&mut dyn RunSlot>>;

    /// Calls `visit` with each part and its index. The first one here has the index `first`.
    #[doc(hidden)]
    fn for_each(self: Pin<&mut Self>, first: usize, visit: &mut dyn FnMut(usize, Pin<&mut dyn RunSlot>));
}

/// Parts with values.
pub trait TakeValues: Slots {
    /// The values of all parts.
    type Values: Flatten;

    /// Takes them. `None` if the page fails with one of the parts.
    #[doc(hidden)]
    fn take(self: Pin<&mut Self>) -> Option<Self::Values>;
}

/// Parts that [`Aggregate::gather`](crate::Aggregate::gather) takes: a tuple of 1 to 12.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be gathered",
    note = "gather a tuple of 1 to 12 parts: `(part(…).required(), part(…).or_default())`; a tuple of one has a comma: `(part(…),)`",
    note = "for a number of parts that isn't known before there is `gather_all`"
)]
pub trait GatherParts {
    /// The parts while they run.
    #[doc(hidden)]
    type Set: TakeValues;

    #[doc(hidden)]
    fn into_set(self) -> Self::Set;
}

/// The values of parts, as a page has them: a list becomes a tuple.
pub trait Flatten {
    /// What the page has.
    type Flat;

    #[doc(hidden)]
    fn flatten(self) -> Self::Flat;
}

/// The end of a list of parts.
#[derive(Debug)]
pub struct Nil;

pin_project! {
    /// A part, and the parts after it.
    #[derive(Debug)]
    pub struct Cons<H, T> {
        #[pin]
        head: H,
        #[pin]
        tail: T,
    }
}

impl Slots for Nil {
    #[inline]
    fn count(&self) -> usize {
        0
    }

    #[inline]
    fn get(self: Pin<&mut Self>, _: usize) -> Option<Pin<&mut dyn RunSlot>> {
        None
    }

    #[inline]
    fn for_each(self: Pin<&mut Self>, _: usize, _: &mut dyn FnMut(usize, Pin<&mut dyn RunSlot>)) {}
}

impl Flatten for () {
    type Flat = ();

    fn flatten(self) {}
}

impl TakeValues for Nil {
    type Values = ();

    #[inline]
    fn take(self: Pin<&mut Self>) -> Option<()> {
        Some(())
    }
}

impl<H: RunSlot, T: Slots> Slots for Cons<H, T> {
    #[inline]
    fn count(&self) -> usize {
        1 + self.tail.count()
    }

    #[inline]
    fn get(self: Pin<&mut Self>, index: usize) -> Option<Pin<&mut dyn RunSlot>> {
        let this = self.project();
        match index {
            0 => Some(this.head),
            _ => this.tail.get(index - 1),
        }
    }

    #[inline]
    fn for_each(self: Pin<&mut Self>, first: usize, visit: &mut dyn FnMut(usize, Pin<&mut dyn RunSlot>)) {
        let this = self.project();
        visit(first, this.head);
        this.tail.for_each(first + 1, visit);
    }
}

impl<H: TakeValue, T: TakeValues> TakeValues for Cons<H, T>
where
    (H::Value, T::Values): Flatten,
{
    type Values = (H::Value, T::Values);

    #[inline]
    fn take(self: Pin<&mut Self>) -> Option<Self::Values> {
        let this = self.project();
        Some((this.head.take()?, this.tail.take()?))
    }
}

/// Implements [`GatherParts`] for a tuple: `gather_tuple!(A a, B b)` is a list of `a` and `b`, and back.
macro_rules! gather_tuple {
    ($($part:ident $value:ident),+) => {
        impl<$($part: GatherPart),+> GatherParts for ($($part,)+) {
            type Set = list!(type $($part),+);

            #[inline]
            fn into_set(self) -> Self::Set {
                let ($($value,)+) = self;
                list!(slots $($value),+)
            }
        }

        impl<$($part),+> Flatten for list!(values $($part),+) {
            type Flat = ($($part,)+);

            #[inline]
            fn flatten(self) -> Self::Flat {
                let list!(pattern $($value),+) = self;
                ($($value,)+)
            }
        }
    };
}

macro_rules! list {
    (type $head:ident $(, $tail:ident)*) => { Cons<$head::Slot, list!(type $($tail),*)> };
    (type) => { Nil };
    (slots $head:ident $(, $tail:ident)*) => { Cons { head: $head.into_slot(), tail: list!(slots $($tail),*) } };
    (slots) => { Nil };
    (pattern $head:ident $(, $tail:ident)*) => { ($head, list!(pattern $($tail),*)) };
    (pattern) => { () };
    (values $head:ident $(, $tail:ident)*) => { ($head, list!(values $($tail),*)) };
    (values) => { () };
}

gather_tuple!(A a);
gather_tuple!(A a, B b);
gather_tuple!(A a, B b, C c);
gather_tuple!(A a, B b, C c, D d);
gather_tuple!(A a, B b, C c, D d, E e);
gather_tuple!(A a, B b, C c, D d, E e, F f);
gather_tuple!(A a, B b, C c, D d, E e, F f, G g);
gather_tuple!(A a, B b, C c, D d, E e, F f, G g, H h);
gather_tuple!(A a, B b, C c, D d, E e, F f, G g, H h, I i);
gather_tuple!(A a, B b, C c, D d, E e, F f, G g, H h, I i, J j);
gather_tuple!(A a, B b, C c, D d, E e, F f, G g, H h, I i, J j, K k);
gather_tuple!(A a, B b, C c, D d, E e, F f, G g, H h, I i, J j, K k, L l);

/// As many parts as an iterator had.
pub struct Many<S> {
    // Boxed one by one, so that each can be pinned without unsafe code.
    slots: Vec<Pin<Box<S>>>,
}

impl<S> Many<S> {
    pub(crate) fn new<P: GatherPart<Slot = S>>(parts: impl IntoIterator<Item = P>) -> Self {
        Self { slots: parts.into_iter().map(|part| Box::pin(part.into_slot())).collect() }
    }
}

impl<S: RunSlot> Slots for Many<S> {
    fn count(&self) -> usize {
        self.slots.len()
    }

    fn get(self: Pin<&mut Self>, index: usize) -> Option<Pin<&mut dyn RunSlot>> {
        Some(self.get_mut().slots.get_mut(index)?.as_mut())
    }

    fn for_each(self: Pin<&mut Self>, first: usize, visit: &mut dyn FnMut(usize, Pin<&mut dyn RunSlot>)) {
        self.get_mut().slots.iter_mut().enumerate().for_each(|(i, slot)| visit(first + i, slot.as_mut()));
    }
}

impl<S: TakeValue> TakeValues for Many<S> {
    type Values = Vec<S::Value>;

    fn take(self: Pin<&mut Self>) -> Option<Self::Values> {
        self.get_mut().slots.iter_mut().map(|slot| slot.as_mut().take()).collect()
    }
}

impl<V> Flatten for Vec<V> {
    type Flat = Self;

    fn flatten(self) -> Self {
        self
    }
}

impl<S> fmt::Debug for Many<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Many").field("parts", &self.slots.len()).finish_non_exhaustive()
    }
}

//! A request has content by its fields, or by what its body holds; and looking takes nothing from it.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Version};
use http_body::{Body, Frame};
use http_body_util::{
    BodyExt, BodyStream, Empty, Full, StreamBody,
    combinators::{BoxBody, UnsyncBoxBody},
};

use crate::{Upload, has_content};

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Boxed = UnsyncBoxBody<Bytes, BoxError>;

/// Says nothing of itself, as bodies that layers wrap do. Panics when it is polled after its end.
#[derive(Default)]
struct Silent {
    polls: VecDeque<Poll<Result<Frame<Bytes>, BoxError>>>,
    has_ended: bool,
}

impl Body for Silent {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        assert!(!self.has_ended, "polled after its end");
        let next = self.polls.pop_front();
        self.has_ended = next.is_none();
        match next {
            None => Poll::Ready(None),
            Some(next) => next.map(Some),
        }
    }
}

fn data(text: &'static str) -> Poll<Result<Frame<Bytes>, BoxError>> {
    Poll::Ready(Ok(Frame::data(text.into())))
}

fn silent(polls: impl IntoIterator<Item = Poll<Result<Frame<Bytes>, BoxError>>>) -> Request<Boxed> {
    Request::new(Boxed::new(Silent { polls: polls.into_iter().collect(), has_ended: false }))
}

async fn read(request: Request<Boxed>) -> Result<Bytes, BoxError> {
    Ok(request.into_body().collect().await?.to_bytes())
}

#[tokio::test]
async fn a_body_that_does_not_know_that_it_is_empty_is_found_out() {
    for polls in [vec![], vec![data("")], vec![data(""), data("")]] {
        let mut request = silent(polls);
        assert!(!has_content(&mut request));
        assert!(request.body().is_end_stream(), "so is everybody who asks next");
        assert!(!has_content(&mut request));
        assert_eq!(read(request).await.unwrap(), "");
    }
}

#[tokio::test]
async fn what_has_come_is_put_back() {
    let mut request = silent([data(""), data("ab"), data("c")]);
    assert!(has_content(&mut request));
    assert!(has_content(&mut request), "also when asked again");
    assert_eq!((request.body().size_hint().lower(), request.body().size_hint().upper()), (2, None));
    assert!(!request.body().is_end_stream());
    assert_eq!(read(request).await.unwrap(), "abc");

    let mut failing = silent([Poll::Ready(Err(io::Error::other("broken").into()))]);
    assert!(has_content(&mut failing));
    assert_eq!(read(failing).await.unwrap_err().to_string(), "broken");

    let trailers = HeaderMap::from_iter([(http::header::ETAG, "x".parse().unwrap())]);
    let mut trailing = silent([Poll::Ready(Ok(Frame::trailers(trailers.clone())))]);
    assert!(has_content(&mut trailing), "they are more than nothing");
    assert_eq!(trailing.into_body().collect().await.unwrap().trailers(), Some(&trailers));
}

#[tokio::test]
async fn a_body_that_is_pending_counts_as_content() {
    let mut request = silent([Poll::Pending]);
    assert!(has_content(&mut request));
    assert_eq!(read(request).await.unwrap(), "", "and is read later");
    let mut endless = silent(std::iter::repeat_with(|| data("")).take(100));
    assert!(has_content(&mut endless), "nobody waits for an end that doesn't come");
}

#[test]
fn fields_tell_before_the_body_is_asked() {
    let with = |name: &'static str, value: &'static str| {
        // It would panic if it were polled.
        let mut request = Request::new(Silent { has_ended: true, ..Silent::default() }.boxed_unsync());
        request.headers_mut().insert(name, value.parse().unwrap());
        request
    };
    assert!(has_content(&mut with("transfer-encoding", "chunked")));
    for length in ["1", "0, 0", "00", "x", ""] {
        assert!(has_content(&mut with("content-length", length)), "{length}");
    }
    let mut typed = silent([]);
    typed.headers_mut().insert("content-type", "application/json".parse().unwrap());
    assert!(!has_content(&mut typed), "a type is no content");
}

#[test]
fn a_body_that_knows_its_length_is_not_polled() {
    assert!(!has_content(&mut Request::new(Empty::<Bytes>::new())));
    assert!(!has_content(&mut Request::new(Full::<Bytes>::default())));
    assert!(has_content(&mut Request::new(Full::<Bytes>::from("{}"))));
    assert!(has_content(&mut Request::new(Boxed::new(Full::from("{}").map_err(|never| match never {})))));
}

#[test]
fn of_a_body_that_can_not_be_put_back_the_fields_decide() {
    let request = |fields: &[(&'static str, &'static str)]| {
        let request = fields.iter().fold(Request::get("/"), |request, (name, value)| request.header(*name, *value));
        request.body(Silent { has_ended: true, ..Silent::default() }).unwrap()
    };
    assert!(!has_content(&mut request(&[("host", "shop.example")])), "RFC 9112 §6.3");
    assert!(!has_content(&mut request(&[("content-length", "0")])));
    assert!(has_content(&mut request(&[])), "it didn't come over HTTP/1");
    let mut http2 = request(&[("host", "shop.example")]);
    *http2.version_mut() = Version::HTTP_2;
    assert!(has_content(&mut http2), "no field need tell");
    let mut outbound = request(&[("host", "shop.example")]);
    *outbound.uri_mut() = "http://shop.example/".parse().unwrap();
    assert!(has_content(&mut outbound));
}

#[test]
fn bodies_of_every_erased_type_are_found_out_and_watched() {
    fn is_known<B: Body + Default + 'static>(mut body: B) {
        assert!(Upload::of_any(&mut body).is_some(), "{}", std::any::type_name::<B>());
        let mut request = Request::builder().method(Method::GET).body(body).unwrap();
        assert!(!has_content(&mut request), "{}", std::any::type_name::<B>());
    }
    fn hidden<E>() -> impl Body<Data = Bytes, Error = E> + Send + Sync {
        StreamBody::new(BodyStream::new(Empty::new())).map_err(|never: Infallible| match never {})
    }
    is_known(UnsyncBoxBody::<_, Infallible>::new(hidden()));
    is_known(BoxBody::<_, Infallible>::new(hidden()));
    is_known(UnsyncBoxBody::<_, BoxError>::new(hidden()));
    is_known(BoxBody::<_, BoxError>::new(hidden()));
    is_known(UnsyncBoxBody::<_, io::Error>::new(hidden()));
    is_known(BoxBody::<_, io::Error>::new(hidden()));
    #[cfg(feature = "axum")]
    {
        is_known(axum_core::body::Body::new(hidden::<BoxError>()));
        is_known(UnsyncBoxBody::<_, axum_core::Error>::new(hidden()));
    }
    #[cfg(feature = "tonic")]
    {
        is_known(tonic::body::Body::new(hidden::<tonic::Status>()));
        is_known(UnsyncBoxBody::<_, tonic::Status>::new(hidden()));
    }
    #[cfg(feature = "hyper-util")]
    {
        is_known(UnsyncBoxBody::<_, hyper::Error>::new(hidden()));
        is_known(BoxBody::<_, hyper::Error>::new(hidden()));
    }
}

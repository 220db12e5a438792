//! Answers of 4 KiB that are stored, and served.

#![expect(clippy::disallowed_types, reason = "answers have dates")]

use std::{
    cell::{Cell, RefCell},
    hint::black_box,
    time::SystemTime,
};

use axum::body::Body;
use backstop::LastKnownGoodLayer;
use bytes::Bytes;
use http::{HeaderValue, Response, header};
use tower::Layer;

use crate::{
    call::poll_once,
    http::{Upstream, calls, cloned, request},
    measure::{Contender, Section, Table},
};

pub(crate) const SECTION: Section = Section {
    name: "last-known-good",
    tables: &[Table::new("Storing an answer of 4 KiB", storing), Table::new("Serving an answer of 4 KiB", serving)],
    others: &[],
};

static BODY: [u8; 4096] = [b'x'; 4096];

thread_local! {
    static DATE: RefCell<HeaderValue> = RefCell::new(now());
    static DATED: Cell<u32> = const { Cell::new(0) };
}

fn now() -> HeaderValue {
    let date = httpdate::fmt_http_date(SystemTime::now());
    HeaderValue::from_str(&date).expect("a date")
}

/// The date of an answer, which is of this second, or the last one. To make it costs more than what is measured: one is for
/// many.
fn date() -> HeaderValue {
    DATED.set(DATED.get().wrapping_add(1));
    if DATED.get().is_multiple_of(64) {
        DATE.set(now());
    }
    DATE.with_borrow(HeaderValue::clone)
}

/// May be stored, though the request has credentials.
fn answer() -> Response<Body> {
    let mut response = Response::new(Body::from(Bytes::from_static(&BODY)));
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=60"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::DATE, date());
    response
}

fn layer() -> LastKnownGoodLayer {
    LastKnownGoodLayer::builder("bench").build().expect("a configuration")
}

fn storing() -> Vec<Contender> {
    vec![
        Contender::new("bare, and a copy of 4 KiB", || {
            let upstream = Upstream::answering(request(), answer);
            let mut call = calls(upstream, upstream);
            move |n| {
                call(n);
                _ = black_box(Bytes::copy_from_slice(&BODY));
            }
        }),
        Contender::new("ours", || {
            let upstream = Upstream::answering(request(), answer);
            calls(upstream, layer().layer(upstream))
        })
        .target("2 µs"),
    ]
}

fn serving() -> Vec<Contender> {
    vec![
        Contender::new("a copy of the head alone", || {
            let request = request::<Body>();
            move |_| _ = black_box(cloned(&request).into_parts())
        }),
        Contender::new("ours", || {
            let layer = layer();
            let upstream = Upstream::answering(request(), answer);
            calls(upstream, layer.layer(upstream))(0);
            let (stored, request) = (layer.handle(), request::<Body>());
            assert!(!stored.is_empty(), "the answer may be stored");
            move |_| {
                let (head, _) = cloned(&request).into_parts();
                let answer = poll_once(stored.answer::<Body>(head));
                _ = black_box(answer.expect("it was stored"));
            }
        })
        .target("2 µs"),
    ]
}

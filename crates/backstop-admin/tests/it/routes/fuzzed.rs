//! Any method, path, head and body: nothing panics, nothing is a server's error, and nothing runs without a token.

use axum::{Router, body::Body};
use http::{Method, Request, Uri};
use proptest::prelude::*;
use tokio::runtime::Builder;

use super::common::{ADA, Part, answer, builder};

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{0,40}",
        Just("localhost".to_owned()),
        Just(format!("Bearer {ADA}")),
        Just("application/json".to_owned()),
        Just("http://localhost".to_owned()),
        Just("same-origin".to_owned()),
    ]
}

fn headers() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let name = prop::sample::select(vec![
        "host",
        "origin",
        "sec-fetch-site",
        "authorization",
        "content-type",
        "last-event-id",
        "x-http-method-override",
    ]);
    prop::collection::vec((name, text()), 0..5)
}

fn path() -> impl Strategy<Value = String> {
    let segment = prop_oneof![
        prop::sample::select(vec!["circuits", "ml", "dependencies", "actions", "faults", "%6dl", "%00", "..", ""])
            .prop_map(str::to_owned),
        "[!-~&&[^/?#]]{1,12}",
    ];
    prop_oneof![
        2 => Just("/circuits/ml".to_owned()),
        3 => prop::collection::vec(segment, 0..4).prop_map(|segments| format!("/{}", segments.join("/"))),
    ]
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let value = prop_oneof![
        Just("\"clear\"".to_owned()),
        Just("\"isolate\"".to_owned()),
        Just("\"10m\"".to_owned()),
        Just("null".to_owned()),
        Just("[[[]]]".to_owned()),
        Just("-1e400".to_owned()),
        "\"[ -~]{0,20}\"",
    ];
    let name = prop::sample::select(vec!["operation", "reason", "until", "level", "who", "x"]);
    let object = prop::collection::vec((name, value), 0..5).prop_map(|members| {
        let members: Vec<_> = members.into_iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}", members.join(",")).into_bytes()
    });
    prop_oneof![3 => object, 1 => prop::collection::vec(any::<u8>(), 0..200)]
}

fn method() -> impl Strategy<Value = Method> {
    prop_oneof![
        2 => Just(Method::POST),
        1 => prop::sample::select(vec![Method::GET, Method::HEAD, Method::PUT, Method::OPTIONS, Method::TRACE, Method::CONNECT]),
    ]
}

fn router(open_reads: bool) -> (Part, Router, backstop_admin::Admin) {
    let part = Part::new("circuit-breaker", "ml");
    let builder = builder(&[&part]);
    let admin = if open_reads { builder.open_reads() } else { builder }.build().unwrap();
    (part.clone(), admin.router(), admin)
}

proptest! {
    #[test]
    fn any_request_has_an_answer_that_is_no_error_of_the_server(
        method in method(), path in path(), headers in headers(), body in body(), open_reads: bool, is_let_in: bool,
    ) {
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        let Ok(uri) = path.parse::<Uri>() else { return Ok(()) };
        let (part, router, admin) = router(open_reads);
        let mut request = Request::builder().method(method.clone()).uri(uri);
        if is_let_in {
            request = request.header("host", "localhost").header("authorization", format!("Bearer {ADA}"));
            request = request.header("content-type", "application/json");
        }
        let has_token = is_let_in || headers.iter().any(|(name, value)| *name == "authorization" && value.contains(ADA));
        for (name, value) in headers.into_iter().filter(|_| !is_let_in) {
            request = request.header(name, value);
        }
        let Ok(request) = request.body(Body::from(body)) else { return Ok(()) };
        let _run = admin.run();
        let answer = runtime.block_on(answer(&router, request));
        prop_assert!(!answer.status.is_server_error(), "{:?}", answer);
        if !has_token || method != Method::POST {
            prop_assert!(part.ran().is_empty(), "{:?}", answer);
        }
        if !has_token && method != Method::GET && method != Method::HEAD {
            prop_assert!(answer.status.is_client_error(), "{:?}", answer);
        }
        prop_assert_eq!(answer.status.is_success() && method == Method::POST, !part.ran().is_empty());
    }
}

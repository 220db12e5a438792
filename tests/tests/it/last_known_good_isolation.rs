//! Random requests and answers through a whole stack: no caller is served an answer that is for another caller, for another
//! request, or too old.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderName, StatusCode, response::Parts},
    response::{IntoResponse, Response},
};
use backstop::{DegradationHeaderLayer, FallbackChain, FallbackLayer, LastKnownGoodLayer, Provider, name};
use backstop_tests::http::{header, read};
use proptest::{prelude::*, sample::select};
use tokio::time::{Instant, advance};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

const SORRY: &str = "we are sorry";
const DOWN: Answers = Answers { status: 503, control: "", vary: "", freshness: None };

/// A request: the caller, and what it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asks {
    path: &'static str,
    user: Option<&'static str>,
    key: Option<&'static str>,
    language: Option<&'static str>,
    of_content: Option<&'static str>,
    /// `Content-Type`, which is sent with and without content.
    content: Option<&'static str>,
    /// Content that no header announces.
    body: &'static str,
    range: Option<&'static str>,
}

/// What the primary answers.
#[derive(Clone, Copy, Debug)]
struct Answers {
    status: u16,
    control: &'static str,
    vary: &'static str,
    freshness: Option<&'static str>,
}

#[derive(Clone, Copy, Debug)]
struct Step {
    asks: Asks,
    answers: Answers,
    /// Seconds that pass afterwards.
    pause: u64,
}

fn asks() -> impl Strategy<Value = Asks> {
    let rarely = |value: &'static str| proptest::option::weighted(0.15, Just(value));
    (
        select(vec!["/", "/a", "/?a"]),
        proptest::option::of(select(vec!["ann", "ben"])),
        rarely("k"),
        proptest::option::of(select(vec!["en", "fr"])),
        proptest::option::of(select(vec!["en", "fr"])),
        rarely("application/json"),
        prop_oneof![9 => Just(""), 1 => Just("{}")],
        rarely("bytes=0-0"),
    )
        .prop_map(|(path, user, key, language, of_content, content, body, range)| Asks {
            path,
            user,
            key,
            language,
            of_content,
            content,
            body,
            range,
        })
}

fn step() -> impl Strategy<Value = Step> {
    let controls = ["", "", "public", "private", "no-store", "must-revalidate, max-age=60", "s-maxage=60"];
    let varies = ["", "accept-language", "content-language", "accept-language, content-language", "*"];
    let answers = (
        select(vec![200, 200, 200, 200, 404, 403, 206]),
        select(controls.to_vec()),
        select(varies.to_vec()),
        proptest::option::weighted(0.1, select(vec!["fresh", "degraded"])),
    );
    (asks(), answers, select(vec![0, 0, 1, 59, 60, 3600])).prop_map(
        |(asks, (status, control, vary, freshness), pause)| Step {
            asks,
            answers: Answers { status, control, vary, freshness },
            pause,
        },
    )
}

impl Asks {
    fn fields(&self) -> [(&'static str, Option<&'static str>); 6] {
        [
            ("x-user", self.user),
            ("x-api-key", self.key),
            ("accept-language", self.language),
            ("content-language", self.of_content),
            ("content-type", self.content),
            ("range", self.range),
        ]
    }

    fn request(&self) -> Request {
        let request = Request::get(self.path).header("host", "shop.example");
        let present = self.fields().into_iter().filter_map(|(name, value)| Some((name, value?)));
        present.fold(request, |request, (name, value)| request.header(name, value)).body(Body::from(self.body)).unwrap()
    }

    fn has_content(&self) -> bool {
        !self.body.is_empty()
    }

    fn value(&self, name: &str) -> Option<&'static str> {
        self.fields().into_iter().find(|(field, _)| *field == name).unwrap().1
    }
}

impl Answers {
    fn response(&self, body: &str) -> Response {
        let fields = [("cache-control", self.control), ("vary", self.vary)];
        let mut response = (StatusCode::from_u16(self.status).unwrap(), fields, body.to_owned()).into_response();
        if let Some(freshness) = self.freshness {
            response.headers_mut().insert("x-data-freshness", freshness.parse().unwrap());
        }
        response
    }
}

/// The rules, written down from the documentation, independently of the layer's code.
impl Step {
    fn may_be_stored(&self) -> bool {
        let Self { asks, answers, .. } = self;
        let personal = asks.user.is_some();
        let may_be_shared = answers.control != "private" && (asks.key.is_none() || answers.control == "public");
        answers.status == 200
            && !asks.has_content()
            && asks.range.is_none()
            && answers.control != "no-store"
            && answers.vary != "*"
            && answers.freshness != Some("degraded")
            && (personal || may_be_shared)
    }

    fn lasts(&self) -> u64 {
        match self.answers.control {
            "must-revalidate, max-age=60" => 60,
            "s-maxage=60" if self.asks.user.is_none() => 60,
            _ => 24 * 60 * 60,
        }
    }

    /// Whether this answer removes the other one, if these headers select the variant.
    fn withdraws(&self, other: &Self, selectors: &[&'static str]) -> bool {
        let Self { asks, answers, .. } = self;
        let is_personal = asks.user.is_some();
        let is_for_all = asks.key.is_none() || answers.control == "public";
        let is_same_variant = selectors.iter().all(|name| asks.value(name) == other.asks.value(name));
        let is_gone = answers.status == 404 && (is_personal || is_for_all) && is_same_variant;
        let is_forbidden = answers.status == 403 && is_personal;
        self.is_about_the_same(other) && !asks.has_content() && (is_gone || is_forbidden)
    }

    fn is_about_the_same(&self, other: &Self) -> bool {
        (self.asks.path, self.asks.user) == (other.asks.path, other.asks.user)
    }

    fn selectors(&self) -> impl Iterator<Item = &'static str> {
        self.answers.vary.split(", ").filter(|name| !name.is_empty())
    }

    fn is_for(&self, asks: &Asks) -> bool {
        !asks.has_content()
            && (self.asks.path, self.asks.user) == (asks.path, asks.user)
            && self.selectors().all(|name| self.asks.value(name) == asks.value(name))
    }
}

/// What the primary answers next.
type Next = Arc<Mutex<Response>>;

fn stack() -> (Next, impl Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone) {
    let layer = LastKnownGoodLayer::builder("shop")
        .principal(|head| head.headers.get("x-user").cloned())
        .credentials([HeaderName::from_static("x-api-key")])
        .build()
        .unwrap();
    let known = layer.handle();
    let instead = FallbackChain::builder("shop")
        .provider(Provider::head(name!("cached"), move |head| known.answer::<Body>(head)))
        .provider(Provider::value(name!("sorry"), || async { SORRY.into_response() }))
        .build()
        .unwrap();
    let next = Next::default();
    let told = Arc::clone(&next);
    let stack = ServiceBuilder::new()
        .layer(DegradationHeaderLayer::new())
        .layer(FallbackLayer::new(name!("live"), instead))
        .layer(layer)
        .service(service_fn(move |_: Request| {
            let answer = std::mem::take(&mut *told.lock().unwrap());
            async move { Ok(answer) }
        }));
    (next, stack)
}

proptest! {
    #[test]
    fn nobody_is_served_what_was_meant_for_somebody_else_or_answers_something_else(
        steps in prop::collection::vec(step(), 1..16),
        readers in prop::collection::vec(asks(), 8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let (next, stack) = stack();
            let asked = async |asks: &Asks, answers: Answers, body: &str| -> (Parts, String) {
                *next.lock().unwrap() = answers.response(body);
                read(stack.clone().oneshot(asks.request()).await.unwrap()).await
            };
            let mut came = Vec::new();
            for (i, step) in steps.iter().enumerate() {
                came.push(Instant::now());
                let (head, body) = asked(&step.asks, step.answers, &i.to_string()).await;
                prop_assert_eq!((head.status.as_u16(), body), (step.answers.status, i.to_string()), "it passes");
                // The same request is served the stored answer at once.
                if step.may_be_stored() {
                    prop_assert_eq!(asked(&step.asks, DOWN, "").await.1, i.to_string(), "{:?}", step);
                }
                advance(Duration::from_secs(step.pause)).await;
                for reader in std::iter::once(&step.asks).chain(&readers) {
                    let (head, body) = asked(reader, DOWN, "").await;
                    if body == SORRY {
                        prop_assert_eq!(header(&head, "x-data-freshness"), Some("degraded"));
                        continue;
                    }
                    let index: usize = body.parse().unwrap();
                    let (source, age) = (&steps[index], came[index].elapsed().as_secs());
                    prop_assert!(source.may_be_stored(), "{reader:?} was served {source:?}");
                    prop_assert!(source.is_for(reader), "{reader:?} was served {source:?}");
                    prop_assert!(age < source.lasts(), "{source:?} was served after {age} s");
                    // A service may send `Vary` with only some of its answers, so those of all of them count.
                    let stored = |step: &&Step| step.is_about_the_same(source) && step.may_be_stored();
                    let withdrawn = (index..=i).find(|later| {
                        let selectors: Vec<_> = steps[..*later].iter().filter(stored).flat_map(Step::selectors).collect();
                        steps[*later].withdraws(source, &selectors)
                    });
                    prop_assert!(withdrawn.is_none(), "{source:?} was served after {:?}", withdrawn.map(|at| &steps[at]));
                    prop_assert_eq!(header(&head, "x-data-freshness"), Some("stale"));
                    let told: u64 = header(&head, "age").unwrap().parse().unwrap();
                    // The wall clock isn't paused, and may have reached the next second.
                    prop_assert!((age..=age + 1).contains(&told), "{age} s are told as {told}");
                }
            }
            Ok(())
        })?;
    }
}

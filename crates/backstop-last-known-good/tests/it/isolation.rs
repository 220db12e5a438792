//! Nobody is ever served what was meant for somebody else, and what may not be stored never is.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::time::Duration;

use axum::body::Body;
use backstop_last_known_good::{LastKnownGoodLayer, Store};
use http::{HeaderName, Request, Response, header};
use proptest::{prelude::*, sample::select};
use tokio::time::{Instant, advance};

use crate::support::{Behaves, TestStore, get, response, send, stored};

const CONTROLS: [&str; 14] = [
    "",
    "public",
    "private",
    "Private=\"x-a\"",
    "no-store",
    "NO-STORE, public",
    "no-cache",
    "max-age=60",
    "public, max-age=60",
    "s-maxage=60",
    "must-revalidate, max-age=60",
    "must-revalidate",
    "private, max-age=60",
    "x=\"a, b\", no-store",
];
const VARIES: [&str; 7] = ["", "accept-language", "Cookie", "accept-language, cookie", "authorization", "x-user", "*"];

/// Who asks, and for what.
#[derive(Clone, Copy, Debug)]
struct Asks {
    user: Option<&'static str>,
    language: Option<&'static str>,
    cookie: Option<&'static str>,
    authorization: Option<&'static str>,
    key: Option<&'static str>,
    path: &'static str,
}

/// What a layer is told of who asks.
#[derive(Clone, Copy, Debug)]
struct Told {
    principals: bool,
    credentials: bool,
}

/// A request, what the primary answers it, and the seconds that pass then.
#[derive(Clone, Copy, Debug)]
struct Step {
    asks: Asks,
    request_control: &'static str,
    control: &'static str,
    vary: &'static str,
    set_cookie: bool,
    status: u16,
    pause: u64,
}

fn told() -> impl Strategy<Value = Told> {
    (any::<bool>(), any::<bool>()).prop_map(|(principals, credentials)| Told { principals, credentials })
}

fn asks() -> impl Strategy<Value = Asks> {
    let some = |values: [&'static str; 3]| proptest::option::of(select(values.to_vec()));
    (
        proptest::option::of(select(vec!["ann", "an", "n", ""])),
        some(["en", "fr", ""]),
        some(["s=1", "s=2", ""]),
        some(["Bearer a", "Bearer b", ""]),
        some(["a", "b", ""]),
        select(vec!["/", "/a", "/an"]),
    )
        .prop_map(|(user, language, cookie, authorization, key, path)| Asks {
            user,
            language,
            cookie,
            authorization,
            key,
            path,
        })
}

fn step() -> impl Strategy<Value = Step> {
    (
        asks(),
        select(vec!["", "", "", "no-store", "no-cache"]),
        select(&CONTROLS[..]),
        select(&VARIES[..]),
        proptest::bool::weighted(0.1),
        select(vec![200, 200, 200, 200, 203, 301, 404, 503]),
        select(vec![0, 0, 1, 30, 59, 60, 61, 3600, 86_399]),
    )
        .prop_map(|(asks, request_control, control, vary, set_cookie, status, pause)| Step {
            asks,
            request_control,
            control,
            vary,
            set_cookie,
            status,
            pause,
        })
}

impl Asks {
    fn fields(&self) -> [(&'static str, Option<&'static str>); 5] {
        [
            ("x-user", self.user),
            ("accept-language", self.language),
            ("cookie", self.cookie),
            ("authorization", self.authorization),
            ("x-customer", self.key),
        ]
    }

    fn request(&self) -> Request<Body> {
        let present = |(name, value): &(&'static str, Option<&'static str>)| Some((*name, (*value)?));
        let fields: Vec<_> = self.fields().iter().filter_map(present).collect();
        get(self.path, &fields)
    }

    fn value(&self, name: &str) -> Option<&'static str> {
        self.fields().iter().find(|(field, _)| *field == name.trim().to_ascii_lowercase()).unwrap().1
    }
}

impl Told {
    fn layer<St: Store>(self, store: St) -> LastKnownGoodLayer<St> {
        let mut builder = LastKnownGoodLayer::builder("shop").store(store);
        if self.principals {
            builder = builder.principal(|head| head.headers.get("x-user").cloned());
        }
        if self.credentials {
            builder = builder.credentials([HeaderName::from_static("x-customer")]);
        }
        builder.build().unwrap()
    }
}

impl Step {
    fn request(&self) -> Request<Body> {
        let mut asked = self.asks.request();
        asked.headers_mut().insert(header::CACHE_CONTROL, self.request_control.parse().unwrap());
        asked
    }

    fn response(&self, body: &str) -> Response<Body> {
        let mut fields = vec![("cache-control", self.control), ("vary", self.vary)];
        if self.set_cookie {
            fields.push(("set-cookie", "s=3"));
        }
        response(self.status, &fields, body.to_owned())
    }

    /// Whether it may be stored by a layer that was told this; stated anew, and not by the layer's own rules.
    fn may_be_stored(&self, told: Told) -> bool {
        let control = self.control.to_lowercase();
        let personal = told.principals && self.asks.user.is_some();
        let credentials = self.asks.cookie.is_some()
            || self.asks.authorization.is_some()
            || told.credentials && self.asks.key.is_some();
        let forbidden = ["no-store", "no-cache"].iter().any(|word| control.contains(word))
            || self.request_control == "no-store"
            || control == "must-revalidate"
            || self.set_cookie
            || self.vary == "*"
            || self.status >= 300;
        let not_shared = control.contains("private") || credentials && !control.contains("public");
        !forbidden && (personal || !not_shared)
    }

    /// Up to which age it may be served, in seconds; stated anew, too.
    fn lasts(&self, told: Told) -> u64 {
        let personal = told.principals && self.asks.user.is_some();
        match self.control {
            "must-revalidate, max-age=60" => 60,
            "s-maxage=60" if !personal => 60,
            _ => 24 * 60 * 60,
        }
    }

    fn fits(&self, asks: &Asks) -> bool {
        let selected = self.vary.split(", ").filter(|name| !name.is_empty());
        self.asks.path == asks.path && selected.into_iter().all(|name| self.asks.value(name) == asks.value(name))
    }
}

proptest! {
    #[test]
    fn nobody_is_served_what_was_meant_for_somebody_else_nor_for_longer(
        steps in prop::collection::vec(step(), 1..24),
        readers in prop::collection::vec(asks(), 16),
        told in told(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let store = TestStore::new(Behaves::Well);
            let layer = told.layer(store.clone());
            let mut came = Vec::new();
            for (i, step) in steps.iter().enumerate() {
                // Long enough that the random parts of keys and values never contain it by chance.
                let body = format!("<the answer {i}>");
                came.push(Instant::now());
                send(&layer, step.request(), step.response(&body)).await;
                if !step.may_be_stored(told) {
                    prop_assert!(!store.holds(&body), "{step:?}");
                }
                advance(Duration::from_secs(step.pause)).await;
                let last = std::iter::once(&step.asks);
                for reader in last.chain(&readers) {
                    let Ok(known) = stored(&layer, reader.request()).await else { continue };
                    let index: usize = known.body.trim_start_matches("<the answer ").trim_end_matches('>').parse().unwrap();
                    let (source, age) = (&steps[index], came[index].elapsed().as_secs());
                    prop_assert!(source.may_be_stored(told), "{source:?}");
                    prop_assert!(source.fits(reader), "{reader:?} was served {source:?}");
                    prop_assert!(age < source.lasts(told), "{source:?} was served after {age} s");
                    // The time of day is not paused, and may have been about to tell the next second.
                    prop_assert!((age..=age + 1).contains(&known.age), "{age} s are told as {}", known.age);
                    if told.principals {
                        prop_assert_eq!(source.asks.user, reader.user);
                    }
                }
            }
            Ok(())
        })?;
    }

    /// The other way round: the test above would pass a layer that stores nothing.
    #[test]
    fn what_may_be_stored_is_served_to_who_asks_again_as_long_as_it_may(step in step(), told in told()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let layer = told.layer(TestStore::new(Behaves::Well));
            send(&layer, step.request(), step.response("good")).await;
            advance(Duration::from_secs(step.pause)).await;
            let known = stored(&layer, step.asks.request()).await;
            let may_be_served = step.may_be_stored(told) && step.pause < step.lasts(told);
            prop_assert_eq!(known.is_ok(), may_be_served, "{:?}", known);
            Ok(())
        })?;
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_an_api_key_is_not_for_others() {
    for field in ["x-api-key", "api-key", "apikey", "x-auth-user", "x-shop-token", "proxy-authorization"] {
        let layer = LastKnownGoodLayer::builder("shop").build().unwrap();
        send(&layer, get("/balance", &[(field, "alice")]), response(200, &[], "9.99")).await;
        for bob in [get("/balance", &[(field, "bob")]), get("/balance", &[])] {
            assert!(stored(&layer, bob).await.is_err(), "{field}");
        }
        let public = [("cache-control", "public")];
        send(&layer, get("/prices", &[(field, "alice")]), response(200, &public, "1")).await;
        assert!(stored(&layer, get("/prices", &[(field, "bob")])).await.is_ok(), "{field}");
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_fills_another_hosts_entry_by_how_the_host_is_written() {
    let shop = || get("/", &[("host", "shop.example")]);
    for host in ["evil@shop.example", "shop.example:80", "shop.example:443", "shop.example:81", "shop.example:x"] {
        let layer = LastKnownGoodLayer::builder("shop").build().unwrap();
        send(&layer, get("/", &[("host", host)]), response(200, &[], format!("go to {host}"))).await;
        assert!(stored(&layer, shop()).await.is_err(), "{host}");
    }
}

//! Nobody is ever served what was meant for somebody else, and what may not be stored never is.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use axum::body::Body;
use backstop_last_known_good::LastKnownGoodLayer;
use http::{Request, header};
use proptest::{prelude::*, sample::select};

mod support;

use support::{Behaves, TestStore, get, response, send, stored};

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
    path: &'static str,
}

/// A request, and what the primary answers it.
#[derive(Clone, Copy, Debug)]
struct Step {
    asks: Asks,
    request_control: &'static str,
    control: &'static str,
    vary: &'static str,
    set_cookie: bool,
    status: u16,
}

fn asks() -> impl Strategy<Value = Asks> {
    let some = |values: [&'static str; 3]| proptest::option::of(select(values.to_vec()));
    (
        proptest::option::of(select(vec!["ann", "an", "n", ""])),
        some(["en", "fr", ""]),
        some(["s=1", "s=2", ""]),
        some(["Bearer a", "Bearer b", ""]),
        select(vec!["/", "/a", "/an"]),
    )
        .prop_map(|(user, language, cookie, authorization, path)| Asks {
            user,
            language,
            cookie,
            authorization,
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
    )
        .prop_map(|(asks, request_control, control, vary, set_cookie, status)| Step {
            asks,
            request_control,
            control,
            vary,
            set_cookie,
            status,
        })
}

impl Asks {
    fn fields(&self) -> [(&'static str, Option<&'static str>); 4] {
        [
            ("x-user", self.user),
            ("accept-language", self.language),
            ("cookie", self.cookie),
            ("authorization", self.authorization),
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

impl Step {
    /// Whether it may be stored by a layer that knows principals, or by one that doesn't; stated anew, and not by the
    /// layer's own rules.
    fn may_be_stored(&self, principals: bool) -> bool {
        let control = self.control.to_lowercase();
        let personal = principals && self.asks.user.is_some();
        let credentials = self.asks.cookie.is_some() || self.asks.authorization.is_some();
        let forbidden = ["no-store", "no-cache"].iter().any(|word| control.contains(word))
            || self.request_control == "no-store"
            || control == "must-revalidate"
            || self.set_cookie
            || self.vary == "*"
            || self.status >= 300;
        let not_shared = control.contains("private") || credentials && !control.contains("public");
        !forbidden && (personal || !not_shared)
    }

    fn fits(&self, asks: &Asks) -> bool {
        let selected = self.vary.split(", ").filter(|name| !name.is_empty());
        self.asks.path == asks.path && selected.into_iter().all(|name| self.asks.value(name) == asks.value(name))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn nobody_is_served_what_was_meant_for_somebody_else(
        steps in prop::collection::vec(step(), 1..24),
        readers in prop::collection::vec(asks(), 16),
        principals: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let store = TestStore::new(Behaves::Well);
            let mut builder = LastKnownGoodLayer::builder("shop").store(store.clone());
            if principals {
                builder = builder.principal(|head| head.headers.get("x-user").cloned());
            }
            let layer = builder.build().unwrap();
            for (i, step) in steps.iter().enumerate() {
                let mut asked = step.asks.request();
                asked.headers_mut().insert(header::CACHE_CONTROL, step.request_control.parse().unwrap());
                let mut fields = vec![("cache-control", step.control), ("vary", step.vary)];
                if step.set_cookie {
                    fields.push(("set-cookie", "s=3"));
                }
                let body = format!("<{i}>");
                send(&layer, asked, response(step.status, &fields, body.clone())).await;
                if !step.may_be_stored(principals) {
                    prop_assert!(!store.holds(&body), "{step:?}");
                }
                let last = std::iter::once(&step.asks);
                for reader in last.chain(&readers) {
                    let Ok(known) = stored(&layer, reader.request()).await else { continue };
                    let index: usize = known.body.trim_matches(['<', '>']).parse().unwrap();
                    let source = &steps[index];
                    prop_assert!(source.may_be_stored(principals), "{source:?}");
                    prop_assert!(source.fits(reader), "{reader:?} was served {source:?}");
                    if principals {
                        prop_assert_eq!(source.asks.user, reader.user);
                    }
                }
            }
            Ok(())
        })?;
    }

    /// The other way round: the test above would pass a layer that stores nothing.
    #[test]
    fn what_may_be_stored_is_served_to_who_asks_again(step in step(), principals: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut builder = LastKnownGoodLayer::builder("shop");
            if principals {
                builder = builder.principal(|head| head.headers.get("x-user").cloned());
            }
            let layer = builder.build().unwrap();
            let mut asked = step.asks.request();
            asked.headers_mut().insert(header::CACHE_CONTROL, step.request_control.parse().unwrap());
            let mut fields = vec![("cache-control", step.control), ("vary", step.vary)];
            if step.set_cookie {
                fields.push(("set-cookie", "s=3"));
            }
            send(&layer, asked, response(step.status, &fields, "good")).await;
            let known = stored(&layer, step.asks.request()).await;
            prop_assert_eq!(known.is_ok(), step.may_be_stored(principals), "{:?}", known);
            Ok(())
        })?;
    }
}

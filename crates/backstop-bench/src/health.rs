//! Reads and reports the health of a service with 50 components. No peer has levels.

use std::hint::black_box;

use axum::{Router, body::Body};
use backstop::{Component, Health, Level, health::Name};
use http::Request;
use tower::{Service, layer::util::Identity};

use crate::{
    call::poll_once,
    http::calls_through,
    measure::{Contender, Section, Table},
};

pub(crate) const SECTION: Section = Section {
    name: "health",
    tables: &[
        Table::new("A reading or a report", readings),
        Table::new("A request for `/health`", requests),
        Table::new("A call through the layer of a drain", calls),
    ],
    others: &[],
};

const COMPONENTS: usize = 50;

fn health() -> Health {
    let name = |n| Name::new(format!("component_{n}")).expect("a name");
    let components = (0..COMPONENTS).map(|n| Component::essential(name(n)));
    let health = Health::builder().components(components).build().expect("good settings");
    for n in 0..COMPONENTS {
        let level = if n % 10 == 0 { Level::Degraded } else { Level::Healthy };
        health.report(name(n).as_str(), level, "the replica is 40 s behind", None).expect("a component");
    }
    health
}

fn readings() -> Vec<Contender> {
    vec![
        Contender::new("nothing", || {
            |n| {
                black_box(n);
            }
        }),
        Contender::new("the level", || {
            let health = health();
            move |_| _ = black_box(health.level())
        }),
        Contender::new("a component's level", || {
            let health = health();
            let component = health.component("component_7").expect("a component");
            move |_| _ = black_box(component.level())
        }),
        Contender::new("a heartbeat", || {
            let component = Component::optional("loop").heartbeat(std::time::Duration::from_secs(30));
            let health = Health::builder().component(component).build().expect("good settings");
            let heartbeat = health.heartbeat("loop").expect("a component");
            move |_| heartbeat.beat()
        }),
        Contender::new("a report of what was known", || {
            let health = health();
            let reporter = health.reporter("component_7", "report").expect("a component");
            move |_| _ = black_box(reporter.report(Level::Healthy, "the replica is 40 s behind"))
        }),
    ]
}

fn calls() -> Vec<Contender> {
    vec![
        Contender::new("bare", || calls_through(Identity::new())),
        Contender::new("before a drain", || calls_through(health().drain().layer())),
        Contender::new("while it drains", || {
            let drain = health().drain();
            drain.begin();
            calls_through(drain.layer())
        }),
    ]
}

fn requests() -> Vec<Contender> {
    let ask = |mut router: Router| {
        move |_| {
            let request = Request::get("/health").body(Body::empty()).expect("a request");
            _ = black_box(poll_once(router.call(request)));
        }
    };
    vec![
        Contender::new("another route", move || {
            ask(Router::new().route("/health", axum::routing::get(|| async { "ok" })))
        }),
        Contender::new("the status alone", move || ask(health().routes().into())).target("20 µs"),
        Contender::new("50 components", move || ask(health().routes().with_details().into())).target("20 µs"),
    ]
}

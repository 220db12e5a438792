//! Knows where each piece of a body came from, and compares that with what the headers say.

use std::{
    collections::BTreeSet,
    fmt::Write,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::response::Response;
use backstop::Freshness;
use http::{HeaderMap, HeaderName};
use tokio::time::Instant;
use tower::BoxError;

use super::draw::{Drawn, LONGEST_LIFETIME};

/// What is true of one piece of a body.
#[derive(Clone, Debug)]
pub(crate) struct Fact {
    /// What an honest label lists for it. Nothing for what a service made itself.
    pub(crate) names: Vec<String>,
    /// How good it was when it was made. `None` for what a service made itself, for this request.
    pub(crate) freshness: Option<Freshness>,
    pub(crate) made: Instant,
    /// How old it was by then.
    pub(crate) age: Duration,
    /// Whether only headers say so, which nobody has read: then it isn't known to get older while it waits.
    pub(crate) is_unread: bool,
    /// The `Cache-Control` that it was made with.
    pub(crate) cache_control: Option<&'static str>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Oracle(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    facts: Vec<Fact>,
    /// How many were made before this request.
    before: usize,
    /// The names under which stored copies may be served.
    stores: BTreeSet<String>,
    /// Whether a cache may serve what is fresh by `Cache-Control`.
    has_cache: bool,
    /// Whether requests may be sent again.
    has_retry: bool,
}

/// What a response should say of itself.
#[derive(Debug, Default)]
struct Truth {
    names: BTreeSet<String>,
    /// What a stored copy may say in headers that were stored with it.
    copied: BTreeSet<String>,
    /// The worst of what is certain.
    worst: Option<Freshness>,
    /// Ages of what may be a stored copy, or a copy that a cache may call fresh.
    hits: Vec<Duration>,
    /// Whether there are stored copies that it may not.
    has_copies: bool,
}

/// The longest that a request takes.
const SLACK: Duration = Duration::from_secs(10);

/// Fields that may let a cache keep a response, or take it for another one later.
const FOR_CACHES: [&str; 7] =
    ["age", "etag", "expires", "last-modified", "cdn-cache-control", "surrogate-control", "edge-control"];

impl Oracle {
    /// A piece of a body of which this is true.
    pub(crate) fn tag(&self, fact: Fact) -> String {
        let facts = &mut self.0.lock().unwrap().facts;
        facts.push(fact);
        format!("<{}>", facts.len() - 1)
    }

    pub(crate) fn add_store(&self, name: String) {
        self.0.lock().unwrap().stores.insert(name);
    }

    pub(crate) fn add_retry(&self) {
        self.0.lock().unwrap().has_retry = true;
    }

    pub(crate) fn add_cache(&self) {
        self.0.lock().unwrap().has_cache = true;
    }

    /// Marks the beginning of a request: whatever is made from now on is made for it.
    pub(crate) fn begin(&self) {
        let known = &mut *self.0.lock().unwrap();
        known.before = known.facts.len();
    }

    /// Whether the answer to the request says the truth. Else the lie.
    pub(crate) async fn judge(&self, answer: Result<Response, BoxError>, stack: &Drawn) -> Result<(), String> {
        let Ok(answer) = answer else { return Ok(()) };
        let now = Instant::now();
        let (head, body) = answer.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.map_err(|error| error.to_string())?;
        let body = String::from_utf8(body.to_vec()).unwrap();
        let mut lies = String::new();
        self.compare(&head.headers, &body, now, stack, &mut |lie| _ = writeln!(lies, "{lie}"));
        if lies.is_empty() {
            return Ok(());
        }
        let facts: Vec<_> = self.facts_of(&body).into_iter().map(|(id, fact)| format!("{id}: {fact:?}")).collect();
        Err(format!("{lies}status: {}\nheaders: {:#?}\nnow: {now:?}\nfacts: {facts:#?}", head.status, head.headers))
    }

    fn facts_of(&self, body: &str) -> Vec<(usize, Fact)> {
        let known = self.0.lock().unwrap();
        let ids = body.split(['<', '>']).filter_map(|id| id.parse().ok());
        ids.map(|id: usize| (id, known.facts[id].clone())).collect()
    }

    fn truth_of(&self, facts: &[(usize, Fact)], now: Instant, lie: &mut impl FnMut(String)) -> Truth {
        let (before, has_cache, has_repeats) = {
            let known = self.0.lock().unwrap();
            (known.before, known.has_cache, (known.has_retry || known.has_cache) && !known.stores.is_empty())
        };
        let mut truth = Truth::default();
        for (id, fact) in facts {
            if *id >= before && has_repeats && matches!(fact.freshness, None | Some(Freshness::Fresh)) {
                // The next attempt may have got the copy that this one stored, or a refresh may have stored it.
                truth.copied.extend(fact.names.iter().cloned());
                // The rest of the answer may have taken a while, and a handler doesn't add that.
                truth.hits.push(fact.age);
                continue;
            }
            if *id >= before {
                truth.names.extend(fact.names.iter().cloned());
                // A copy gets older while the rest of the answer is made.
                let freshness = fact.freshness.map(|it| match it.age() {
                    Some(_) if fact.is_unread => Freshness::stale(fact.age),
                    Some(_) => Freshness::stale(fact.age + (now - fact.made)),
                    None => it,
                });
                truth.worst = truth.worst.max(freshness);
                continue;
            }
            // Made for an earlier request: a stored copy.
            if fact.freshness.is_some_and(|it| it != Freshness::Fresh) {
                lie(format!("what was no good answer was stored: {fact:?}"));
            }
            truth.copied.extend(fact.names.iter().cloned());
            let age = fact.age + (now - fact.made);
            if has_cache && age < LONGEST_LIFETIME {
                truth.hits.push(age);
            } else {
                truth.has_copies = true;
                truth.worst = truth.worst.max(Some(Freshness::stale(age)));
            }
        }
        truth
    }

    fn compare(&self, headers: &HeaderMap, body: &str, now: Instant, stack: &Drawn, lie: &mut impl FnMut(String)) {
        let facts = self.facts_of(body);
        let truth = self.truth_of(&facts, now, lie);
        let stores = self.0.lock().unwrap().stores.clone();

        let listed = tokens(headers, "x-fallback-source");
        let served_from: BTreeSet<_> = listed.intersection(&stores).cloned().collect();
        let others: BTreeSet<_> = listed.difference(&stores).cloned().collect();
        let is_true = |name: &String| truth.names.contains(name) || truth.copied.contains(name);
        if !others.is_superset(&truth.names) || !others.iter().all(is_true) {
            lie(format!("the sources are {:?}", truth.names));
        }
        if truth.has_copies && served_from.is_empty() {
            lie("a stored copy has no source".into());
        }
        if !served_from.is_empty() && !truth.has_copies && truth.hits.is_empty() {
            lie(format!("nothing of it was stored: {served_from:?}"));
        }

        // What a cache calls fresh may be labelled, too.
        let mut worst = vec![truth.worst];
        if !served_from.is_empty() {
            worst.extend(truth.hits.iter().map(|age| truth.worst.max(Some(Freshness::stale(*age)))));
        }
        let said = tokens(headers, "x-data-freshness");
        let is_said = |worst: &Option<Freshness>| match worst {
            None => said.is_empty() || said.iter().eq(["fresh"]),
            Some(worst) => said.iter().eq([worst.as_str()]),
        };
        let Some(worst) = worst.into_iter().filter(is_said).max() else {
            lie(format!("the freshness is {:?}", truth.worst));
            return;
        };
        check_caching(headers, &facts, worst, now, stack, lie);
    }
}

fn check_caching(
    headers: &HeaderMap,
    facts: &[(usize, Fact)],
    worst: Option<Freshness>,
    now: Instant,
    stack: &Drawn,
    lie: &mut impl FnMut(String),
) {
    let field = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let age = field("age").and_then(|age| age.parse().ok()).map(Duration::from_secs);
    let oldest = facts.iter().map(|(_, fact)| fact.age + (now - fact.made)).max().unwrap_or_default();
    match worst {
        Some(Freshness::Degraded | Freshness::Stale { age: None }) => {
            if headers.get_all("cache-control").iter().ne(["no-store"]) {
                lie("it must not be stored".into());
            }
            let left = FOR_CACHES.iter().filter(|name| headers.contains_key(**name));
            left.for_each(|name| lie(format!("{name} is for caches")));
        }
        Some(Freshness::Stale { age: Some(known) }) => {
            // Whole seconds, rounded down. It may be called older than it is: the way to it took time.
            let is_true = |said: Duration| said.as_secs() >= known.as_secs() && said <= known.max(oldest) + SLACK;
            if headers.get_all("age").iter().count() != 1 || !age.is_some_and(is_true) {
                lie(format!("its age is {known:?}"));
            }
        }
        _ => {
            // A cache's own answer, or one that came through a cache further in.
            if oldest > SLACK && age.is_none_or(|age| age < oldest - SLACK) {
                lie(format!("it is {oldest:?} old"));
            }
        }
    }
    // A validator belongs to one representation.
    if let Some(etag) = field("etag") {
        let of: Vec<_> = facts.iter().map(|(id, _)| format!("\"{id}\"")).collect();
        if of != [etag] {
            lie(format!("{etag} is of another body"));
        }
    }
    // What its maker said of caching isn't changed.
    if let [(_, fact)] = facts
        && !stack.is_rebuilt
        && !matches!(worst, Some(Freshness::Degraded | Freshness::Stale { age: None }))
        && field("cache-control") != fact.cache_control
    {
        lie(format!("its maker said {:?} to caches", fact.cache_control));
    }
}

/// The tokens of a list, without parameters. A label of our own is always a list of tokens.
fn tokens(headers: &HeaderMap, name: &'static str) -> BTreeSet<String> {
    let fields = headers.get_all(HeaderName::from_static(name)).iter();
    let members = fields.flat_map(|field| field.to_str().unwrap_or("?").split(','));
    members.map(|member| member.split(';').next().unwrap_or_default().trim().to_owned()).collect()
}

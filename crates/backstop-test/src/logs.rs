//! Captured logs.

use std::{
    cell::RefCell,
    fmt,
    marker::PhantomData,
    mem,
    ops::Deref,
    sync::{Arc, LazyLock, Mutex},
};

use tracing::{
    Dispatch, Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
    subscriber::{DefaultGuard, NoSubscriber},
};

use crate::lock::lock;

/// Keeps the events of `tracing`.
///
/// Clones share what they keep. Spans are ignored. So are the warnings under `backstop::layers`, unless
/// [asked for](Self::with_shared_names): tests of one process build many layers of the same name.
///
/// ```
/// use backstop_test::Logs;
/// use tracing::{Level, warn};
///
/// let logs = Logs::new();
/// let _guard = logs.listen();
/// warn!(name = "ml_service", failures = 5, "the circuit opened");
///
/// let event = logs.events().at(Level::WARN).only();
/// assert_eq!(event.message(), "the circuit opened");
/// assert_eq!(event.field("failures"), Some("5"));
/// ```
#[derive(Clone)]
pub struct Logs {
    max_level: LevelFilter,
    with_shared_names: bool,
    kept: Arc<Mutex<Vec<LogEvent>>>,
}

/// While just one dispatcher exists, `tracing` asks only the current thread's subscriber whether a new event is wanted, and
/// remembers the answer: a test that doesn't listen would silence one that does. With more, it asks all of them.
static MORE_DISPATCHERS: LazyLock<[Dispatch; 2]> =
    LazyLock::new(|| [(); 2].map(|()| Dispatch::new(NoSubscriber::new())));

impl Logs {
    /// Keeps events of all levels.
    #[must_use]
    pub fn new() -> Self {
        Self::up_to(Level::TRACE)
    }

    /// Keeps events of this level and the more severe ones, as in a service whose log is set to `level`.
    #[must_use]
    pub fn up_to(level: Level) -> Self {
        LazyLock::force(&MORE_DISPATCHERS);
        Self { max_level: LevelFilter::from_level(level), with_shared_names: false, kept: Arc::default() }
    }

    /// Also keeps the warnings of layers that share a name, or are built per request.
    #[must_use]
    pub fn with_shared_names(mut self) -> Self {
        self.with_shared_names = true;
        self
    }

    /// Keeps what happens on this thread until the guard is dropped.
    ///
    /// Of several `Logs`, the one that began last listens. Their guards may be dropped in any order.
    #[must_use = "it listens until the guard is dropped"]
    pub fn listen(&self) -> LogsGuard {
        LISTENING.with_borrow_mut(|listening| {
            listening.push((tracing::subscriber::set_default(self.clone()), Guard::Alive));
            LogsGuard { number: listening.len() - 1, on_this_thread: PhantomData }
        })
    }

    /// The events so far.
    #[must_use]
    pub fn events(&self) -> LogEvents {
        LogEvents(lock(&self.kept).clone())
    }

    /// The events since the last `take`, which are forgotten.
    #[must_use]
    pub fn take(&self) -> LogEvents {
        LogEvents(mem::take(&mut *lock(&self.kept)))
    }
}

impl Default for Logs {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Logs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&*self.events()).finish()
    }
}

/// Keeps a [`Logs`] listening on its thread until it is dropped.
#[derive(Debug)]
pub struct LogsGuard {
    number: usize,
    on_this_thread: PhantomData<*const ()>,
}

thread_local! {
    /// What restores the subscribers before those of this thread's guards. A guard that is dropped leaves its own here until
    /// all later ones are dropped, too, since each restores the subscriber before it.
    static LISTENING: RefCell<Vec<(DefaultGuard, Guard)>> = const { RefCell::new(Vec::new()) };
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Guard {
    Alive,
    Dropped,
}

impl Drop for LogsGuard {
    fn drop(&mut self) {
        // An error at the end of the thread, when nothing listens any more.
        _ = LISTENING.try_with(|listening| {
            let mut listening = listening.borrow_mut();
            if let Some((_, guard)) = listening.get_mut(self.number) {
                *guard = Guard::Dropped;
            }
            while listening.pop_if(|(_, guard)| *guard == Guard::Dropped).is_some() {}
        });
    }
}

impl Subscriber for Logs {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let is_wanted = self.with_shared_names || metadata.target() != "backstop::layers";
        metadata.is_event() && *metadata.level() <= self.max_level && is_wanted
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.max_level)
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let mut kept = LogEvent {
            level: *metadata.level(),
            target: metadata.target().to_owned(),
            message: String::new(),
            fields: Vec::new(),
        };
        event.record(&mut kept);
        lock(&self.kept).push(kept);
    }
}

/// An event.
///
/// It is displayed as `tracing_subscriber` writes it, without the time: level, target, message, and the fields in order, the
/// values of strings in quotes.
#[derive(Clone, PartialEq, Eq)]
pub struct LogEvent {
    level: Level,
    target: String,
    message: String,
    fields: Vec<(&'static str, Value)>,
}

#[derive(Clone, PartialEq, Eq)]
enum Value {
    /// A string, which is shown in quotes.
    Text(String),
    /// What `Debug` or `Display` made of it, as the event says.
    Formatted(String),
}

impl Value {
    fn as_str(&self) -> &str {
        let (Self::Text(text) | Self::Formatted(text)) = self;
        text
    }
}

impl LogEvent {
    /// The level.
    #[must_use]
    pub const fn level(&self) -> Level {
        self.level
    }

    /// The target: a module's path, unless the event says otherwise.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The message, or nothing.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The value of a field as text. A string is itself, without quotes.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields().find_map(|(field, value)| (field == name).then_some(value))
    }

    /// The fields in order, without the message.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, value)| (*name, value.as_str()))
    }
}

impl Visit for LogEvent {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.push((field.name(), Value::Text(value.to_owned())));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            name => self.fields.push((name, Value::Formatted(format!("{value:?}")))),
        }
    }
}

impl fmt::Display for LogEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}:", self.level, self.target)?;
        if !self.message.is_empty() {
            write!(f, " {}", self.message)?;
        }
        self.fields.iter().try_for_each(|(name, value)| match value {
            Value::Text(text) => write!(f, " {name}={text:?}"),
            Value::Formatted(text) => write!(f, " {name}={text}"),
        })
    }
}

impl fmt::Debug for LogEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Events in their order: a slice of [`LogEvent`] with filters.
///
/// It is displayed with one event on each line, which makes it a good message of an assertion:
///
/// ```
/// # let logs = backstop_test::Logs::new();
/// let warnings = logs.events().at(tracing::Level::WARN);
/// assert!(warnings.is_empty(), "{warnings}");
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct LogEvents(Vec<LogEvent>);

impl LogEvents {
    /// Those of exactly this level.
    #[must_use]
    pub fn at(self, level: Level) -> Self {
        self.filter(|event| event.level == level)
    }

    /// Those of this target and the targets below it: `backstop` has `backstop::retry`.
    #[must_use]
    pub fn with_target(self, target: &str) -> Self {
        self.filter(|event| {
            event.target.strip_prefix(target).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        })
    }

    /// Those with this value of this field, as in [`LogEvent::field`].
    #[must_use]
    pub fn with_field(self, name: &str, value: &str) -> Self {
        self.filter(|event| event.field(name) == Some(value))
    }

    fn filter(mut self, keep: impl Fn(&LogEvent) -> bool) -> Self {
        self.0.retain(keep);
        self
    }

    /// The one event.
    ///
    /// # Panics
    ///
    /// If there is none, or more than one. The message shows them.
    #[must_use]
    #[track_caller]
    pub fn only(mut self) -> LogEvent {
        assert_eq!(self.len(), 1, "not one event, but:\n{self}");
        self.0.remove(0)
    }

    /// Each event as it is displayed, to compare all of them at once.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.iter().map(ToString::to_string).collect()
    }
}

impl Deref for LogEvents {
    type Target = [LogEvent];

    fn deref(&self) -> &[LogEvent] {
        &self.0
    }
}

impl IntoIterator for LogEvents {
    type Item = LogEvent;
    type IntoIter = std::vec::IntoIter<LogEvent>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Display for LogEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().try_for_each(|event| writeln!(f, "{event}"))
    }
}

impl fmt::Debug for LogEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0).finish()
    }
}

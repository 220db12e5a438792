//! The text of an error, safe to log.

use std::{
    error::Error,
    fmt::{self, Write},
    sync::Arc,
};

use backstop_core::ErrorRef;

/// The longest text, in bytes.
const LONGEST: usize = 256;
/// How much of an error's own text is read, in bytes.
const LONGEST_SOURCE: usize = 4 * LONGEST;

/// The text of an error for logs: by default that of the error and its causes, or what a closure returns.
///
/// It is cut to 256 bytes, and control characters are escaped. By default, URLs lose their user information, query and
/// fragment, which may hold secrets. It goes into logs and into results for handlers, and never into a response.
///
/// ```
/// use std::io;
/// use backstop_core::ErrorRef;
/// use backstop_kit::ErrorText;
///
/// let error = io::Error::other("GET https://bob:secret@shop.example/items?token=1 failed");
/// let text = ErrorText::default().of(ErrorRef::new(&error));
/// assert_eq!(text.as_deref(), Some("GET https://shop.example/items failed"));
///
/// let silent = ErrorText::new(|_| None);
/// assert_eq!(silent.of(ErrorRef::new(&error)), None);
/// ```
#[derive(Clone, Default)]
pub struct ErrorText(Option<Arc<TextFn>>);

type TextFn = dyn Fn(ErrorRef<'_>) -> Option<String> + Send + Sync;

impl ErrorText {
    /// Uses the text that `text` returns, cut and escaped. With `None`, no text is logged.
    pub fn new(text: impl Fn(ErrorRef<'_>) -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(text)))
    }

    /// The text of `error`. `None` if the closure returns that, or if the type isn't known to be an error, or a text.
    #[must_use]
    pub fn of(&self, error: ErrorRef<'_>) -> Option<String> {
        let text = match &self.0 {
            Some(text) => text(error)?,
            None => text_with_causes(error)?,
        };
        Some(log_text(&text))
    }
}

impl fmt::Debug for ErrorText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "ErrorText(closure)" } else { "ErrorText(default)" })
    }
}

/// Makes a text safe for logs: cut to 256 bytes, with control characters escaped.
#[must_use]
pub fn log_text(text: &str) -> String {
    cut(&escaped(text), LONGEST).to_owned()
}

fn text_with_causes(error: ErrorRef<'_>) -> Option<String> {
    let mut all = Bounded::default();
    if let Some(message) = error.message() {
        _ = all.write_str(message);
    }
    for cause in error.causes() {
        let mut text = Bounded::default();
        // Fails at the bound, with the text so far.
        _ = write_one(&mut text, cause);
        // Many errors repeat their cause's text.
        if all.text.is_empty() {
            all = text;
        } else if !all.text.contains(&text.text) {
            _ = write!(all, ": {}", text.text);
        }
    }
    (!all.text.is_empty()).then(|| without_secrets(&all.text, all.was_cut))
}

fn write_one(text: &mut Bounded, error: &(dyn Error + 'static)) -> fmt::Result {
    #[cfg(feature = "tonic")]
    if let Some(status) = error.downcast_ref::<tonic::Status>() {
        // Its `Display` includes its metadata.
        return write!(text, "{:?}: {}", status.code(), status.message());
    }
    write!(text, "{error}")
}

/// Text up to a bound, so that the cost doesn't grow with the error's text.
#[derive(Default)]
struct Bounded {
    text: String,
    was_cut: bool,
}

impl Write for Bounded {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let room = LONGEST_SOURCE - self.text.len();
        let fits = cut(s, room);
        self.text.push_str(fits);
        if fits.len() < s.len() {
            self.was_cut = true;
            return Err(fmt::Error);
        }
        Ok(())
    }
}

/// Removes user information, queries and fragments from URLs.
fn without_secrets(text: &str, was_cut: bool) -> String {
    let ends_url = |c: char| c.is_whitespace() || matches!(c, '"' | '<' | '>' | '`');
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let closing = closing(&rest[..at]);
        let (before, after) = rest.split_at(at + "://".len());
        clean.push_str(before);
        let end = after.find(ends_url).unwrap_or(after.len());
        if end == after.len() && was_cut {
            // What was cut off might show that this is a secret.
            return clean;
        }
        // The URL may contain the mark, too, so only the last one closes it.
        let end = closing.and_then(|closing| after[..end].rfind(closing)).unwrap_or(end);
        let (url, after) = after.split_at(end);
        let url = without_user(url);
        let url = &url[..url.find(['?', '#']).unwrap_or(url.len())];
        let (host, path) = url.split_at(url.find('/').unwrap_or(url.len()));
        clean.push_str(host);
        // The path may contain another URL.
        clean.push_str(&without_secrets(path, false));
        rest = after;
    }
    clean.push_str(rest);
    clean
}

/// The mark that closes a URL, if one was opened before its scheme.
fn closing(before: &str) -> Option<char> {
    let is_scheme = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    match before.trim_end_matches(is_scheme).chars().next_back()? {
        '(' => Some(')'),
        '\'' => Some('\''),
        _ => None,
    }
}

/// The URL without user information.
fn without_user(url: &str) -> &str {
    let authority = &url[..url.find(['/', '?', '#']).unwrap_or(url.len())];
    if let Some((user, _)) = authority.rsplit_once('@') {
        return &url[user.len() + 1..];
    }
    // If a password isn't escaped, a part of it stands where the port should.
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    match authority.rsplit_once(':') {
        Some((_, port)) if !is_port(port) && !authority.starts_with('[') => {
            url.rsplit_once('@').map_or(url, |(_, after)| after)
        }
        _ => url,
    }
}

/// Escapes what could forge a log line or hide a part of it: control characters, line separators, and marks that change the
/// direction of text.
fn escaped(text: &str) -> String {
    let hides = |c: char| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars().take(LONGEST_SOURCE) {
        if hides(c) { escaped.extend(c.escape_default()) } else { escaped.push(c) }
    }
    escaped
}

/// Cuts at a character boundary.
fn cut(text: &str, longest: usize) -> &str {
    let mut end = longest.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Whether `c` is neither a control character, nor one that breaks a line or changes the direction of the text: a terminal would
/// show another text than the one that was written.
#[must_use]
pub fn is_printable(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}')
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn text(of: &str) -> String {
        ErrorText::default().of(ErrorRef::new(&io::Error::other(of.to_owned()))).unwrap()
    }

    #[derive(Debug)]
    struct Outer(&'static str, io::Error);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.1)
        }
    }

    #[test]
    fn urls_lose_their_user_information_and_query_and_nothing_else_changes() {
        for (from, to) in [
            ("http://bob:pw@shop.example:80/a?b=c", "http://shop.example:80/a"),
            ("for (https://shop.example/a?t=1), twice", "for (https://shop.example/a), twice"),
            ("redis://:pw@[::1]:6379/0: refused", "redis://[::1]:6379/0: refused"),
            ("amqp://a@b@host", "amqp://host"),
            ("http://shop.example?t=1#f and http://b/?c", "http://shop.example and http://b/"),
            ("a @ b ? c", "a @ b ? c"),
            ("://", "://"),
            // Parentheses and apostrophes may be part of a URL (RFC 3986 §2.2).
            ("http://bob:s(e)cr'et@host/", "http://host/"),
            ("(http://bob:s(ecret@host/), twice", "(http://host/), twice"),
            ("GET http://host/a?f='x'&token=1 failed", "GET http://host/a failed"),
            ("GET 'http://host/a?f=(x)&token=1', twice", "GET 'http://host/a', twice"),
            // One in another, as proxies have it.
            ("http://proxy/https://bob:pw@host/a?t=1 failed", "http://proxy/https://host/a failed"),
            // Not escaped as it should be, which is why there is an error.
            ("bad port: redis://:p/w@host/0", "bad port: redis://host/0"),
            ("bad port: postgres://bob:p#w?d@host/0", "bad port: postgres://host/0"),
            ("http://host:80/@scope/b and http://[::1]/a@b", "http://host:80/@scope/b and http://[::1]/a@b"),
            // Tokens come in fragments, too.
            ("http://host/a#access_token=1", "http://host/a"),
        ] {
            assert_eq!(text(from), to);
        }
    }

    #[test]
    fn text_is_cut_at_a_character_and_a_secret_that_was_cut_in_two_is_left_out() {
        assert_eq!(text(&"a".repeat(300)).len(), LONGEST);
        assert_eq!(text(&"ä".repeat(300)), "ä".repeat(128));
        let url = format!("see http://bob:{}@host/", "x".repeat(LONGEST_SOURCE));
        assert_eq!(text(&url), "see http://");
    }

    #[test]
    fn nothing_in_it_can_forge_or_hide_a_line() {
        assert_eq!(text("a\nWARN b\u{1b}[2J\u{202e}c\0"), r"a\nWARN b\u{1b}[2J\u{202e}c\u{0}");
    }

    #[test]
    fn causes_follow_unless_they_were_told_already() {
        let refused = || io::Error::other("connection refused");
        for (outer, expected) in
            [("can't connect", "can't connect: connection refused"), ("connection refused", "connection refused")]
        {
            let boxed: Box<dyn Error + Send + Sync> = Box::new(Outer(outer, refused()));
            assert_eq!(ErrorText::default().of(ErrorRef::new(&boxed)).as_deref(), Some(expected));
        }
    }

    #[test]
    fn what_is_no_error_has_no_text_and_a_closures_is_made_safe_too() {
        assert_eq!(ErrorText::default().of(ErrorRef::new(&7)), None);
        let own = ErrorText::new(|_| Some("a\n".repeat(LONGEST)));
        let text = own.of(ErrorRef::new(&7)).unwrap();
        assert!(text.starts_with(r"a\na\n") && text.len() == LONGEST);
    }
}

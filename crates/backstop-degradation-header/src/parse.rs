//! Parses existing labels: lists of tokens with parameters, a subset of [RFC 9651].
//!
//! [RFC 9651]: https://www.rfc-editor.org/rfc/rfc9651

use std::time::Duration;

use backstop_core::Freshness;
use backstop_kit::caching::seconds;
use http::HeaderValue;

/// Longer lists aren't parsed. Nobody needs them, so they are a mistake or an attack.
const MAX_MEMBERS: usize = 16;
const MAX_BYTES: usize = 1024;

/// A token with its parameters, as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    text: String,
    token: usize,
    age: Option<Duration>,
}

impl Member {
    pub(crate) fn token(&self) -> &str {
        self.text.get(..self.token).unwrap_or_default()
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

/// Parses the fields as one list (RFC 9651 §4.2). `None` if they don't parse.
pub(crate) fn list(fields: &[&HeaderValue]) -> Option<Vec<Member>> {
    let mut members = Vec::new();
    let mut bytes = 0;
    for field in fields {
        bytes += field.len();
        if bytes > MAX_BYTES {
            return None;
        }
        let mut rest = field.to_str().ok()?.trim_matches(' ');
        while !rest.is_empty() {
            let (member, after) = member(rest)?;
            members.push(member);
            let after = after.trim_start_matches([' ', '\t']);
            if after.is_empty() {
                break;
            }
            rest = after.strip_prefix(',')?.trim_start_matches([' ', '\t']);
            if rest.is_empty() || members.len() >= MAX_MEMBERS {
                return None;
            }
        }
    }
    (members.len() <= MAX_MEMBERS).then_some(members)
}

/// The freshness of a member of `X-Data-Freshness`. `None` if the token is unknown.
pub(crate) fn freshness(member: &Member) -> Option<Freshness> {
    let is = |known: Freshness| member.token().eq_ignore_ascii_case(known.as_str());
    [Freshness::Fresh, Freshness::Stale { age: member.age }, Freshness::Degraded].into_iter().find(|known| is(*known))
}

fn member(text: &str) -> Option<(Member, &str)> {
    let (token, mut rest) = token(text)?;
    let mut age = None;
    while let Some(parameter) = rest.strip_prefix(';') {
        let (key, after) = key(parameter.trim_start_matches(' '))?;
        rest = after;
        if let Some(value) = after.strip_prefix('=') {
            let (value, after) = bare_item(value)?;
            rest = after;
            if key == "age" {
                age = seconds(value);
            }
        }
    }
    let (written, _) = text.split_at(text.len() - rest.len());
    Some((Member { text: written.to_owned(), token: token.len(), age }, rest))
}

fn token(text: &str) -> Option<(&str, &str)> {
    let is_first = |c: char| c.is_ascii_alphabetic() || c == '*';
    let is_next = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~:/".contains(c);
    run(text, is_first, is_next)
}

fn key(text: &str) -> Option<(&str, &str)> {
    let is_first = |c: char| c.is_ascii_lowercase() || c == '*';
    let is_next = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-.*".contains(c);
    run(text, is_first, is_next)
}

/// Tokens, numbers, booleans and strings. Labels don't use bytes or dates.
fn bare_item(text: &str) -> Option<(&str, &str)> {
    match text.chars().next()? {
        '"' => string(text),
        '?' => ["?0", "?1"].into_iter().find_map(|is| text.strip_prefix(is).map(|rest| (is, rest))),
        '-' | '0'..='9' => number(text),
        _ => token(text),
    }
}

fn number(text: &str) -> Option<(&str, &str)> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let sign = usize::from(text.starts_with('-'));
    let whole = digits(text.get(sign..)?);
    let mut end = sign + whole;
    let most = if text.get(end..)?.starts_with('.') {
        let part = digits(text.get(end + 1..)?);
        end += 1 + part;
        if (1..=3).contains(&part) { 12 } else { 0 }
    } else {
        15
    };
    (1..=most).contains(&whole).then(|| text.split_at(end))
}

fn string(text: &str) -> Option<(&str, &str)> {
    let mut characters = text.char_indices().skip(1);
    loop {
        match characters.next()? {
            (at, '"') => return Some(text.split_at(at + 1)),
            (_, '\\') => _ = characters.next().filter(|(_, escaped)| matches!(escaped, '"' | '\\'))?,
            (_, ' '..='~') => {}
            _ => return None,
        }
    }
}

fn run(text: &str, is_first: impl Fn(char) -> bool, is_next: impl Fn(char) -> bool) -> Option<(&str, &str)> {
    if !text.starts_with(is_first) {
        return None;
    }
    let end = text.char_indices().find(|&(_, c)| !is_next(c)).map_or(text.len(), |(at, _)| at);
    Some(text.split_at(end))
}

#[cfg(test)]
mod tests;

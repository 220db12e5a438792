//! Values that are checked when they are parsed, so that their users needn't check them.

use std::fmt;
use std::hint::black_box;
use std::str::FromStr;
use std::time::Duration;

use backstop::Name;
use http::Uri;
use url::Url;

/// The reason why a value is invalid, for the person who typed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueError(pub(super) String);

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ValueError {}

/// The `http://` base URL of an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl(Url);

impl BaseUrl {
    /// The URI of a path below this one. Segments are escaped, so that a segment can't add others.
    #[must_use]
    pub fn at(&self, segments: &[&str]) -> Uri {
        let mut url = self.0.clone();
        // Neither fails: an `http` URL can be a base, and a URL written by `Url` is a valid URI.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        Uri::try_from(url.as_str()).unwrap_or_default()
    }
}

impl FromStr for BaseUrl {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = |why: &str| Err(ValueError(format!("{why}; use a URL such as http://127.0.0.1:8080")));
        let url = match Url::parse(text) {
            Ok(url) => url,
            Err(error) => return refuse(&format!("not a URL: {error}")),
        };
        if url.scheme() != "http" {
            return refuse("only http:// is supported");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refuse("it must not contain credentials");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return refuse("it must end with its path");
        }
        if url.port() == Some(0) {
            return refuse("nothing listens on port 0");
        }
        Ok(Self(url))
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `http://127.0.0.1:8080` as typed, without the slash that `Url` adds.
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

/// The token that an admin request must carry.
#[derive(Clone)]
pub struct AdminToken(String);

impl AdminToken {
    /// Whether `shown` is the token. The time this takes doesn't depend on how much of it is right.
    #[must_use]
    pub fn matches(&self, shown: &[u8]) -> bool {
        let token = self.0.as_bytes();
        let mut difference = u8::from(token.len() != shown.len());
        for (position, byte) in shown.iter().enumerate() {
            // A token isn't empty, so there is always a byte to compare with.
            difference |= black_box(byte ^ token[position % token.len()]);
        }
        black_box(difference) == 0
    }
}

impl FromStr for AdminToken {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // RFC 6750 §2.1: the syntax of a bearer token.
        let token = text.trim_end_matches('=');
        if token.is_empty() || !token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b)) {
            return Err(ValueError("a token is one or more of A-Z a-z 0-9 - . _ ~ + / and may end in =".to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken(…)")
    }
}

/// Parses a time with its unit, from 1 ms to an hour.
pub(super) fn wait(text: &str) -> Result<Duration, ValueError> {
    const UNITS: [(&str, u64); 3] = [("ms", 1), ("s", 1_000), ("m", 60_000)];

    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let millis = UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .and_then(|(_, factor)| number.parse::<u64>().ok()?.checked_mul(*factor))
        .filter(|millis| (1..=3_600_000).contains(millis));
    millis.map(Duration::from_millis).ok_or_else(|| {
        ValueError(
            "a time is a whole number and ms, s or m, such as 500ms, 5s or 1m; at least 1ms and at most 60m".to_owned(),
        )
    })
}

/// Parses a number of connections.
pub(super) fn connections(text: &str) -> Result<usize, ValueError> {
    let number = text.parse().ok().filter(|number| (1..=1_000_000).contains(number));
    number.ok_or_else(|| ValueError("a number from 1 to 1000000".to_owned()))
}

/// Parses a name of an instance.
pub(super) fn instance(text: &str) -> Result<Name, ValueError> {
    let allowed = "a letter, then up to 63 of A-Z a-z 0-9 _ . -";
    Name::new(text.to_owned()).map_err(|_| ValueError(format!("a name is {allowed}")))
}

#[cfg(test)]
mod tests;

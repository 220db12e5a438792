//! The tokens of operators.

use backstop_core::{ConfigError, Name};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

/// The shortest token, in characters: 128 bits, if they are random hexadecimal digits.
const SHORTEST: usize = 32;
const LONGEST: usize = 512;
const ALLOWED: &str =
    "32 to 512 characters A-Z a-z 0-9 - . _ ~ + /, and = at the end; for example 32 random hexadecimal digits";

/// A token, as a hash, and whose it is.
#[derive(Clone)]
pub(crate) struct Token {
    who: Name,
    hash: [u8; 32],
}

impl Token {
    pub(crate) fn new(who: Name, secret: &str) -> Result<Self, ConfigError> {
        // RFC 6750 §2.1: the syntax of a bearer token.
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
        let characters = secret.trim_end_matches('=').bytes();
        if (SHORTEST..=LONGEST).contains(&secret.len())
            && characters.clone().next().is_some()
            && characters.clone().all(is_token)
        {
            return Ok(Self { who, hash: Sha256::digest(secret).into() });
        }
        // The error may end up in a log, so it doesn't show the token.
        Err(ConfigError::new("token", format!("{} bytes for {who}", secret.len()), ALLOWED))
    }
}

/// Whose token `shown` is.
///
/// The time that this takes depends on the length of `shown`, and on nothing of a token: it compares hashes, the whole of
/// each, and all of them.
pub(super) fn owner<'a>(tokens: &'a [Token], shown: &[u8]) -> Option<&'a Name> {
    let hash: [u8; 32] = Sha256::digest(shown).into();
    let none = u64::MAX;
    let found = (0..).zip(tokens).fold(none, |found, (index, token)| {
        let is_it: Choice = token.hash.ct_eq(&hash);
        u64::conditional_select(&found, &index, is_it)
    });
    tokens.get(usize::try_from(found).ok()?).map(|token| &token.who)
}

//! A tower layer that stores good answers, and serves them as stale when the service fails.

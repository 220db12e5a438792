//! A tower layer that ends calls that take too long, in a way that breakers and retries understand

//! A tower layer that repeats failed requests where repeating is safe

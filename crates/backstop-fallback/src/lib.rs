//! A tower layer that answers with the next best source when a dependency fails

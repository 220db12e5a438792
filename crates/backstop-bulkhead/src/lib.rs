//! A tower layer that bounds how many calls run, and how many wait.

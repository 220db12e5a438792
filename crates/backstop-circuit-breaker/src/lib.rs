//! A tower layer that stops calling a dependency that fails, and finds out when it is well again
#![allow(dead_code)]
mod state;

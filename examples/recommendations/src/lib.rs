//! Reference app

//! Black-box tests, and what those of several hosts share.

pub mod child;
pub mod models;

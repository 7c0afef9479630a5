//! The C library `libssmoesr`. `include/ssmoesr.h` is its manual; what is written here is about how its promises are kept.
//!
//! Every exported function goes through `entry`: nothing unwinds into C, the status and the thread's last error
//! agree, and calls from callbacks are refused. Numbers and pointers from C become Rust values in `sized`,
//! `options` and `picture` and nowhere else. Memory comes through `reserve`.

mod entry;
mod last_error;
mod log;
mod options;
mod picture;
mod query;
mod queue;
mod reserve;
mod sized;
mod status;
mod stream;
mod upscaler;

#![no_main]
#![allow(dead_code, reason = "each target takes its part of the drive")]

#[path = "../drive/mod.rs"]
mod drive;

libfuzzer_sys::fuzz_target!(|data: &[u8]| drive::loader::weights(drive::Room::of_process(), data));

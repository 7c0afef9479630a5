//! Name of the shared object, from the number in the header.
#![allow(clippy::print_stdout, reason = "cargo listens there")]

fn main() {
    let header = "../include/ssmoesr.h";
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={header}");
    let text = std::fs::read_to_string(header).unwrap_or_default();
    let api = text.lines().find_map(|l| l.strip_prefix("#define SSMOESR_API_VERSION ")).map(str::trim);
    let Some(api) = api else {
        println!("cargo:error={header} has no SSMOESR_API_VERSION");
        return;
    };
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libssmoesr.so.{api}");
        // A thread may still be on its way out of our code when a host calls dlclose.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}

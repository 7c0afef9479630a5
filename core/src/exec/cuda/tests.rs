//! The executor on the emulated driver.

/// Whether this process runs on the emulated driver.
pub(crate) fn emulated() -> bool {
    std::env::var_os("SSMOESR_TEST_EMULATED").is_some()
}

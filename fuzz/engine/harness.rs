//! Targets of the harness under libFuzzer. scripts/fuzz builds and starts it.

#![no_main]

libfuzzer_sys::fuzz_target!(
    init: throng_fuzz::start(throng_fuzz::HARNESS),
    |bytes: &[u8]| throng_fuzz::run(bytes)
);

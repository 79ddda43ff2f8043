//! Targets of the core under libFuzzer. scripts/fuzz builds and starts it.

#![no_main]

libfuzzer_sys::fuzz_target!(
    init: throng_fuzz::start(throng_fuzz::CORE),
    |bytes: &[u8]| throng_fuzz::run(bytes)
);

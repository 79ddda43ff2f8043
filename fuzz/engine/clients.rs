//! Targets of the players' client under libFuzzer. scripts/fuzz builds and starts it.

#![no_main]

libfuzzer_sys::fuzz_target!(
    init: throng_fuzz::start(throng_fuzz::CLIENTS),
    |bytes: &[u8]| throng_fuzz::run(bytes)
);

#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| gav_fuzz::decoders::driver_map(data));

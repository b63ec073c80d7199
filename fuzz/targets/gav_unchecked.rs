#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| gav_fuzz::decoders::gav_unchecked(data));

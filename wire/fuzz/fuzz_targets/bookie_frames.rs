//! Any bytes as a request to a bookie and as an answer of one, with and without a right checksum.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wire_fuzz::bookie_frames(data));

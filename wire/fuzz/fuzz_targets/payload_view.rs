//! Any bytes as the body of a SEND.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wire_fuzz::payload_view(data));

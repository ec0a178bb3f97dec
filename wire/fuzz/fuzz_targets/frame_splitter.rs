//! Any bytes, in any chunks, as a stream of Pulsar frames.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wire_fuzz::frame_splitter(data));

//! Any bytes as a stream of frames from another region, and as the fields of one with a right checksum.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wire_fuzz::region_frames(data));

//! Any bytes as a Pulsar command.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wire_fuzz::base_command(data));

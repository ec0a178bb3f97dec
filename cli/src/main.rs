//! The `meridian` program: server, playground, admin, produce, consume, bench.

fn main() {}

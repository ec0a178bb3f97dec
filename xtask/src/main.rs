//! The developer's tool: test, tidy, codegen, bench.

fn main() {}

//! The `kling-relay` program.

fn main() {}

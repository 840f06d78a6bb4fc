//! Runs a ternary language model.
fn main() {}

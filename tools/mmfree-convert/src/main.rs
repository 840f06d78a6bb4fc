//! Packs a checkpoint.
fn main() {}

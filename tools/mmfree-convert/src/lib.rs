//! Packs a checkpoint.

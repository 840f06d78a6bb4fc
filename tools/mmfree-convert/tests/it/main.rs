//! The converter from outside: as a library and as a program.

mod bad_checkpoints;
mod bad_outputs;
mod cli;
mod common;
mod configs;
mod conversion;
mod format_doc;
#[cfg(feature = "hub")]
mod hub;
mod killed;
mod pickled;
mod real_checkpoints;
mod repack;
mod synthesize;
mod threads;
mod tokenizers;
mod torch;
mod transformers;
mod unpack;
mod verify;

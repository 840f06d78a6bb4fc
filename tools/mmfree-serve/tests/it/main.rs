//! The server as its clients see it: the real program on a port of its own, with the demo model.

mod chat;
mod client;
mod completions;
mod errors;
mod formats;
mod load;
mod memory;
mod server;
mod state;
mod systemd;
mod tokens;

//! What the operating system has for files: mapping them, hints about their pages, writing them whole or not at all.

mod addresses;
mod allocator;
mod allowance;
mod atomic;
mod mapping;
mod passed;
mod region;
mod signals;
mod stdout;
mod unfinished;
mod written;

pub(crate) use addresses::addresses_left;
pub use addresses::threads_with_room;
pub use allocator::{EndWithoutMemory, may_fail};
pub use allowance::Allowance;
pub use atomic::{AtomicFile, write_private};
pub use mapping::{Advice, Mapping, mappable};
pub(crate) use mapping::{LARGE_PAGE, lock};
pub use passed::passed_sockets;
pub(crate) use region::{Piece, Region};
pub use signals::{Temporary, handle_signals, is_ignored};
pub use stdout::write_stdout;
pub use unfinished::Unfinished;
pub use written::or_lost_mapping;

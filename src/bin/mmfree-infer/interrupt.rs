//! Ctrl-C, a polite kill, a terminal that is closed.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use mmfree::storage::is_ignored;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use crate::failure::Failure;

/// Set by Ctrl-C, a polite kill or the end of the terminal; the second one ends the program at once.
#[derive(Clone)]
pub struct Interrupt {
    hit: Arc<AtomicBool>,
    signal: Arc<AtomicUsize>,
}

/// The one that is installed.
static CURRENT: OnceLock<Interrupt> = OnceLock::new();

impl Interrupt {
    /// From now on the signals set the flag, but for those that the program was started to ignore: `nohup` means it.
    pub fn install() -> Interrupt {
        let hit = Arc::new(AtomicBool::new(false));
        let number = Arc::new(AtomicUsize::new(0));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            if is_ignored(signal) {
                continue;
            }
            // Where it cannot be registered, the signal ends the program at once as it does anyway.
            let _ = flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&hit));
            let _ = flag::register_usize(signal, Arc::clone(&number), signal as usize);
            let _ = flag::register(signal, Arc::clone(&hit));
        }
        CURRENT.get_or_init(|| Interrupt { hit, signal: number }).clone()
    }

    /// The one that is installed, if one is.
    pub fn current() -> Option<&'static Interrupt> {
        CURRENT.get()
    }

    /// Whether a signal came.
    pub fn hit(&self) -> bool {
        self.hit.load(Ordering::Relaxed)
    }

    /// Break once a signal came.
    pub fn flow(&self) -> ControlFlow<()> {
        if self.hit() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// How the program ends for it.
    pub fn failure(&self) -> Failure {
        Failure::Interrupted(self.signal.load(Ordering::Relaxed) as u8)
    }
}

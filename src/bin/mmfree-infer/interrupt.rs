//! Ctrl-C.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::SIGINT;
use signal_hook::flag;

/// Set by Ctrl-C; a second Ctrl-C ends the program at once.
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on Ctrl-C sets the flag.
    pub fn install() -> Interrupt {
        let hit = Arc::new(AtomicBool::new(false));
        // Where it cannot be registered, Ctrl-C ends the program at once as it does anyway.
        let _ = flag::register_conditional_shutdown(SIGINT, 130, Arc::clone(&hit));
        let _ = flag::register(SIGINT, Arc::clone(&hit));
        Interrupt(hit)
    }

    /// Whether Ctrl-C came.
    pub fn hit(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Break once Ctrl-C came.
    pub fn flow(&self) -> ControlFlow<()> {
        if self.hit() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

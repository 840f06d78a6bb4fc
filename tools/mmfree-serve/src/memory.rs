//! How much memory the cache of prompts takes unless told otherwise, and how much all requests may hold together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mmfree::storage::Allowance;

/// What the cache takes at most, and where the system does not say what there is.
const CACHE: u64 = 2_000_000_000;
const CACHE_UNKNOWN: u64 = 100_000_000;

/// The same for requests.
const REQUESTS: u64 = 4_000_000_000;
const REQUESTS_UNKNOWN: u64 = 500_000_000;

/// An eighth of what this process may come to use.
pub fn cache() -> u64 {
    Allowance::now().map_or(CACHE_UNKNOWN, |allowance| (allowance.bytes / 8).min(CACHE))
}

/// A quarter of it.
pub fn requests() -> u64 {
    Allowance::now().map_or(REQUESTS_UNKNOWN, |allowance| (allowance.bytes / 4).min(REQUESTS))
}

/// Bytes that requests may hold together: their bodies, what is read of them, and what is kept of their answers. Limits of one
/// request alone add up, over as many as there are connections.
#[derive(Debug)]
pub struct Budget {
    most: u64,
    used: AtomicU64,
}

/// Why there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// Others hold what there is: it is worth while to come again.
    Busy,
    /// One request takes more than there is for all.
    Never {
        /// What it takes.
        bytes: u64,
        /// What there is.
        most: u64,
    },
}

/// Some of a budget's bytes, given back when this is dropped.
#[derive(Debug)]
pub struct Held {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Budget {
    pub fn new(most: u64) -> Arc<Budget> {
        Arc::new(Budget { most, used: AtomicU64::new(0) })
    }

    /// Bytes that are held now.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Holds so many bytes.
    ///
    /// # Errors
    /// [`Full`]; then none are held.
    pub fn hold(self: &Arc<Budget>, bytes: u64) -> Result<Held, Full> {
        let mut held = Held { budget: Arc::clone(self), bytes: 0 };
        held.resize(bytes)?;
        Ok(held)
    }
}

impl Held {
    /// What it holds.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Holds so many bytes in place of those before.
    ///
    /// # Errors
    /// [`Full`]; then as many are held as before.
    pub fn resize(&mut self, bytes: u64) -> Result<(), Full> {
        let Budget { most, used } = &*self.budget;
        if bytes > *most {
            return Err(Full::Never { bytes, most: *most });
        }
        let next = |used: u64| {
            let next = used - self.bytes + bytes;
            (bytes <= self.bytes || next <= *most).then_some(next)
        };
        used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).map_err(|_| Full::Busy)?;
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_never_exceeds_the_budget_and_is_given_back() {
        let budget = Budget::new(100);
        let mut one = budget.hold(60).unwrap();
        assert_eq!(budget.hold(41).unwrap_err(), Full::Busy);
        assert_eq!(budget.hold(101).unwrap_err(), Full::Never { bytes: 101, most: 100 });
        let two = budget.hold(40).unwrap();
        assert_eq!(one.resize(61), Err(Full::Busy));
        one.resize(10).unwrap();
        drop(two);
        one.resize(100).unwrap();
        drop(one);
        assert_eq!(budget.used(), 0);
    }
}

//! How much memory the cache of prompts takes unless told otherwise.

use mmfree::storage::Allowance;

/// What it takes at most, and where the system does not say what there is.
const MOST: u64 = 2_000_000_000;
const UNKNOWN: u64 = 100_000_000;

/// An eighth of what this process may come to use.
pub fn cache() -> u64 {
    Allowance::now().map_or(UNKNOWN, |allowance| (allowance.bytes / 8).min(MOST))
}

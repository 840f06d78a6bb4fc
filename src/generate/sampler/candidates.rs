//! The likeliest tokens, found without sorting the vocabulary.

use crate::kernels::sampling::rows::{BLOCK, order};

/// The index of the largest logit, the first one of equals.
pub fn likeliest(logits: &[f32], largest: &[i32]) -> usize {
    let most = largest.iter().copied().fold(i32::MIN, i32::max);
    let block = largest.iter().position(|&largest| largest == most).unwrap_or(0);
    let from = block * BLOCK;
    let within = logits[from..].iter().position(|&logit| order(logit) == most);
    from + within.unwrap_or(0)
}

/// Fills `list` with the `k` largest logits, `k` from 1 to all, in no order; on a tie it takes
/// those of lower ids.
pub fn likeliest_k(logits: &[f32], largest: &[i32], k: usize, list: &mut Vec<Candidate>) {
    // The k-th largest of the blocks' largest: at least k logits are as large, and all that are
    // stand in blocks whose largest is.
    let blocks = largest.len();
    let least = if k <= blocks {
        let mut largest = largest.to_vec();
        *largest.select_nth_unstable(blocks - k).1
    } else {
        i32::MIN
    };
    list.clear();
    for (b, block) in logits.chunks(BLOCK).enumerate() {
        if largest[b] >= least {
            let ids = (b * BLOCK) as u32..;
            let some = block.iter().map(|&x| order(x)).zip(ids).filter(|(x, _)| *x >= least);
            list.extend(some.map(|(x, id)| Candidate::new(x, id)));
        }
    }
    list.select_nth_unstable(k - 1);
    list.truncate(k);
}

/// A token and its order as one number: the likelier, the smaller, and on a tie the lower id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate(u64);

impl Candidate {
    /// The candidate of a token whose logit or weight has this [`order`].
    pub fn new(order: i32, id: u32) -> Candidate {
        // Rising from the largest integer to the smallest.
        let falling = !(order as u32 ^ 1 << 31);
        Candidate(u64::from(falling) << 32 | u64::from(id))
    }

    /// The token.
    pub fn id(self) -> u32 {
        self.0 as u32
    }
}

/// The candidate with which the sum of sizes, smallest candidates first, reaches `needed`.
pub fn reach(
    list: &mut [Candidate],
    mut needed: u64,
    size: impl Fn(Candidate) -> u64,
) -> Option<Candidate> {
    let mut rest = list;
    while rest.len() > BLOCK {
        let half = rest.len() / 2;
        rest.select_nth_unstable(half);
        let sum: u64 = rest[..half].iter().map(|&candidate| size(candidate)).sum();
        if sum >= needed {
            rest = &mut rest[..half];
        } else {
            needed -= sum;
            rest = &mut rest[half..];
        }
    }
    rest.sort_unstable();
    let mut sum = 0;
    rest.iter().copied().find(|&candidate| {
        sum += size(candidate);
        sum >= needed
    })
}

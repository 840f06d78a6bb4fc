//! States of prompts that have been read before: a tree of token ids, with states at some of its
//! nodes.

use std::collections::{BTreeMap, HashMap};

use super::scored::Scored;
use crate::error::Result;
use crate::model::State;

/// Tokens after which a long prompt leaves an entry, unless told otherwise.
const INTERVAL: usize = 1024;

/// What is remembered of sequences, so that one that begins like another need not be read again
/// from its start.
///
/// Exact: a state after some tokens is the same bits however it came about, so a hit changes no bit
/// of what follows. An entry costs its state, 4 bytes for each token that it shares with no other,
/// and some hundred bytes. Once all take more than the budget, the entries that were not used for
/// the longest time go.
///
/// Entries belong to a *space*, a number that those who may see each other's share: a hit shows in
/// the time an answer takes, and tells what others have asked.
#[derive(Debug)]
pub struct PrefixCache {
    budget: usize,
    used: usize,
    interval: usize,
    clock: u64,
    nodes: Vec<Option<Node>>,
    free: Vec<usize>,
    roots: HashMap<u64, usize>,
    /// The nodes with an entry, by when it was last used.
    order: BTreeMap<u64, usize>,
    counts: CacheCounts,
}

/// What a cache holds, and what became of the look-ups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheCounts {
    /// Entries.
    pub entries: usize,
    /// Bytes that they take.
    pub bytes: usize,
    /// Look-ups that found an entry.
    pub hits: u64,
    /// Look-ups that found none.
    pub misses: u64,
    /// Tokens that did not have to be read.
    pub tokens_saved: u64,
    /// Entries that had to go.
    pub evicted: u64,
}

/// What a look-up found.
#[derive(Clone, Debug)]
pub struct CacheHit {
    /// The state after the first tokens; [`State::position`] of them.
    pub state: State,
    /// Where they were asked for, the scores of these tokens and the next one, from the second of
    /// the sequence on.
    pub scores: Vec<Scored>,
}

#[derive(Debug)]
struct Node {
    parent: usize,
    /// The tokens between the parent and this.
    edge: Vec<u32>,
    /// The scores of those tokens, if all are known. The first token of a sequence has none.
    scores: Option<Vec<Scored>>,
    children: Vec<usize>,
    entry: Option<Entry>,
}

#[derive(Debug)]
struct Entry {
    state: State,
    /// When it was last used.
    time: u64,
    /// The token that came next when it was made, and its score: the state alone does not give it.
    next: Option<Scored>,
}

impl Node {
    fn bytes(&self) -> usize {
        let scores = self.scores.as_deref().unwrap_or_default();
        let entry = self.entry.as_ref().map_or(0, |entry| {
            entry.state.memory_len() + entry.next.as_ref().map_or(0, Scored::memory_len)
        });
        // Beside itself, its place in its parent's list and in the order of use.
        const LISTS: usize = 2 * size_of::<usize>() + 4 * size_of::<u64>();
        size_of::<Node>()
            + LISTS
            + size_of_val(&self.edge[..])
            + scores.iter().map(|score| size_of::<Scored>() + score.memory_len()).sum::<usize>()
            + entry
    }
}

/// How many tokens two sequences have in common at their beginning.
pub(super) fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

impl PrefixCache {
    /// An empty cache that takes `budget` bytes at most.
    pub fn new(budget: usize) -> PrefixCache {
        PrefixCache {
            budget,
            used: 0,
            interval: INTERVAL,
            clock: 0,
            nodes: Vec::new(),
            free: Vec::new(),
            roots: HashMap::new(),
            order: BTreeMap::new(),
            counts: CacheCounts::default(),
        }
    }

    /// Sets after how many tokens each a long prompt leaves an entry; at 0 never.
    pub fn set_interval(&mut self, tokens: usize) {
        self.interval = tokens;
    }

    /// After how many tokens each a long prompt leaves an entry.
    pub fn interval(&self) -> usize {
        self.interval
    }

    /// What it holds, and what became of the look-ups.
    pub fn counts(&self) -> CacheCounts {
        CacheCounts { entries: self.order.len(), bytes: self.used, ..self.counts }
    }

    /// The longest beginning of `ids` of which the state is known, but not all of them: at least
    /// one is left to be fed, to give logits. With `scores`, only one of which the scores are known
    /// too, each with that many of the likeliest tokens.
    pub fn find(&mut self, space: u64, ids: &[u32], scores: Option<usize>) -> Option<CacheHit> {
        let best = self.search(space, ids, scores);
        let Some((node, depth)) = best else {
            self.counts.misses += 1;
            return None;
        };
        self.touch(node);
        let entry = self.node(node).entry.as_ref()?;
        let mut hit = CacheHit { state: entry.state.clone(), scores: Vec::new() };
        if scores.is_some() {
            let mut parts = vec![entry.next.clone().into_iter().collect::<Vec<_>>()];
            let mut at = node;
            while !self.node(at).edge.is_empty() {
                parts.push(self.node(at).scores.clone().unwrap_or_default());
                at = self.node(at).parent;
            }
            // Without that of the very first token, which is none.
            hit.scores = parts.into_iter().rev().flatten().skip(1).collect();
        }
        self.counts.hits += 1;
        self.counts.tokens_saved += depth as u64;
        Some(hit)
    }

    /// How many tokens at the beginning of `ids` are those of a sequence that is known, whether or
    /// not there is a state.
    pub fn shared(&self, space: u64, ids: &[u32]) -> usize {
        let Some(&root) = self.roots.get(&space) else { return 0 };
        let (mut at, mut depth) = (root, 0);
        while let Some(child) = self.child(at, &ids[depth..]) {
            let shared = common(&self.node(child).edge, &ids[depth..]);
            depth += shared;
            if shared < self.node(child).edge.len() {
                break;
            }
            at = child;
        }
        depth
    }

    /// How many of the first tokens of `ids` a look-up would save, without one.
    pub fn find_len(&self, space: u64, ids: &[u32]) -> usize {
        self.search(space, ids, None).map_or(0, |(_, depth)| depth)
    }

    /// The node and the number of tokens of the longest beginning that serves.
    fn search(&self, space: u64, ids: &[u32], scores: Option<usize>) -> Option<(usize, usize)> {
        let serves = |score: &Scored| scores.is_none_or(|n| score.serves(n));
        let (mut at, mut depth, mut best) = (*self.roots.get(&space)?, 0, None);
        while let Some(child) = self.child(at, &ids[depth..]) {
            let node = self.node(child);
            depth += node.edge.len();
            let known = match (&node.scores, scores) {
                (_, None) => true,
                (Some(known), Some(_)) => {
                    known.iter().skip(usize::from(at == self.roots[&space])).all(serves)
                }
                (None, Some(_)) => false,
            };
            if depth >= ids.len() || ids[depth - node.edge.len()..depth] != node.edge || !known {
                break;
            }
            if let Some(entry) = &node.entry {
                let next = entry.next.as_ref().filter(|next| next.id == ids[depth]);
                if scores.is_none() || next.is_some_and(serves) {
                    best = Some((child, depth));
                }
            }
            at = child;
        }
        best
    }

    /// Remembers the state after the first [`State::position`] tokens of `ids`, unless that alone
    /// is more than the budget. With `scores`, those of these tokens from the second on are kept
    /// too, and that of the next one if it is known.
    ///
    /// # Errors
    /// As bringing the state to the host's memory, for one that lies on a GPU.
    ///
    /// # Panics
    /// If the state has seen more tokens than there are ids, or none.
    pub fn insert(
        &mut self,
        space: u64,
        ids: &[u32],
        state: &State,
        scores: Option<&[Scored]>,
    ) -> Result<()> {
        let depth = state.position() as usize;
        let path = &ids[..depth];
        assert!(depth > 0, "a state of no tokens");
        let state = state.on_host()?;
        // One that has no room alone would only drive out all others.
        let alone = |scores: Option<&[Scored]>| {
            let scores = scores.unwrap_or_default();
            let scores = scores.iter().map(|score| size_of::<Scored>() + score.memory_len());
            2 * size_of::<Node>()
                + state.memory_len()
                + size_of_val(path)
                + scores.take(depth).sum::<usize>()
        };
        let scores = scores.filter(|&scores| alone(Some(scores)) <= self.budget);
        if alone(scores) > self.budget {
            return Ok(());
        }
        let node = self.path(space, path, scores);
        let next = scores.and_then(|scores| scores.get(depth - 1)).cloned();
        let before = self.node(node).bytes();
        self.clock += 1;
        let time = self.clock;
        let old = self.node_mut(node).entry.take();
        // One that knows more of what comes next stays so.
        let next = next.or_else(|| old.as_ref().and_then(|old| old.next.clone()));
        if let Some(old) = old {
            self.order.remove(&old.time);
        }
        self.node_mut(node).entry = Some(Entry { state, time, next });
        self.order.insert(time, node);
        self.used = self.used - before + self.node(node).bytes();
        self.shrink();
        Ok(())
    }

    /// Drops the entries that were not used for the longest time, until the rest is within the
    /// budget.
    fn shrink(&mut self) {
        while self.used > self.budget
            && let Some((_, node)) = self.order.pop_first()
        {
            let before = self.node(node).bytes();
            self.node_mut(node).entry = None;
            self.used = self.used - before + self.node(node).bytes();
            self.counts.evicted += 1;
            self.prune(node);
        }
    }

    /// Drops all entries of a space.
    pub fn clear(&mut self, space: u64) {
        let Some(&root) = self.roots.get(&space) else { return };
        let mut below = vec![root];
        while let Some(at) = below.pop() {
            below.extend(&self.node(at).children);
            if let Some(entry) = &self.node(at).entry {
                let time = entry.time;
                self.order.remove(&time);
            }
            self.used -= self.node(at).bytes();
            self.nodes[at] = None;
            self.free.push(at);
        }
        self.roots.remove(&space);
    }

    /// The node at the end of a path, made where there is none.
    fn path(&mut self, space: u64, path: &[u32], scores: Option<&[Scored]>) -> usize {
        let mut at = match self.roots.get(&space) {
            Some(&root) => root,
            None => {
                let root = self.add(Node {
                    parent: usize::MAX,
                    edge: Vec::new(),
                    scores: None,
                    children: Vec::new(),
                    entry: None,
                });
                self.roots.insert(space, root);
                root
            }
        };
        // The first token has no score: a placeholder keeps the two in step.
        let part = |from: usize, to: usize| {
            let scores = scores.filter(|scores| scores.len() + 1 >= to)?;
            let one = |at: usize| match at.checked_sub(1) {
                Some(at) => scores[at].clone(),
                None => Scored::none(path[0]),
            };
            Some((from..to).map(one).collect::<Vec<_>>())
        };
        let mut depth = 0;
        while depth < path.len() {
            let Some(child) = self.child(at, &path[depth..]) else {
                let edge = path[depth..].to_vec();
                let scores = part(depth, path.len());
                let new = Node { parent: at, edge, scores, children: Vec::new(), entry: None };
                let new = self.add(new);
                self.node_mut(at).children.push(new);
                return new;
            };
            let shared = common(&self.node(child).edge, &path[depth..]);
            let child = if shared < self.node(child).edge.len() {
                self.split(child, shared)
            } else {
                child
            };
            depth += shared;
            if let Some(new) = part(depth - shared, depth) {
                // Those with more of the likeliest stay.
                let before = self.node(child).bytes();
                let node = self.node_mut(child);
                let fewer = |old: &[Scored]| {
                    old.iter().zip(&new).any(|(old, new)| old.likeliest.len() < new.likeliest.len())
                };
                if node.scores.as_deref().is_none_or(fewer) {
                    node.scores = Some(new);
                }
                self.used = self.used - before + self.node(child).bytes();
            }
            at = child;
        }
        at
    }

    /// Cuts the edge of a node after its first `len` tokens: the new node in between.
    fn split(&mut self, node: usize, len: usize) -> usize {
        self.used -= self.node(node).bytes();
        let lower = self.node_mut(node);
        let parent = lower.parent;
        // Of their own size, both: a buffer as long as the whole would cost what is not counted.
        let upper = lower.edge[..len].to_vec();
        lower.edge = lower.edge[len..].to_vec();
        let scores = lower.scores.take().map(|mut scores| {
            let rest = scores.split_off(len);
            scores.shrink_to_fit();
            lower.scores = Some(rest);
            scores
        });
        self.used += self.node(node).bytes();
        let new = self.add(Node { parent, edge: upper, scores, children: vec![node], entry: None });
        self.node_mut(node).parent = new;
        let siblings = &mut self.node_mut(parent).children;
        siblings.iter_mut().filter(|n| **n == node).for_each(|n| *n = new);
        new
    }

    /// Removes a node that has become of no use, and those above it that have.
    fn prune(&mut self, mut at: usize) {
        loop {
            let node = self.node(at);
            if node.entry.is_some() || node.children.len() > 1 {
                return;
            }
            let (parent, only) = (node.parent, node.children.first().copied());
            if node.edge.is_empty() {
                // A root: it goes with its last child.
                if only.is_none() {
                    self.roots.retain(|_, root| *root != at);
                    self.remove(at);
                }
                return;
            }
            match only {
                Some(child) => {
                    // Both edges become one.
                    self.used -= self.node(child).bytes();
                    let upper = self.remove(at);
                    let lower = self.node_mut(child);
                    lower.edge = [&upper.edge[..], &lower.edge].concat();
                    lower.scores = match (upper.scores, lower.scores.take()) {
                        (Some(upper), Some(lower)) => Some([upper, lower].concat()),
                        _ => None,
                    };
                    lower.parent = parent;
                    self.used += self.node(child).bytes();
                    let siblings = &mut self.node_mut(parent).children;
                    siblings.iter_mut().filter(|n| **n == at).for_each(|n| *n = child);
                    return;
                }
                None => {
                    self.remove(at);
                    self.node_mut(parent).children.retain(|n| *n != at);
                    at = parent;
                }
            }
        }
    }

    /// The child whose edge begins as `ids` does.
    fn child(&self, at: usize, ids: &[u32]) -> Option<usize> {
        let first = ids.first()?;
        let mut children = self.node(at).children.iter().copied();
        children.find(|&child| self.node(child).edge.first() == Some(first))
    }

    fn touch(&mut self, node: usize) {
        self.clock += 1;
        let time = self.clock;
        if let Some(entry) = &mut self.node_mut(node).entry {
            let old = std::mem::replace(&mut entry.time, time);
            self.order.remove(&old);
            self.order.insert(time, node);
        }
    }

    fn add(&mut self, node: Node) -> usize {
        self.used += node.bytes();
        match self.free.pop() {
            Some(at) => {
                self.nodes[at] = Some(node);
                at
            }
            None => {
                self.nodes.push(Some(node));
                self.nodes.len() - 1
            }
        }
    }

    fn remove(&mut self, at: usize) -> Node {
        let node = self.nodes[at].take().expect("a node is removed once");
        self.used -= node.bytes();
        self.free.push(at);
        node
    }

    fn node(&self, at: usize) -> &Node {
        self.nodes[at].as_ref().expect("links lead to nodes that are there")
    }

    fn node_mut(&mut self, at: usize) -> &mut Node {
        self.nodes[at].as_mut().expect("links lead to nodes that are there")
    }
}

//! What the `t5` kernels of every architecture share: where a strip's bytes are, and the dot
//! kernels' order of activations.

use std::ops::{Range, RangeInclusive};

use super::Job;
use crate::packing::{PackedMatrix, STRIP, t5};

/// Group-quads: four neighbouring groups, 20 columns, whose bytes a dot kernel puts side by side to
/// get, for each of the five trits of a byte, a quad of codes for a 4-wide dot product.
pub(super) const QUAD_GROUPS: usize = 4;

/// Columns of a group-quad.
pub(super) const QUAD_COLS: usize = QUAD_GROUPS * t5::GROUP;

/// A strip of a matrix.
#[derive(Clone, Copy)]
pub(super) struct Strip<'a> {
    bytes: &'a [u8],
    layout: t5::Layout,
    strip: usize,
}

impl<'a> Strip<'a> {
    pub(super) fn new(matrix: &PackedMatrix<'a>, strip: usize) -> Strip<'a> {
        Strip {
            bytes: matrix.bytes(),
            layout: t5::Layout::new(matrix.rows(), matrix.cols()),
            strip,
        }
    }

    /// Groups of a row.
    pub(super) fn groups(&self) -> usize {
        self.layout.groups
    }

    /// The bytes of a group; zeros past the last one.
    pub(super) fn group(&self, group: usize) -> &'a [u8; STRIP] {
        if group >= self.layout.groups {
            return &[0; STRIP];
        }
        let at = self.layout.group_offset(self.strip, group);
        self.bytes[at..].first_chunk().expect("a group inside the tensor")
    }

    /// The bytes of some groups from `first` on; zeros past the last one. Faster than [`group`](Self::group) for each.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    pub(super) fn groups_from<const N: usize>(&self, first: usize) -> [&'a [u8; STRIP]; N] {
        let mut groups = [&[0; STRIP]; N];
        let width = self.layout.block_strips(self.strip / t5::STRIPS_PER_BLOCK);
        let end = self.layout.groups.saturating_sub(first).min(N);
        let mut done = 0;
        while done < end {
            let in_panel = t5::PANEL - (first + done) % t5::PANEL;
            let panel_end = end.min(done + in_panel);
            let bytes = &self.bytes[self.layout.group_offset(self.strip, first + done)..];
            for (i, group) in groups[done..panel_end].iter_mut().enumerate() {
                *group =
                    bytes[i * width * STRIP..].first_chunk().expect("a group inside the tensor");
            }
            done = panel_end;
        }
        groups
    }

    /// Distance in bytes from a group to that of the strip `by` further, in the panel of `group`; about, where a block
    /// that is not whole lies between.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn bytes_to_strip_after(&self, by: usize, group: usize) -> usize {
        let width = self.layout.block_strips(self.strip / t5::STRIPS_PER_BLOCK);
        let blocks = (self.strip % t5::STRIPS_PER_BLOCK + by) / width;
        let panel = self.layout.panel_groups(group / t5::PANEL);
        (by + blocks * (panel - 1) * width) * STRIP
    }

    /// The row constants, as stored.
    pub(super) fn constants(&self) -> [i32; STRIP] {
        let at = self.layout.constants_offset() + 2 * STRIP * self.strip;
        let constants = self.bytes[at..].as_chunks::<2>().0;
        std::array::from_fn(|r| i32::from(u16::from_le_bytes(constants[r])))
    }

    /// The row constants less the number of bytes with bit 7 set: what the sums of a kernel that
    /// negates by `-x`, not `!x`, lack. Zero in a valid file. Inlined, to be compiled for the
    /// caller's instruction set.
    #[inline]
    pub(super) fn corrections(&self) -> [i32; STRIP] {
        let mut corrections = self.constants();
        let mut group = 0;
        while group < self.groups() {
            // At most 255, the most that a count can hold.
            let end = (group + 255).min(self.groups());
            let mut negative = [0u8; STRIP];
            while group < end {
                for (count, byte) in negative.iter_mut().zip(self.group(group)) {
                    *count += byte >> 7;
                }
                group += 1;
            }
            for (correction, count) in corrections.iter_mut().zip(negative) {
                *correction -= i32::from(count);
            }
        }
        corrections
    }
}

/// The blocks of a job, in the order in which the look-up kernels go through them and in which they
/// lie in memory: panel by panel, in a panel block by block.
pub(super) struct Walk<'j, 'a> {
    job: &'j Job<'a>,
    layout: t5::Layout,
    /// Where the job's stretch begins and ends.
    start: Place,
    end: Place,
}

/// A place in the order of the walk: before a group of a block of a panel. Blocks are counted from the job's first.
#[derive(Clone, Copy)]
struct Place {
    panel: usize,
    block: usize,
    group: usize,
}

/// Some strips of a block in a panel.
#[derive(Clone)]
pub(super) struct Block<'a> {
    /// Strips that are meant.
    pub strips: usize,
    /// The first row that is meant, counted from the job's.
    pub row: usize,
    /// Groups of the panel that are meant.
    #[cfg(target_arch = "x86_64")]
    pub groups: Range<usize>,
    /// Strips of the block.
    width: usize,
    /// The first strip that is meant, counted from the block's.
    first: usize,
    /// The bytes from the block's first on, as far as the walk goes on without a gap.
    run: &'a [u8],
    /// What the walk comes to behind the gap.
    next: &'a [u8],
}

impl<'a> Block<'a> {
    /// The bytes of a group: `N` strips, as many as are meant.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn group<const N: usize>(&self, group: usize) -> &'a [[u8; STRIP]; N] {
        let from = (group * self.width + self.first) * STRIP;
        let strips = self.run[from..from + N * STRIP].as_chunks().0;
        strips.try_into().expect("N strips")
    }

    /// The bytes of a group and a strip, counted from the first that is meant.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn strip(&self, group: usize, strip: usize) -> &'a [u8; STRIP] {
        let from = (group * self.width + self.first + strip) * STRIP;
        self.run[from..].first_chunk().expect("a strip of bytes")
    }

    /// The bytes from a group and a strip on, and the distance of groups.
    #[cfg(target_arch = "aarch64")]
    #[inline(always)]
    pub(super) fn bytes_from(&self, group: usize, strip: usize) -> (&'a [u8], usize) {
        let from = (group * self.width + self.first + strip) * STRIP;
        (&self.run[from..], self.width * STRIP)
    }

    /// Where in the order of the walk the byte stands that comes `distance` bytes behind a group's
    /// first.
    #[inline(always)]
    pub(super) fn ahead(&self, group: usize, distance: usize) -> (&'a [u8], usize) {
        let at = (group * self.width + self.first) * STRIP + distance;
        if at < self.run.len() { (self.run, at) } else { (self.next, at - self.run.len()) }
    }
}

impl<'j, 'a> Walk<'j, 'a> {
    #[inline]
    pub(super) fn new(job: &'j Job<'a>) -> Walk<'j, 'a> {
        let matrix = job.matrix();
        let layout = t5::Layout::new(matrix.rows(), matrix.cols());
        let (whole, start) =
            (layout.groups.div_ceil(t5::PANEL), Place { panel: 0, block: 0, group: 0 });
        let mut walk = Walk { job, layout, start, end: Place { panel: whole, ..start } };
        if !job.is_whole() {
            let Range { start, end } = job.stretch();
            (walk.start, walk.end) = (walk.place(start), walk.place(end));
        }
        walk
    }

    /// The place that so many lines lie before, or the last one that fewer do.
    fn place(&self, line: usize) -> Place {
        let strips = self.job.strips().len();
        // All panels but the last are as wide as the first.
        let panel = line / (t5::PANEL * strips);
        let mut rest = line - panel * t5::PANEL * strips;
        let place = |block, group| Place { panel, block, group };
        if panel * t5::PANEL >= self.layout.groups {
            return place(0, 0);
        }
        let groups = self.layout.panel_groups(panel);
        if rest >= groups * strips {
            return Place { panel: panel + 1, block: 0, group: 0 };
        }
        let mut block = 0;
        loop {
            let (_, strips) = self.strips(block);
            if rest < groups * strips {
                return place(block, rest / strips);
            }
            rest -= groups * strips;
            block += 1;
        }
    }

    /// The strips of a block that are meant, the first counted from the block's.
    #[inline]
    fn strips(&self, block: usize) -> (usize, usize) {
        let Range { start, end } = self.job.strips();
        let block = start / t5::STRIPS_PER_BLOCK + block;
        let from = block * t5::STRIPS_PER_BLOCK;
        let first = start.max(from) - from;
        (first, (end - from).min(self.layout.block_strips(block)) - first)
    }

    /// The panels that the job's stretch has a part of.
    #[inline]
    pub(super) fn panels(&self) -> Range<usize> {
        self.start.panel..self.end.panel + usize::from(self.end.block > 0 || self.end.group > 0)
    }

    /// The blocks of a panel that the stretch has a part of: first and last, counted from the job's first.
    #[inline]
    fn blocks_in(&self, panel: usize) -> (usize, usize) {
        let Range { start, end } = self.job.strips();
        let first = if panel == self.start.panel { self.start.block } else { 0 };
        let last = match panel == self.end.panel {
            true => self.end.block - usize::from(self.end.group == 0),
            false => (end - 1) / t5::STRIPS_PER_BLOCK - start / t5::STRIPS_PER_BLOCK,
        };
        (first, last)
    }

    /// The groups of a block of a panel that the stretch has.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    fn groups_of(&self, panel: usize, block: usize) -> Range<usize> {
        let (start, end) = (self.start, self.end);
        let from = if (panel, block) == (start.panel, start.block) { start.group } else { 0 };
        let groups = self.layout.panel_groups(panel);
        from..if (panel, block) == (end.panel, end.block) { end.group } else { groups }
    }

    /// The groups of a panel that the stretch has in any block.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    pub(super) fn groups(&self, panel: usize) -> Range<usize> {
        match self.blocks_in(panel) {
            (first, last) if first == last => self.groups_of(panel, first),
            _ => 0..self.layout.panel_groups(panel),
        }
    }

    /// The blocks of a panel that the job has strips of, as far as its stretch goes; counted from the job's first.
    #[inline]
    pub(super) fn blocks(&self, panel: usize) -> RangeInclusive<usize> {
        let (first, last) = self.blocks_in(panel);
        first..=last
    }

    /// A block of a panel. Asks for a share of what the job reads aside.
    #[inline(always)]
    pub(super) fn block(&self, panel: usize, block: usize) -> Block<'a> {
        let Range { start, end } = self.job.strips();
        let bytes = self.job.matrix().bytes();
        let first_block = start / t5::STRIPS_PER_BLOCK;
        let end_block = end.div_ceil(t5::STRIPS_PER_BLOCK);
        let panels = self.panels();
        // Where the run of bytes ends: with the panel or the stretch. Behind the last panel stand the row constants, and
        // from there on it is the next job's.
        let run_end = match panel == self.end.panel {
            true => {
                let block = first_block + self.end.block;
                let groups = self.end.group * self.layout.block_strips(block);
                self.offset(panel, block) + groups * STRIP
            }
            false => self.offset(panel, end_block),
        };
        let next = match panel + 1 < panels.end {
            true => &bytes[self.offset(panel + 1, first_block)..],
            false => self.job.next(),
        };
        let blocks = end_block - first_block;
        let number = |place: &Place| place.panel * blocks + place.block;
        let first = number(&self.start);
        let of = number(&self.end) + usize::from(self.end.group > 0) - first;
        self.job.fetch_aside(panel * blocks + block - first, of.max(1));
        let (first, strips) = self.strips(block);
        Block {
            strips,
            row: ((first_block + block) * t5::STRIPS_PER_BLOCK + first - start) * STRIP,
            #[cfg(target_arch = "x86_64")]
            groups: self.groups_of(panel, block),
            width: self.layout.block_strips(first_block + block),
            first,
            run: &bytes[self.offset(panel, first_block + block)..run_end],
            next,
        }
    }

    /// The constants of a block's rows that are meant, two bytes each.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    pub(super) fn constants(&self, block: &Block<'_>) -> &'a [u8] {
        let row = self.job.strips().start * STRIP + block.row;
        let at = self.layout.constants_offset() + 2 * row;
        &self.job.matrix().bytes()[at..][..2 * block.strips * STRIP]
    }

    /// Where a block begins, or where the panel ends.
    #[inline]
    fn offset(&self, panel: usize, block: usize) -> usize {
        let strips = (block * t5::STRIPS_PER_BLOCK).min(self.layout.strips);
        panel * t5::PANEL * self.layout.strips * STRIP
            + strips * STRIP * self.layout.panel_groups(panel)
    }
}

/// The activations of a group; zeros past the last one.
#[inline]
pub(super) fn group_of(q: &[i8], group: usize) -> [i8; t5::GROUP] {
    let from = group * t5::GROUP;
    match q.get(from..).and_then(|q| q.first_chunk()) {
        Some(q) => *q,
        None => std::array::from_fn(|i| q.get(from + i).copied().unwrap_or(0)),
    }
}

/// Bytes of a row of `cols` activations in the dot kernels' order.
pub(super) fn quads_len(cols: usize) -> usize {
    (cols.div_ceil(QUAD_COLS) * QUAD_COLS).next_multiple_of(64)
}

/// Puts a row of activations in the dot kernels' order: for each group-quad, the first activation
/// of each of the four groups, then the second of each, and so on.
pub(super) fn prepare_quads(q: &[i8], out: &mut [u8]) {
    for (at, out) in out.chunks_mut(QUAD_COLS).enumerate() {
        let from = at * QUAD_COLS;
        if let (Some(q), Ok(out)) =
            (q.get(from..from + QUAD_COLS), <&mut [u8; QUAD_COLS]>::try_from(&mut *out))
        {
            for d in 0..t5::GROUP {
                for g in 0..QUAD_GROUPS {
                    out[QUAD_GROUPS * d + g] = q[t5::GROUP * g + d] as u8;
                }
            }
            continue;
        }
        for (i, out) in out.iter_mut().enumerate() {
            let col = from + i % QUAD_GROUPS * t5::GROUP + i / QUAD_GROUPS;
            *out = q.get(col).map_or(0, |&q| q as u8);
        }
    }
}

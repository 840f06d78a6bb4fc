//! `t5`: five trits a byte, 1.6 bits per weight.
//!
//! Columns come in groups of [`GROUP`] = 5, the last one filled up with zero trits. A group of a row
//! is the number `v = t0 + 3 t1 + 9 t2 + 27 t3 + 81 t4` in -121..=121, stored as one byte: `|v|` in bits 0-6
//! and, where `v < 0`, bit 7. `|v|` indexes a table of the 122 sums that five activations can make; a
//! set bit 7 negates the entry.
//!
//! Kernels negate by `!x = -x - 1`, which leaves every negated entry one too small; so the tensor
//! ends with a *row constant* for each row, the number of its bytes with bit 7 set, which kernels add to the
//! row's sum. It is used as stored, and entries 122 to 127 of the table are zero: so any bytes whatever
//! give the same integer in every kernel.
//!
//! Groups come in panels of [`PANEL`] = 50 (250 columns), so that the tables of a panel stay in the
//! L1 cache; the last panel is as short as it is. Strips come in blocks of [`STRIPS_PER_BLOCK`] = 8 (512 rows);
//! the last block has the strips that are left. The tensor is panel after panel; in a panel, block after
//! block; in a block, group after group; in a group, the bytes of the block's rows. Behind the last panel stand
//! the row constants, a little-endian u16 for each row of the padded strips.

use std::ops::Range;

use super::{PackedMatrix, STRIP};

/// Columns in a group, trits in a byte.
pub const GROUP: usize = 5;

/// Groups in a panel. An int16 lane can add 51 table entries of at most 5 * 127 + 1 = 636.
pub const PANEL: usize = 50;

/// Strips in a block.
pub const STRIPS_PER_BLOCK: usize = 8;

/// Entries of the half table that a byte can index.
pub const TABLE: usize = 128;

/// The trits of each table entry; entries that no packer writes are zero.
pub const TRITS: [[i8; GROUP]; TABLE] = {
    let mut table = [[0i8; GROUP]; TABLE];
    let mut v = 0;
    while v <= 121 {
        let (mut rest, mut i) = (v as i32, 0);
        while i < GROUP {
            // Balanced ternary: the digit is the remainder in -1..=1.
            let digit = (rest + 1) % 3 - 1;
            table[v][i] = digit as i8;
            rest = (rest - digit) / 3;
            i += 1;
        }
        v += 1;
    }
    table
};

/// Where things stand in the packed tensor of a matrix `[rows, cols]`.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Strips of the matrix.
    pub strips: usize,
    /// Groups of a row.
    pub groups: usize,
}

impl Layout {
    /// The layout of a matrix `[rows, cols]`.
    pub fn new(rows: usize, cols: usize) -> Self {
        Self { strips: rows.div_ceil(STRIP), groups: cols.div_ceil(GROUP) }
    }

    /// Groups of panel `panel`.
    pub fn panel_groups(&self, panel: usize) -> usize {
        (self.groups - panel * PANEL).min(PANEL)
    }

    /// Strips of block `block`.
    pub fn block_strips(&self, block: usize) -> usize {
        (self.strips - block * STRIPS_PER_BLOCK).min(STRIPS_PER_BLOCK)
    }

    /// Offset of the first byte of block `block` in panel `panel`. Group `g` of the panel and strip `s` of
    /// the block follow at `(g * block_strips(block) + s) * STRIP`.
    pub fn block_offset(&self, panel: usize, block: usize) -> usize {
        panel * PANEL * self.strips * STRIP
            + block * STRIPS_PER_BLOCK * STRIP * self.panel_groups(panel)
    }

    /// Offset of the row constants.
    pub fn constants_offset(&self) -> usize {
        self.strips * STRIP * self.groups
    }

    /// Offset of the [`STRIP`] bytes of group `group`, counted over all panels, in strip `strip`.
    pub fn group_offset(&self, strip: usize, group: usize) -> usize {
        let (panel, block) = (group / PANEL, strip / STRIPS_PER_BLOCK);
        self.block_offset(panel, block)
            + (group % PANEL * self.block_strips(block) + strip % STRIPS_PER_BLOCK) * STRIP
    }

    /// Offset of the line of [`STRIP`] bytes that `line` others come before among those of some strips, in the tensor's order.
    /// It is that of its group's first strip; one past the last line is given the last group.
    pub fn line_offset(&self, strips: Range<usize>, line: usize) -> usize {
        let last = self.groups.saturating_sub(1) / PANEL;
        let panel = (line / (PANEL * strips.len())).min(last);
        let groups = self.panel_groups(panel);
        let mut rest = line - panel * PANEL * strips.len();
        let mut from = strips.start;
        loop {
            let to = strips.end.min((from / STRIPS_PER_BLOCK + 1) * STRIPS_PER_BLOCK);
            if rest < groups * (to - from) || to == strips.end {
                let group = (rest / (to - from)).min(groups.saturating_sub(1));
                return self.group_offset(from, panel * PANEL + group);
            }
            rest -= groups * (to - from);
            from = to;
        }
    }

    /// Offset of the byte of row `row` and group `group`.
    fn byte_offset(&self, row: usize, group: usize) -> usize {
        self.group_offset(row / STRIP, group) + row % STRIP
    }
}

pub(super) fn packed_len(rows: usize, cols: usize) -> Option<usize> {
    rows.div_ceil(STRIP).checked_mul(STRIP)?.checked_mul(cols.div_ceil(GROUP) + 2)
}

fn encode(trits: &[i8]) -> u8 {
    let v = trits.iter().rev().fold(0, |v, &trit| 3 * v + i32::from(trit));
    v.unsigned_abs() as u8 | u8::from(v < 0) << 7
}

pub(super) fn pack(
    rows: usize,
    cols: usize,
    first_strip: usize,
    trits: &[i8],
    put: &mut dyn FnMut(usize, &[u8]),
) {
    let layout = Layout::new(rows, cols);
    let mut packed = Vec::new();
    for (i, rows) in trits.chunks(STRIPS_PER_BLOCK * STRIP * cols).enumerate() {
        let block = first_strip / STRIPS_PER_BLOCK + i;
        let width = layout.block_strips(block) * STRIP;
        let mut constants = vec![0u16; width];
        for panel in 0..layout.groups.div_ceil(PANEL) {
            packed.clear();
            packed.resize(layout.panel_groups(panel) * width, 0);
            for (r, row) in rows.chunks(cols).enumerate() {
                let panel_cols = &row[panel * PANEL * GROUP..];
                for (g, group) in panel_cols.chunks(GROUP).take(PANEL).enumerate() {
                    let byte = encode(group);
                    packed[g * width + r] = byte;
                    constants[r] += u16::from(byte >> 7);
                }
            }
            put(layout.block_offset(panel, block), &packed);
        }
        packed.clear();
        packed.extend(constants.iter().flat_map(|constant| constant.to_le_bytes()));
        let first_row = block * STRIPS_PER_BLOCK * STRIP;
        put(layout.constants_offset() + 2 * first_row, &packed);
    }
}

/// An invalid code unpacks as zero trits, which is what its table entry holds.
pub(super) fn unpack_row(matrix: &PackedMatrix<'_>, row: usize, out: &mut [i8]) {
    let layout = Layout::new(matrix.rows, matrix.cols);
    let width = layout.block_strips(row / STRIP / STRIPS_PER_BLOCK) * STRIP;
    for (panel, out) in out.chunks_mut(PANEL * GROUP).enumerate() {
        let bytes = &matrix.bytes[layout.byte_offset(row, panel * PANEL)..];
        for (&byte, out) in bytes.iter().step_by(width).zip(out.chunks_mut(GROUP)) {
            let trits = &TRITS[usize::from(byte & 0x7F)];
            for (value, &trit) in out.iter_mut().zip(trits) {
                *value = if byte < 0x80 { trit } else { -trit };
            }
        }
    }
}

pub(super) fn first_invalid(matrix: &PackedMatrix<'_>) -> Option<usize> {
    let layout = Layout::new(matrix.rows, matrix.cols);
    let mut first: Option<usize> = None;
    let mut found = |at: usize| first = Some(first.map_or(at, |first| first.min(at)));
    for row in 0..layout.strips * STRIP {
        let mut negative = 0u32;
        for group in 0..layout.groups {
            let at = layout.byte_offset(row, group);
            let byte = matrix.bytes[at];
            negative += u32::from(byte >> 7);
            // Trits past the last column or row are zero: there |v| has no high digits.
            let live = if row < matrix.rows { (matrix.cols - group * GROUP).min(GROUP) } else { 0 };
            let bound = [0, 1, 4, 13, 40, 121][live];
            if byte & 0x7F > bound || byte == 0x80 {
                found(at);
            }
        }
        let at = layout.constants_offset() + 2 * row;
        if u32::from(u16::from_le_bytes([matrix.bytes[at], matrix.bytes[at + 1]])) != negative {
            found(at);
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_in_the_order_in_which_they_lie() {
        for (rows, cols) in [(64, 5), (1000, 249), (1024, 1024), (1500, 777)] {
            let layout = Layout::new(rows, cols);
            for strips in [0..layout.strips, 0..1, layout.strips / 3..layout.strips] {
                let mut line = 0;
                for panel in 0..layout.groups.div_ceil(PANEL) {
                    for block in
                        strips.start / STRIPS_PER_BLOCK..strips.end.div_ceil(STRIPS_PER_BLOCK)
                    {
                        let first = strips.start.max(block * STRIPS_PER_BLOCK);
                        let here = strips.end.min((block + 1) * STRIPS_PER_BLOCK) - first;
                        for group in panel * PANEL..layout.groups.min((panel + 1) * PANEL) {
                            let offset = layout.group_offset(first, group);
                            for line in line..line + here {
                                assert_eq!(layout.line_offset(strips.clone(), line), offset);
                            }
                            line += here;
                        }
                    }
                }
                assert_eq!(line, strips.len() * layout.groups);
                let end = layout.line_offset(strips.clone(), line);
                assert_eq!(end, layout.line_offset(strips, line - 1));
            }
        }
    }

    #[test]
    fn the_table_is_balanced_ternary() {
        for (v, trits) in TRITS.iter().enumerate() {
            let value = trits.iter().rev().fold(0i32, |v, &t| 3 * v + i32::from(t));
            assert_eq!(value, if v <= 121 { v as i32 } else { 0 });
            assert!(trits.iter().all(|t| (-1..=1).contains(t)));
            if v <= 121 {
                assert_eq!(usize::from(encode(trits)), v);
            }
        }
    }
}

// Trits of the packings of docs/FORMAT.md, one at a time. A test compiles this file for the host
// too, as C, and holds it against the library's own unpacking.

// Rows of a strip, strips of a block, groups of a panel: as src/packing has them.
#define STRIP 64
#define STRIPS_PER_BLOCK 8
#define PANEL 50

// The code of a trit in an i2 matrix; the invalid code 3 counts as +2, as on the CPU.
__device__ __forceinline__ u32 code_i2(const u8* src, int cols, int row, int col) {
    u64 strip = (u64)((cols + 15) / 16) * 256;
    u8 byte = src[row / 64 * strip + col / 16 * 256 + 4 * (row % 64) + col % 4];
    return byte >> (col % 16 / 4 * 2) & 3;
}

// Where the byte of a row and a group stands in a t5 matrix.
__device__ __forceinline__ u64 offset_t5(int strips, int groups, int row, int group) {
    int panel = group / PANEL, strip = row / STRIP, block = strip / STRIPS_PER_BLOCK;
    u64 panel_groups = min(groups - panel * PANEL, PANEL);
    u64 block_strips = min(strips - block * STRIPS_PER_BLOCK, STRIPS_PER_BLOCK);
    return (u64)panel * PANEL * strips * STRIP +
           (u64)block * STRIPS_PER_BLOCK * STRIP * panel_groups +
           (group % PANEL * block_strips + strip % STRIPS_PER_BLOCK) * STRIP + row % STRIP;
}

// The code of a trit in a t5 matrix; bytes that no packer writes are zero trits, as on the CPU.
__device__ __forceinline__ u32 code_t5(const u8* src, int strips, int groups, int row, int col) {
    u8 byte = src[offset_t5(strips, groups, row, col / 5)];
    int rest = byte & 127;
    if (rest > 121) return 1;
    int digit = 0;
    for (int i = 0; i <= col % 5; i++) {
        digit = (rest + 1) % 3 - 1;
        rest = (rest - digit) / 3;
    }
    return 1 + (byte & 128 ? -digit : digit);
}

// Packed matrices re-laid for the GPU, once, after their upload. Either packing becomes the same
// layout: tiles of 8 rows x 256 columns, 512 bytes, the first 128 columns first. In a half, lane l
// = 4 g + t of a warp owns 8 bytes, one word for each k in 0..2; bits 8 b + 2 s of the word hold
// the code (trit plus one) of row g and column 64 k + 16 s + 4 t + b. That is the order of the
// operands of mma.m16n8k32, and of dp4a. Rows and columns past the matrix are zero trits.

// One word a thread. Rows `first` to `last` of the source matrix [all_rows, cols] become matrix
// number `matrix` of [tiles][matrices][chunks] tiles.
extern "C" __global__ void relay(const u8* src, u32* out, int t5, int all_rows, int cols, int first,
                                 int last, int tiles, int chunks, int matrices,
                                 int matrix) {
    u64 at = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= (u64)tiles * chunks * 128) return;
    int k = at & 1, lane = at >> 1 & 31, half = at >> 6 & 1;
    int chunk = (at >> 7) % chunks, tile = (at >> 7) / chunks;
    int strips = (all_rows + 63) / 64, groups = (cols + 4) / 5;
    u32 word = 0;
    int row = first + tile * 8 + lane / 4;
    for (int s = 0; s < 4; s++) {
        for (int b = 0; b < 4; b++) {
            int col = chunk * 256 + half * 128 + k * 64 + s * 16 + lane % 4 * 4 + b;
            u32 code = 1;
            if (row < last && col < cols)
                code = t5 ? code_t5(src, strips, groups, row, col) : code_i2(src, cols, row, col);
            word |= code << (8 * b + 2 * s);
        }
    }
    out[((u64)(tile * matrices + matrix) * chunks + chunk) * 128 + (at & 127)] = word;
}

// Whether each row constant of a t5 matrix is the number of the row's negative bytes; `wrong` takes
// the first row where not.
extern "C" __global__ void check_t5(const u8* src, int rows, int cols, u32* wrong) {
    int row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= rows) return;
    int strips = (rows + 63) / 64, groups = (cols + 4) / 5;
    u32 count = 0;
    for (int g = 0; g < groups; g++) count += src[offset_t5(strips, groups, row, g)] >> 7;
    const u8* constants = src + (u64)strips * 64 * groups;
    u32 stored = constants[2 * row] | constants[2 * row + 1] << 8;
    if (stored != (count & 0xffff)) atomicMin(wrong, (u32)row);
}

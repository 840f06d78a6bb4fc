// Products of a block's tiles with the quantised row.

// Sums that a thread has.
#if __CUDA_ARCH__ >= 800
#define SUMS 16
#else
#define SUMS 4
#endif

// A tile of codes and the words of the row, or rows, that belong to it.
struct Operands {
    uint4 codes, lo, hi;
#if __CUDA_ARCH__ < 800
    uint4 lo_last, hi_last;
#endif
};

__device__ __forceinline__ void get(Operands& o, const uint4* tile, const uint4* q) {
    o.codes = *tile;
    o.lo = q[0], o.hi = q[1];
#if __CUDA_ARCH__ < 800
    const uint4* last = q + (ROWS_WORDS + 4) / 4;
    o.lo_last = last[0], o.hi_last = last[1];
#endif
}

// Adds the products of a tile, 16 rows, 128 columns. The codes are masked where they stand, so that those of bits 2, 4 and 6
// count 4-, 16- and 64-fold.
__device__ __forceinline__ void add_tile(const Operands& o, int* sum) {
    const u32 words[4] = {o.codes.x, o.codes.y, o.codes.z, o.codes.w}, mask = 0x03030303u;
#if __CUDA_ARCH__ >= 800
    // Of the eight columns of sums two are wanted: with the first sixteen columns of the row, and with the last. Each k has sums
    // of its own, so that none waits for the one before.
    const u32 b[4][2] = {{o.lo.x, o.lo.y}, {o.lo.z, o.lo.w}, {o.hi.x, o.hi.y}, {o.hi.z, o.hi.w}};
#pragma unroll
    for (int k = 0; k < 4; k++) {
        const u32 a[4] = {words[k] & mask, words[k] & mask << 2, words[k] & mask << 4, words[k] & mask << 6};
        mma(sum + 4 * k, a, b[k][0], b[k][1]);
    }
#else
    const u32 b[4][2] = {{o.lo.x, o.lo_last.y}, {o.lo.z, o.lo_last.w}, {o.hi.x, o.hi_last.y}, {o.hi.z, o.hi_last.w}};
#pragma unroll
    for (int k = 0; k < 4; k++)
#pragma unroll
        for (int s = 0; s < 4; s++) sum[s] = dot4_unsigned(words[k] & mask << 2 * s, b[k][s >> 1], sum[s]);
#endif
}

// Adds a warp's sums to those of a row of tiles. The shifts undo the masks' factors without a remainder.
__device__ __forceinline__ void add_sums(int* sum, int* acc) {
#if __CUDA_ARCH__ >= 800
#pragma unroll
    for (int i = 0; i < 4; i++) sum[i] = sum[i] + sum[i + 4] + (sum[i + 8] + sum[i + 12]);
    int lower = sum[0] + (sum[1] >> 4), upper = (sum[2] >> 2) + (sum[3] >> 6);
#else
    int lower = sum[0] + (sum[2] >> 4), upper = (sum[1] >> 2) + (sum[3] >> 6);
    lower += __shfl_xor_sync(0xffffffffu, lower, 1);
    upper += __shfl_xor_sync(0xffffffffu, upper, 1);
    lower += __shfl_xor_sync(0xffffffffu, lower, 2);
    upper += __shfl_xor_sync(0xffffffffu, upper, 2);
#endif
    int lane = threadIdx.x & 31;
    if ((lane & 3) == 0) {
        atomicAdd(acc + (lane >> 2), lower);
        atomicAdd(acc + (lane >> 2) + 8, upper);
    }
#pragma unroll
    for (int i = 0; i < SUMS; i++) sum[i] = 0;
}

// The products of the next `count` tiles of the ring's lane with the quantised rows, from place `from` on. The first is tile
// `chunk` of `chunks` of a row of them, whose sums `acc` takes, 16, and behind them those of the next rows. `apart` is what the
// rows' inputs are apart, three of them in turn of which the first row has number `row`, or 0.
__device__ __forceinline__ void add_tiles(const uint4* ring, int from, int count, const uint4* q, int row, int chunk,
                                          int chunks, int apart, int* acc) {
    int sum[SUMS];
#pragma unroll
    for (int i = 0; i < SUMS; i++) sum[i] = 0;
    while (count > 0) {
        int some = min(count, chunks - chunk);
        count -= some;
        const uint4* row_q = q + row * apart + chunk * 8;
        // One tile is read while another is added.
        Operands even, odd;
        get(even, ring + from * 32, row_q);
#pragma unroll 1
        for (; some > 1; some -= 2) {
            from = from + 1 == RING ? 0 : from + 1;
            get(odd, ring + from * 32, row_q + 8);
            from = from + 1 == RING ? 0 : from + 1;
            row_q += 16;
            add_tile(even, sum);
            if (some > 2) get(even, ring + from * 32, row_q);
            add_tile(odd, sum);
        }
        if (some > 0) {
            from = from + 1 == RING ? 0 : from + 1;
            add_tile(even, sum);
        }
        add_sums(sum, acc);
        acc += 16;
        chunk = 0;
        row = row == 2 ? 0 : row + 1;
    }
}

// The products of the block's tiles with the quantised rows. `acc` must be zero. The first batch is there. Ends with all threads
// together.
template <int P>
__device__ __forceinline__ void multiply(const Decode& p, Tiles& a, Memory* memory, int units, int* acc) {
    constexpr int chunks = Shape<P>::chunks;
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, all = units * Shape<P>::tiles;
#if __CUDA_ARCH__ >= 800
    const uint4* q = (const uint4*)memory->q[lane >> 2 & 1] + 2 * (lane & 3);
#else
    const uint4* q = (const uint4*)memory->q[0] + 2 * (lane & 3);
#endif
    int done = 0;
#pragma unroll 1
    do {
        // A warp's run of the batch.
        int batch = min(all - done, BATCH), start = batch * warp / WARPS, count = batch * (warp + 1) / WARPS - start;
        int from = a.from + start, row = (done + start) / chunks;
        add_tiles(memory->ring[0] + lane, from >= RING ? from - RING : from, count, q, row % 3, done + start - row * chunks,
                  chunks, Shape<P>::inputs == 3 ? chunks * 8 : 0, acc + row * 16);
        a.from = a.from + batch >= RING ? a.from + batch - RING : a.from + batch;
        use_up(a, batch);
        done += batch;
        meet();
        if (Shape<P>::run <= BATCH) break;
        tell(a, memory);
#if __CUDA_ARCH__ < 900
        send_for(p, a, memory);
#endif
        if (done < all) {
            await_batch(a, memory, min(all - done, BATCH));
            meet();
        }
    } while (done < all);
}

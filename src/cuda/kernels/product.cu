// Products of a block's tiles with the quantised row.

// Sums that a thread has.
#if __CUDA_ARCH__ >= 800
#define SUMS 16
#else
#define SUMS 4
#endif

// A tile of codes, a lane's words of either half, and the words of the row that belong to it.
struct Operands {
    uint2 codes[2];
#if __CUDA_ARCH__ >= 800
    uint4 lo, hi;
#else
    uint4 q[2][2][2];
#endif
};

__device__ __forceinline__ void get(Operands& o, const uint2* tile, const uint4* q) {
    o.codes[0] = tile[0], o.codes[1] = tile[32];
#if __CUDA_ARCH__ >= 800
    o.lo = q[0], o.hi = q[1];
#else
    // Of either half of the columns: of the rows with the first sixteen of 32 and with the last.
#pragma unroll
    for (int n = 0; n < 8; n++) o.q[n >> 2][n >> 1 & 1][n & 1] = q[(n >> 2) * 8 + (n >> 1 & 1) * ((ROWS_WORDS + 4) / 4) + (n & 1)];
#endif
}

// Adds the products of a tile, 8 rows, 256 columns. The codes are masked where they stand, so that
// those of bits 2, 4 and 6 count 4-, 16- and 64-fold.
__device__ __forceinline__ void add_tile(const Operands& o, int* sum) {
    const u32 mask = 0x03030303u;
#if __CUDA_ARCH__ >= 800
    // Eight rows by the first half of the columns, then the same eight by the second. Of the eight
    // columns of sums four are wanted: for each half with the first sixteen columns of 32 of the
    // row, and with the last. Each k has sums of its own, so that none waits for the one before.
    const u32 b[4][2] = {{o.lo.x, o.lo.y}, {o.lo.z, o.lo.w}, {o.hi.x, o.hi.y}, {o.hi.z, o.hi.w}};
#pragma unroll
    for (int k = 0; k < 4; k++) {
        const u32 first = k < 2 ? o.codes[0].x : o.codes[0].y, second = k < 2 ? o.codes[1].x : o.codes[1].y;
        const u32 lower = mask << 4 * (k & 1), upper = lower << 2;
        const u32 a[4] = {first & lower, second & lower, first & upper, second & upper};
        mma(sum + 4 * k, a, b[k][0], b[k][1]);
    }
#else
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const uint4 a = o.q[half][0][0], b = o.q[half][0][1], c = o.q[half][1][0], d = o.q[half][1][1];
        const u32 q[2][4] = {{a.x, c.y, a.z, c.w}, {b.x, d.y, b.z, d.w}};
#pragma unroll
        for (int k = 0; k < 2; k++)
#pragma unroll
            for (int s = 0; s < 4; s++)
                sum[s] = dot4_unsigned((k ? o.codes[half].y : o.codes[half].x) & mask << 2 * s, q[k][s], sum[s]);
    }
#endif
}

// Adds a warp's sums to those of a row of tiles. The shifts undo the masks' factors without a
// remainder.
__device__ __forceinline__ void add_sums(int* sum, int* acc) {
    const int lane = threadIdx.x & 31;
#if __CUDA_ARCH__ >= 800
    // The first half's lie with lanes 0, 4, 8.. the second's with 1, 5, 9..
#pragma unroll
    for (int i = 0; i < 8; i++) sum[i] = sum[i] + sum[i + 8];
    int first = sum[0] + (sum[1] >> 2) + ((sum[4] >> 4) + (sum[5] >> 6));
    int second = sum[2] + (sum[3] >> 2) + ((sum[6] >> 4) + (sum[7] >> 6));
    if ((lane & 3) < 2) atomicAdd(acc + (lane >> 2), lane & 1 ? second : first);
#else
    int total = sum[0] + (sum[1] >> 2) + ((sum[2] >> 4) + (sum[3] >> 6));
    total += __shfl_xor_sync(0xffffffffu, total, 1);
    total += __shfl_xor_sync(0xffffffffu, total, 2);
    if ((lane & 3) == 0) atomicAdd(acc + (lane >> 2), total);
#endif
#pragma unroll
    for (int i = 0; i < SUMS; i++) sum[i] = 0;
}

// The products of the next `count` tiles of the ring's lane with the quantised rows, from place
// `from` on. The first is tile `chunk` of `chunks` of a row of them, whose sums `acc` takes, 8, and
// after them those of the next rows. `apart` is what the rows' inputs are apart, three of them in
// turn of which the first row has number `row`, or 0.
__device__ __forceinline__ void add_tiles(const uint2* ring, int from, int count, const uint4* q, int row, int chunk, int chunks,
                                          int apart, int* acc) {
    int sum[SUMS];
#pragma unroll
    for (int i = 0; i < SUMS; i++) sum[i] = 0;
    while (count > 0) {
        int some = min(count, chunks - chunk);
        count -= some;
        const uint4* row_q = q + row * apart + chunk * 16;
        // One tile is read while another is added.
        Operands even, odd;
        get(even, ring + from * 64, row_q);
#pragma unroll 1
        for (; some > 1; some -= 2) {
            from = from + 1 == RING ? 0 : from + 1;
            get(odd, ring + from * 64, row_q + 16);
            from = from + 1 == RING ? 0 : from + 1;
            row_q += 32;
            add_tile(even, sum);
            if (some > 2) get(even, ring + from * 64, row_q);
            add_tile(odd, sum);
        }
        if (some > 0) {
            from = from + 1 == RING ? 0 : from + 1;
            add_tile(even, sum);
        }
        add_sums(sum, acc);
        acc += 8;
        chunk = 0;
        row = row == 2 ? 0 : row + 1;
    }
}

// A warp's part of the products of a batch with the quantised rows. The batch begins at place
// `from` of the ring with tile `done` of the phase's run, `across` of which go through a row.
__device__ __forceinline__ void add_batch(const Memory* memory, int from, int batch, int done, u32 used, int warp, int across,
                                          int apart, int* acc) {
    const int lane = threadIdx.x & 31, warps = WARPS + HELPERS;
#if __CUDA_ARCH__ >= 800
    const uint4* q = (const uint4*)memory->q[lane >> 2 & 1] + 8 * (lane >> 3 & 1) + 2 * (lane & 3);
#else
    const uint4* q = (const uint4*)memory->q[0] + 2 * (lane & 3);
#endif
    int start = batch * warp / warps, count = batch * (warp + 1) / warps - start;
#if __CUDA_ARCH__ >= 900
    await_pieces(memory, used, start, count);
#endif
    int row = (done + start) / across;
    from += start;
    add_tiles((const uint2*)memory->ring[0] + lane, from >= RING ? from - RING : from, count, q, row % 3, done + start - row * across,
              across, apart, acc + row * 8);
}

// The products of the block's tiles with the quantised rows. `acc` must be zero. The first batch is
// there when all have met. Ends with all threads together. `begun` is for after that, where nobody
// waits.
template <int P, typename F>
__device__ __forceinline__ void multiply(const Decode& p, Tiles& a, Memory* memory, int units, int* acc, F begun) {
    const int all = units * Shape<P>::tiles;
    int done = 0;
#pragma unroll 1
    do {
        int batch = min(all - done, BATCH);
        meet<READY>();
        if (done == 0) begun();
        add_batch(memory, a.from, batch, done, a.used, threadIdx.x >> 5, Shape<P>::chunks / 2, Shape<P>::apart, acc);
        a.from = a.from + batch >= RING ? a.from + batch - RING : a.from + batch;
        use_up(a, batch);
        done += batch;
        meet<DONE>();
        if (Shape<P>::run <= BATCH) break;
        tell(a, memory);
#if __CUDA_ARCH__ < 900
        send_for(p, a, memory);
        if (done < all) await_batch();
#endif
    } while (done < all);
}

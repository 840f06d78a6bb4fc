// The warps beside those that compute: one works out norms; some help to multiply, where there are
// any.

// The phase after one; true where it was the last.
__device__ __forceinline__ bool next_phase(const Decode& p, int& phase, int& layer) {
    if (phase == HEAD) return true;
    phase++;
    if (phase == HEAD && ++layer < p.layers) phase = MIX;
    return phase == HEAD && !p.want;
}

// Adds the squares of each phase's rows, and settles what hangs on them.
__device__ __forceinline__ void norm_all(const Decode& p, Memory* memory) {
    int layer = 0, phase = MIX;
#pragma unroll 1
    do {
        const bool in = phase == DOWN, out = phase == OUT;
        const int stride = SQUARES(OF_PHASE(phase, chunks));
        // The layer's norm, if any, then the matrices'.
#pragma unroll 1
        for (int n = in ? 1 : 0; n < 2; n++) {
            meet<SQUARED>();
            add_row(memory, stride);
            if (n == 0) pass_by<ADDED>();
        }
        __syncwarp();
        float sum = sum_of_lanes(memory);
        const float n = in ? INNER : out ? WIDTH : HIDDEN;
        const float part = in ? 1.0f / INNER : out ? 1.0f / WIDTH : 1.0f / HIDDEN;
        meet<NOTED>();
        const u32 noted = memory->noted;
        const Note of = memory->notes[(threadIdx.x & 31) % NOTES];
        float factor = factor_from(sum, n, part, LINEAR_EPS);
        settle(memory, of, noted, sum, factor, phase == MIX ? 3 : 1);
        pass_by<ADDED>();
    } while (!next_phase(p, phase, layer));
}

#if HELPERS > 0
__device__ __forceinline__ void help_all(const Decode& p, Memory* memory) {
    const int warp = (threadIdx.x >> 5) - SENDERS - 1;
    int from = 0, layer = 0, phase = MIX;
    u32 used = 0;
#pragma unroll 1
    do {
        const int all = memory->run_count[phase];
        int done = 0;
#pragma unroll 1
        do {
            int batch = min(all - done, BATCH);
            meet<READY>();
            add_batch(memory, from, batch, done, used, warp, OF_PHASE(phase, chunks) / 2, phase == MIX ? Shape<MIX>::apart : 0,
                      memory->acc[phase == OUT || phase == DOWN]);
            pass_by<DONE>();
            from = from + batch >= RING ? from + batch - RING : from + batch;
            used += (batch + PIECE - 1) / PIECE;
            done += batch;
        } while (done < all);
    } while (!next_phase(p, phase, layer));
}
#endif

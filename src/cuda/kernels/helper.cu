// The warps that help those that compute, from compute capability 9.0: all multiply, and the first adds the squares of norms.

#if __CUDA_ARCH__ >= 900
__device__ __forceinline__ void help_all(const Decode& p, Memory* memory) {
    const int warp = (threadIdx.x >> 5) - 1;
    const bool adds = warp == WARPS;
    int from = 0, layer = 0, phase = MIX;
    u32 used = 0;
#pragma unroll 1
    while (true) {
        const bool in = phase == DOWN, out = phase == OUT;
        if (adds) {
            const int stride = SQUARES(in ? Shape<DOWN>::chunks : out ? Shape<OUT>::chunks : Shape<MIX>::chunks);
#pragma unroll 1
            for (int n = in ? 1 : 2; n > 0; n--) {
                meet<SQUARED>();
                add_row(memory, stride);
                pass_by<ADDED>();
            }
        }
        const int across = (in ? Shape<DOWN>::chunks : out ? Shape<OUT>::chunks : Shape<MIX>::chunks) / 2;
        const int all = memory->run_count[phase];
        int done = 0;
#pragma unroll 1
        do {
            int batch = min(all - done, BATCH);
            // The one that adds has no time for it.
            if (!adds) await_pieces(memory, used, batch);
            meet<READY>();
            add_batch(memory, from, batch, done, warp, across, phase == MIX ? Shape<MIX>::apart : 0, memory->acc[in || out]);
            pass_by<DONE>();
            from = from + batch >= RING ? from + batch - RING : from + batch;
            used += (batch + PIECE - 1) / PIECE;
            done += batch;
        } while (done < all);
        if (phase == HEAD) break;
        phase++;
        if (phase == HEAD && ++layer < p.layers) phase = MIX;
        if (phase == HEAD && !p.want) break;
    }
}
#endif

// The warp that starts the copies of weights, from compute capability 9.0, where whole pieces are
// copied by one instruction.

#if __CUDA_ARCH__ >= 900
__device__ __forceinline__ void hear(Tiles& a, const Memory* memory) {
    u32 frees;
    a.told++;
    do {
        asm volatile("ld.acquire.cta.shared.u32 %0, [%1];" : "=r"(frees) : "r"(shared_address(&memory->frees)) : "memory");
    } while ((int)(frees - a.told) < 0);
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// Sends for the first floats and tiles.
__device__ __forceinline__ void serve_first(const Decode& p, Tiles& a, Memory* memory) {
    send_for_floats(p.arena + p.place[MIX].floats, Shape<MIX>::floats, memory);
    send_for(p, a, memory);
}

// Waits for all that `serve_first` has sent for: a block must not end before.
__device__ __forceinline__ void await_first(const Tiles& a, const Memory* memory) {
    await_arrival(&memory->floats_arrived, 0);
    for (u32 n = 0; n < a.sent; n++) await_arrival(&memory->arrived[n], 0);
}

// What the sender does then, a warp of which one thread sends. `owed` are the tiles of the phase
// before.
__device__ __forceinline__ void serve_all(const Decode& p, Tiles& a, Memory* memory) {
    const u8* base = p.arena;
    int layer = 0, phase = MIX, owed = 0;
#pragma unroll 1
    while (true) {
        hear(a, memory);
        use_up(a, owed);
        const u8* after = phase == DOWN ? base + p.layer_stride : base;
        int next = phase != DOWN ? phase + 1 : layer + 1 < p.layers ? MIX : HEAD;
        bool last = phase == HEAD || (next == HEAD && !p.want);
        int bytes = next == MIX   ? Shape<MIX>::floats
                    : next == OUT  ? Shape<OUT>::floats
                    : next == DOWN ? Shape<DOWN>::floats
                                   : Shape<GATE>::floats;
        if (!last) send_for_floats(after + p.place[next].floats, bytes, memory);
        send_for(p, a, memory);
        if (phase == OUT) {
            empty(p, layer, threadIdx.x - THREADS, 32);
            // What all lanes have emptied is ordered before the copies that one of them sends for
            // next.
            __syncwarp();
        }
        owed = memory->run_count[phase];
        bool batches = phase == MIX    ? Shape<MIX>::run > BATCH
                       : phase == OUT  ? Shape<OUT>::run > BATCH
                       : phase == GATE ? Shape<GATE>::run > BATCH
                       : phase == DOWN ? Shape<DOWN>::run > BATCH
                                       : Shape<HEAD>::run > BATCH;
        if (batches) {
#pragma unroll 1
            do {
                int batch = min(owed, BATCH);
                hear(a, memory);
                use_up(a, batch);
                send_for(p, a, memory);
                owed -= batch;
            } while (owed > 0);
        }
        if (last) break;
        layer += phase == DOWN;
        base = after;
        phase = next;
    }
}
static_assert(Shape<HEAD>::floats == Shape<GATE>::floats, "floats of the same rows");
#endif

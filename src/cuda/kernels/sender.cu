// The warp that sends for weights, from compute capability 9.0, where whole pieces are copied by one instruction.

#if __CUDA_ARCH__ >= 900
__device__ __forceinline__ void hear(Tiles& a, const Memory* memory) {
    u32 frees;
    a.told++;
    do {
        asm volatile("ld.acquire.cta.shared.u32 %0, [%1];" : "=r"(frees) : "r"(shared_address(&memory->frees)) : "memory");
    } while ((int)(frees - a.told) < 0);
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// What the sender, a warp of which one thread sends, does in a phase. `owed` are the tiles of the last one.
template <int P>
__device__ __forceinline__ void serve(const Decode& p, const u8* base, int layer, Tiles& a, Memory* memory, int& owed) {
    hear(a, memory);
    use_up(a, owed);
    if constexpr (P < DOWN)
        send_for_floats<P + 1>(base + p.place[P + 1].floats, memory);
    else if (P == DOWN && layer + 1 < p.layers)
        send_for_floats<MIX>(base + p.layer_stride + p.place[MIX].floats, memory);
    else if (P == DOWN && p.want)
        send_for_floats<HEAD>(base + p.layer_stride + p.place[HEAD].floats, memory);
    send_for(p, a, memory);
    if (P == OUT) empty(p, layer, threadIdx.x - THREADS, 32);
    owed = memory->run_count[P];
    if (Shape<P>::run > BATCH)
        do {
            int batch = min(owed, BATCH);
            hear(a, memory);
            use_up(a, batch);
            send_for(p, a, memory);
            owed -= batch;
        } while (owed > 0);
}

__device__ __forceinline__ void serve_all(const Decode& p, Tiles& a, Memory* memory) {
    const u8* base = p.arena;
    send_for_floats<MIX>(base + p.place[MIX].floats, memory);
    send_for(p, a, memory);
    int layer = 0, owed = 0;
#pragma unroll 1
    for (; layer < p.layers; layer++) {
        serve<MIX>(p, base, layer, a, memory, owed);
        serve<OUT>(p, base, layer, a, memory, owed);
        serve<GATE>(p, base, layer, a, memory, owed);
        serve<DOWN>(p, base, layer, a, memory, owed);
        base += p.layer_stride;
    }
    if (p.want) serve<HEAD>(p, base, layer, a, memory, owed);
}
#endif

// The stream of weights to a block, and who sends for it.

// A block's units of a phase. Some blocks take one more, in each phase of a layer those after the
// ones that did before: so all have about as many weights to come.
template <int P>
__device__ __forceinline__ void units_of(int& first, int& count) {
    constexpr int each = Shape<P>::units / BLOCKS, more = Shape<P>::units % BLOCKS;
    constexpr int mix = Shape<MIX>::units % BLOCKS, out = Shape<OUT>::units % BLOCKS;
    constexpr int gate = Shape<GATE>::units % BLOCKS;
    constexpr int before = P == OUT ? mix : P == GATE ? mix + out : P == DOWN ? mix + out + gate : 0;
    int block = (int)blockIdx.x - before % BLOCKS;
    block = block < 0 ? block + BLOCKS : block;
    first = block * each + min(block, more);
    count = each + (block < more);
}

// The block's tiles, in the order of their use.
struct Tiles {
    // Where the next one is in the ring, pieces used up, and what the sender has been told, or has
    // heard.
    int from;
    u32 used, told;
    // Of the thread that starts their copies: the rest of a run, where the next one goes, tiles
    // that there is room for, pieces whose copies were started.
    const u8* next;
    int left, phase, layer, to, room;
    u32 sent;
};

template <int P>
__device__ __forceinline__ void note_run(const Decode& p, Memory* memory) {
    int first, units;
    units_of<P>(first, units);
    memory->run_tiles[P] = p.place[P].tiles + (u64)first * Shape<P>::tiles * 512;
    memory->run_count[P] = P == HEAD && !p.want ? 0 : units * Shape<P>::tiles;
}

// Begins a phase's run.
__device__ __forceinline__ void enter(const Decode& p, Tiles& a, const Memory* memory) {
    a.left = memory->run_count[a.phase];
    a.next = p.arena + a.layer * p.layer_stride + memory->run_tiles[a.phase];
}

__device__ __forceinline__ u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }

#if __CUDA_ARCH__ >= 900
// Waits for the end of an mbarrier's even or odd phase.
__device__ __forceinline__ void await_arrival(const u64* barrier, int odd) {
    u32 there;
    do {
        asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                     : "=r"(there)
                     : "r"(shared_address(barrier)), "r"(odd)
                     : "memory");
    } while (!there);
}
#endif

// Starts the stream of tiles.
__device__ __forceinline__ void begin(const Decode& p, Tiles& a, Memory* memory) {
    if (threadIdx.x < sizeof(memory->largest) / 4) ((u32*)memory->largest)[threadIdx.x] = 0;
    if (threadIdx.x == 0) {
        note_run<MIX>(p, memory);
        note_run<OUT>(p, memory);
        note_run<GATE>(p, memory);
        note_run<DOWN>(p, memory);
        note_run<HEAD>(p, memory);
#if __CUDA_ARCH__ >= 900
        for (int n = 0; n < PIECES; n++)
            asm volatile("mbarrier.init.shared.b64 [%0], 1;" ::"r"(shared_address(&memory->arrived[n])) : "memory");
        asm volatile("mbarrier.init.shared.b64 [%0], 1;" ::"r"(shared_address(&memory->floats_arrived)) : "memory");
        asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
        memory->frees = 0;
        memory->noted = 0;
    }
    __syncthreads();
    a.from = 0, a.used = 0, a.told = 0, a.phase = MIX, a.layer = 0, a.to = 0, a.room = RING, a.sent = 0;
    enter(p, a, memory);
}

#if __CUDA_ARCH__ >= 900
__device__ __forceinline__ void bulk_copy(void* to, const void* from, int bytes, u32 arrived) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                     shared_address(to)),
                 "l"(from), "r"(bytes), "r"(arrived)
                 : "memory");
}

// The same for what the L2 cache need not keep.
__device__ __forceinline__ void copy_once(void* to, const void* from, int bytes, u32 arrived) {
    asm volatile(
        "{ .reg .b64 policy; createpolicy.fractional.L2::evict_first.b64 policy, 1.0;"
        " cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], policy; }" ::"r"(
            shared_address(to)),
        "l"(from), "r"(bytes), "r"(arrived)
        : "memory");
}

__device__ __forceinline__ void expect(u32 arrived, int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(arrived), "r"(bytes) : "memory");
}
#endif

// Starts copies of as many tiles as there is room for, whole pieces: the sender, or all threads
// where there is none. All threads of the block have used what is to be replaced.
__device__ __forceinline__ void send_for(const Decode& p, Tiles& a, Memory* memory) {
#pragma unroll 1
    while (true) {
        // On to the next phase that has tiles for this block, if there is one.
        while (a.left == 0 && a.phase < HEAD) {
            a.phase++;
            if (a.phase == HEAD && ++a.layer < p.layers) a.phase = MIX;
            enter(p, a, memory);
        }
        int some = min(a.left, PIECE);
        if (some == 0 || some > a.room || a.sent - a.used == PIECES) break;
        int front = min(some, RING - a.to);
#if __CUDA_ARCH__ >= 900
        if (threadIdx.x == THREADS) {
            u32 arrived = shared_address(&memory->arrived[a.sent % PIECES]);
            expect(arrived, some * 512);
            copy_once(memory->ring[a.to], a.next, front * 512, arrived);
            if (front < some) copy_once(memory->ring[0], a.next + front * 512, (some - front) * 512, arrived);
        }
#else
#pragma unroll 1
        for (int n = threadIdx.x; n < some * 32; n += THREADS) {
            const uint4* from = (const uint4*)a.next + n;
            uint4* to = memory->ring[0] + (n < front * 32 ? a.to * 32 + n : n - front * 32);
#if __CUDA_ARCH__ >= 800
            asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(from) : "memory");
#else
            *to = __ldg(from);
#endif
        }
#endif
        a.next += some * 512;
        a.left -= some;
        a.room -= some;
        a.to = a.to + some >= RING ? a.to + some - RING : a.to + some;
        a.sent++;
    }
}

// A batch is no longer needed.
__device__ __forceinline__ void use_up(Tiles& a, int batch) {
    a.room += batch;
    a.used += (batch + PIECE - 1) / PIECE;
}

// Tells the sender that all threads have gone on.
__device__ __forceinline__ void tell(Tiles& a, Memory* memory) {
#if __CUDA_ARCH__ >= 900
    a.told++;
    if (threadIdx.x == 0)
        asm volatile("st.release.cta.shared.u32 [%0], %1;" ::"r"(shared_address(&memory->frees)), "r"(a.told) : "memory");
#endif
}

#if __CUDA_ARCH__ >= 900
// Waits for `count` tiles from `start` of a batch, `used` pieces having been used up.
__device__ __forceinline__ void await_pieces(const Memory* memory, u32 used, int start, int count) {
#pragma unroll 1
    for (int n = start / PIECE; n * PIECE < start + count; n++)
        await_arrival(&memory->arrived[(used + n) % PIECES], (used + n) / PIECES & 1);
}
#else
// The next batch is there, once all threads have met.
__device__ __forceinline__ void await_batch() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_all;" ::: "memory");
#endif
}
#endif

#if __CUDA_ARCH__ >= 900
// Sends for a phase's floats, which begin at `from`.
__device__ __forceinline__ void send_for_floats(const u8* from, int bytes, Memory* memory) {
    if (threadIdx.x != THREADS) return;
    u32 arrived = shared_address(&memory->floats_arrived);
    expect(arrived, bytes);
    bulk_copy(memory->floats, from, bytes, arrived);
}
#endif

// The phase's floats, when they are there.
template <int P>
__device__ __forceinline__ const float* await_floats(const u8* from, const Memory* memory) {
#if __CUDA_ARCH__ >= 900
    // They come four times a layer.
    await_arrival(&memory->floats_arrived, P & 1);
    return memory->floats;
#else
    return (const float*)from;
#endif
}

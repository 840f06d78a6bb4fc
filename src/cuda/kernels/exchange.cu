// What blocks tell each other.

// Values that other blocks write meanwhile: past the L1 cache.
__device__ __forceinline__ float4 load(const float* p) {
    float4 v;
    asm volatile("ld.relaxed.gpu.global.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
                 : "l"(p)
                 : "memory");
    return v;
}

// A value that nobody writes meanwhile, sent for here and not where it is used.
__device__ __forceinline__ float load_early(const float* p) {
    float v;
    asm volatile("ld.global.f32 %0, [%1];" : "=f"(v) : "l"(p));
    return v;
}

__device__ __forceinline__ void put_out(float* p, float value) {
    u32 bits = __float_as_uint(value);
    bits = bits == EMPTY ? 0x7fffffffu : bits;
    asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" ::"l"(p), "r"(bits) : "memory");
}

__device__ __forceinline__ bool is_there(float v) { return __float_as_uint(v) != EMPTY; }

// The exchange of a layer, -1 for that of the launch before.
__device__ __forceinline__ float* set_of(const Decode& p, int layer) {
    return p.exchange + (p.first_set + (u32)layer) % SETS * EXCHANGE;
}

// Empties this block's share of the exchange of the next layer but one, by `threads` threads. Called in the phase OUT. What is
// there is of the layer before last, and nobody reads it any more: this block has had outputs of the layer before, which wait
// for all blocks (each has some part in a layer: see decode.rs) to have gone beyond it. The fence has the emptying done before
// the block's outputs of the phases after the next; a block begins to read there when it has those of the whole next layer.
__device__ __forceinline__ void empty(const Decode& p, int layer, int thread, int threads) {
    uint4* to = (uint4*)set_of(p, layer + 2);
    for (int j = blockIdx.x + BLOCKS * thread; j < EXCHANGE / 4; j += BLOCKS * threads)
        asm volatile("st.relaxed.gpu.global.v4.u32 [%0], {%1, %1, %1, %1};" ::"l"(to + j), "r"(EMPTY) : "memory");
    __threadfence();
}

__device__ __forceinline__ void fail(const Decode& p, int op) {
    note_error(p.error, op, 0);
    *(volatile u32*)p.failed = 1;
}

// A row of the exchange, the words of this thread. Zeros past its end.
template <int P>
__device__ __forceinline__ void send_for_row(const float* from, float4* v) {
#pragma unroll
    for (int k = 0; k < Shape<P>::each; k++) {
        int word = threadIdx.x + k * THREADS;
        v[k] = word < Shape<P>::words ? load(from + 4 * word) : make_float4(0, 0, 0, 0);
    }
}

// Waits for an output of one of the blocks with the first units, which have most to do, a block for each warp: were all threads to ask
// for the whole row again and again, they would keep the L2 cache from everything else.
template <int P>
__device__ __forceinline__ void await_first(const float* row) {
    constexpr int starts = (Shape<P>::columns + 15) / 16;
    const float* at = row + (threadIdx.x >> 5) % starts * 16;
    float v;
    do {
        asm volatile("ld.relaxed.gpu.global.f32 %0, [%1];" : "=f"(v) : "l"(at) : "memory");
    } while (!is_there(v));
}

// Whether something of the word `k` of a row is not there yet.
template <int P>
__device__ __forceinline__ bool is_missing(const float4& v, int k) {
    int word = threadIdx.x + k * THREADS;
    if (word >= Shape<P>::words) return false;
    int live = Shape<P>::columns % 4 ? Shape<P>::columns - 4 * word : 4;
    return !(is_there(v.x) && (live < 2 || is_there(v.y)) && (live < 3 || is_there(v.z)) && (live < 4 || is_there(v.w)));
}

template <int P>
__device__ __forceinline__ void clear_past_end(float4* v) {
    if (Shape<P>::columns % 4 == 0) return;
#pragma unroll
    for (int k = 0; k < Shape<P>::each; k++) {
        int word = threadIdx.x + k * THREADS;
        if (word >= Shape<P>::words) continue;
        int live = Shape<P>::columns - 4 * word;
        v[k].y = live < 2 ? 0.0f : v[k].y;
        v[k].z = live < 3 ? 0.0f : v[k].z;
        v[k].w = live < 4 ? 0.0f : v[k].w;
    }
}

// Waits for a row that has been sent for, or for two. All words that are missing are asked for again at once: one after the other,
// each would cost a way to the L2 cache and back.
template <int P, int ROWS>
__device__ __forceinline__ void await_rows(const float* from, float4* v, const float* other_from, float4* other) {
    while (true) {
        bool missing = false;
#pragma unroll
        for (int k = 0; k < Shape<P>::each; k++) {
            missing |= is_missing<P>(v[k], k);
            if (ROWS > 1) missing |= is_missing<P>(other[k], k);
        }
        if (!missing) break;
#pragma unroll
        for (int k = 0; k < Shape<P>::each; k++) {
            int at = 4 * (threadIdx.x + k * THREADS);
            if (is_missing<P>(v[k], k)) v[k] = load(from + at);
            if (ROWS > 1 && is_missing<P>(other[k], k)) other[k] = load(other_from + at);
        }
    }
    clear_past_end<P>(v);
    if (ROWS > 1) clear_past_end<P>(other);
}

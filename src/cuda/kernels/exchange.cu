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

// The bits of an output, which are never those of EMPTY.
__device__ __forceinline__ u32 output_bits(float value) {
    u32 bits = __float_as_uint(value);
    return bits == EMPTY ? 0x7fffffffu : bits;
}

__device__ __forceinline__ void put_out(float* p, float value) {
    asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" ::"l"(p), "r"(output_bits(value)) : "memory");
}

// Where the host waits for them, the first `count` of four; `p` is a multiple of 16.
__device__ __forceinline__ void put_out_to_host(float* p, const float* value, int count) {
    if (count >= 4) {
        asm volatile("st.relaxed.sys.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(p), "r"(output_bits(value[0])),
                     "r"(output_bits(value[1])), "r"(output_bits(value[2])), "r"(output_bits(value[3]))
                     : "memory");
        return;
    }
#pragma unroll
    for (int i = 0; i < 3; i++)
        if (i < count) asm volatile("st.relaxed.sys.global.u32 [%0], %1;" ::"l"(p + i), "r"(output_bits(value[i])) : "memory");
}

__device__ __forceinline__ bool is_there(float v) { return __float_as_uint(v) != EMPTY; }

// The exchange of a layer, -1 for that of the launch before.
__device__ __forceinline__ float* set_of(const Decode& p, int layer) {
    return p.exchange + (p.first_set + (u32)layer) % SETS * EXCHANGE;
}

// Empties this block's share of the exchange of the next layer but one, by `threads` threads.
// Called in the phase OUT. What is there is of the layer before last, and nobody reads it any more:
// this block has had outputs of the layer before, which wait for all blocks (each has some part in
// a layer: see decode.rs) to have gone beyond it. The fence has the emptying done before the
// block's outputs of the phases after the next; a block begins to read there when it has those of
// the whole next layer.
__device__ __forceinline__ void empty(const Decode& p, int layer, int thread, int threads) {
    uint4* to = (uint4*)set_of(p, layer + 2);
    for (int j = blockIdx.x + BLOCKS * thread; j < EXCHANGE / 4; j += BLOCKS * threads)
        asm volatile("st.relaxed.gpu.global.v4.u32 [%0], {%1, %1, %1, %1};" ::"l"(to + j), "r"(EMPTY) : "memory");
    __threadfence();
}

__device__ __noinline__ void fail(const Decode& p, int op) {
    note_error(p.error, op, 0);
    *(volatile u32*)p.failed = 1;
    // The host looks there when it has all logits: one of them comes from this thread, after this.
    __threadfence_system();
}

// Waits for most of 32 outputs from all over a row: when they are there, the rest will be by the
// time that the row is loaded.
#define MOST_ARE_THERE 24

// Waits for outputs from all over a row, one warp for all: were all threads to ask for the whole
// row again and again, they would keep the L2 cache from everything else. Ends with all threads
// together.
template <int P>
__device__ __forceinline__ void await_some(const float* row) {
    constexpr int runs = (Shape<P>::columns + 15) / 16;
    if (threadIdx.x < 32) {
        const float* at = row + threadIdx.x * runs / 32 * 16;
        float v;
        do {
            asm volatile("ld.relaxed.gpu.global.f32 %0, [%1];" : "=f"(v) : "l"(at) : "memory");
        } while (__popc(__ballot_sync(0xffffffffu, is_there(v))) < MOST_ARE_THERE);
    }
    meet<ALONE>();
}

// Asks for a row's words of this thread, zeros past its end. Gives EMPTY where something is not
// there yet.
template <int P>
__device__ __forceinline__ u32 ask_for_row(const float* from, float4* v) {
    constexpr int last = Shape<P>::columns % 4;
    u32 most = 0;
#pragma unroll
    for (int k = 0; k < Shape<P>::each; k++) {
        int word = threadIdx.x + k * THREADS;
        v[k] = word < Shape<P>::words ? load(from + 4 * word) : make_float4(0, 0, 0, 0);
    }
#pragma unroll
    for (int k = 0; k < Shape<P>::each; k++) {
        if (last && threadIdx.x + k * THREADS == Shape<P>::words - 1) {
            v[k].y = last < 2 ? 0.0f : v[k].y;
            v[k].z = last < 3 ? 0.0f : v[k].z;
            v[k].w = 0.0f;
        }
        u32 x = __float_as_uint(v[k].x), y = __float_as_uint(v[k].y), z = __float_as_uint(v[k].z), w = __float_as_uint(v[k].w);
        most = max(max(most, max(x, y)), max(z, w));
    }
    return most;
}

// Waits for a row, or for two: loads all words of this thread until none is EMPTY.
template <int P, int ROWS>
__device__ __forceinline__ void await_rows(const float* from, float4* v, const float* other_from, float4* other) {
    u32 most;
#pragma unroll 1
    do {
        most = ask_for_row<P>(from, v);
        if (ROWS > 1) most = max(most, ask_for_row<P>(other_from, other));
    } while (most == EMPTY);
}

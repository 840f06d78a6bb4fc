// One token of one sequence through the whole model in one launch. All blocks are resident at once and meet at a
// barrier between the four phases of a layer; each keeps the residual stream in its own shared memory and computes norms and
// quantisation for itself, so that only the outputs of matrices travel. While blocks wait for each other, the weights of the
// next phase are already on their way.

#define DECODE_THREADS 512
#define DECODE_WARPS (DECODE_THREADS / 32)
// Tiles of weights that a warp holds in registers ahead of their use.
#define AHEAD 10

// A matrix, or some of the same shape over another, as blocks share it out.
struct Phase {
    // Tiles, [units][matrices][chunks], from the layer's start in bytes; the floats that belong to it: norms, then scales.
    u64 weights, floats;
    int matrices, units, chunks, float_count;
};

struct Decode {
    const u8* arena;
    u64 layer_stride;
    // Forget bounds from the layer's start in bytes.
    u64 bounds;
    const u8* embedding;
    const float* embedding_scales;
    // [layers, state_size].
    float* state;
    // Between phases: g and swish's input h, [2][width]; the output of o_proj and down_proj, [2][hidden]; u, [inner].
    float* exchange;
    float* logits;
    u64* error;
    u32* barrier;
    // The four phases of a layer, and the head.
    Phase phase[5];
    u32 barrier_start, token;
    int embedding_kind, layers, hidden, width, inner, vocab, bounded, want;
    float eps;
};

__device__ __forceinline__ float load(const float* p) {
    float v;
    asm volatile("ld.global.cg.f32 %0, [%1];" : "=f"(v) : "l"(p));
    return v;
}

// All blocks of the grid meet, and see what the others wrote. `goal` counts arrivals from launch to launch, and wraps.
__device__ __forceinline__ void meet(u32* barrier, u32& goal) {
    __syncthreads();
    goal += gridDim.x;
    if (threadIdx.x == 0) {
        asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(barrier) : "memory");
        u32 seen;
        do {
            asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(seen) : "l"(barrier) : "memory");
        } while ((int)(seen - goal) < 0);
    }
    __syncthreads();
}

// A block's share of a phase, whole units and so one run of tiles in memory, and a warp's share of that: a run too. The
// first tiles of it are on their way to registers.
struct Share {
    // The warp's first tile, for its lane.
    const uint4* tiles;
    int first, units, matrices, chunks;
    // The warp's tiles, and which chunk of which row of tiles the first one is.
    int count, row, chunk;
    uint4 ahead[AHEAD];
};

// Takes this block's share of a phase and sends for its first tiles and for the floats.
__device__ __forceinline__ void take(const Decode& p, const u8* base, const Phase& phase, Share& s,
                                     float* floats) {
    int warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
    s.first = (int)((u64)blockIdx.x * phase.units / gridDim.x);
    s.units = (int)((u64)(blockIdx.x + 1) * phase.units / gridDim.x) - s.first;
    s.matrices = phase.matrices;
    s.chunks = phase.chunks;
    int all = s.units * s.matrices * s.chunks;
    int start = all * warp / DECODE_WARPS;
    s.count = all * (warp + 1) / DECODE_WARPS - start;
    s.row = start / s.chunks;
    s.chunk = start - s.row * s.chunks;
    s.tiles = (const uint4*)(base + phase.weights) +
              ((u64)(s.first * s.matrices) * s.chunks + start) * 32 + lane;
#pragma unroll
    for (int n = 0; n < AHEAD; n++)
        if (n < s.count) s.ahead[n] = __ldg(s.tiles + n * 32);
    const float* from = (const float*)(base + phase.floats);
    for (int j = threadIdx.x * 4; j < phase.float_count; j += DECODE_THREADS * 4) {
#if __CUDA_ARCH__ >= 800
        u32 to = (u32)__cvta_generic_to_shared(floats + j);
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from + j));
#else
        *(float4*)(floats + j) = *(const float4*)(from + j);
#endif
    }
}

// The floats that `take` sent for are there, for this thread; a barrier must follow.
__device__ __forceinline__ void await_floats() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_all;" ::: "memory");
#endif
}

// Adds the products of a tile: 16 rows, 128 columns. The codes are masked where they stand, so that those of bits 2, 4 and 6
// count 4-, 16- and 64-fold.
__device__ __forceinline__ void add_tile(uint4 w, const uint4* q, int* sum) {
    uint4 lo = q[0], hi = q[1];
    u32 words[4] = {w.x, w.y, w.z, w.w};
    u32 b[4][2] = {{lo.x, lo.y}, {lo.z, lo.w}, {hi.x, hi.y}, {hi.z, hi.w}};
#pragma unroll
    for (int k = 0; k < 4; k++)
#pragma unroll
        for (int s = 0; s < 4; s++)
            sum[s] = dot4_unsigned(words[k] & 0x03030303u << 2 * s, b[k][s >> 1], sum[s]);
}

// Adds a warp's sums to those of a row of tiles. The shifts undo the masks' factors without a remainder.
__device__ __forceinline__ void add_sums(int* sum, int* acc) {
    int lower = sum[0] + (sum[2] >> 4), upper = (sum[1] >> 2) + (sum[3] >> 6);
    lower += __shfl_xor_sync(0xffffffffu, lower, 1);
    upper += __shfl_xor_sync(0xffffffffu, upper, 1);
    lower += __shfl_xor_sync(0xffffffffu, lower, 2);
    upper += __shfl_xor_sync(0xffffffffu, upper, 2);
    int lane = threadIdx.x & 31;
    if ((lane & 3) == 0) {
        atomicAdd(acc + (lane >> 2), lower);
        atomicAdd(acc + (lane >> 2) + 8, upper);
    }
    sum[0] = sum[1] = sum[2] = sum[3] = 0;
}

// The share's products with the quantised rows `q`, one of `chunks` * 128 bytes for each of the INPUTS. `acc` takes 16 sums for
// each row of tiles and must be zero. Ends with all threads together.
template <int INPUTS>
__device__ __forceinline__ void multiply(const Share& s, const u32* q, int* acc) {
    const uint4* rows = (const uint4*)q + 2 * (threadIdx.x & 3);
    int row = s.row, chunk = s.chunk;
    int sum[4] = {0, 0, 0, 0};
    auto input = [&](int row) { return rows + (INPUTS == 1 ? 0 : row % INPUTS * s.chunks * 8); };
    const uint4* from = input(row);
    auto add = [&](uint4 w) {
        add_tile(w, from + chunk * 8, sum);
        if (++chunk == s.chunks) {
            add_sums(sum, acc + row * 16);
            chunk = 0;
            from = input(++row);
        }
    };
#pragma unroll
    for (int n = 0; n < AHEAD; n++)
        if (n < s.count) add(s.ahead[n]);
    int n = AHEAD;
    for (; n + 4 <= s.count; n += 4) {
        uint4 w[4];
#pragma unroll
        for (int k = 0; k < 4; k++) w[k] = __ldg(s.tiles + (n + k) * 32);
#pragma unroll
        for (int k = 0; k < 4; k++) add(w[k]);
    }
    for (; n < s.count; n++) add(__ldg(s.tiles + n * 32));
    if (chunk > 0 && s.count > 0) add_sums(sum, acc + row * 16);
    __syncthreads();
}

// Shared memory: floats x[hidden], v[largest row], the phase's floats, the quantised rows, the sums; sizes in 4-byte words.
struct Room {
    int v, floats, q, acc, acc_len;
};

extern "C" __global__ void __launch_bounds__(DECODE_THREADS, 1) decode(Decode p, Room room) {
    extern __shared__ float4 memory[];
    __shared__ Shared s;
    float* x = (float*)memory;
    float* v = x + room.v;
    float* floats = x + room.floats;
    u32* q = (u32*)x + room.q;
    int* acc = (int*)x + room.acc;
    const int thread = threadIdx.x;
    const bool report = blockIdx.x == 0;
    const int hidden = p.hidden, width = p.width, inner = p.inner;
    const int padded = (hidden + 3) & ~3, padded_width = (width + 3) & ~3, padded_inner = (inner + 3) & ~3;
    float* g_out = p.exchange;
    float* h_out = g_out + padded_width;
    float* o_out = h_out + padded_width;
    float* down_out = o_out + padded;
    float* u_out = down_out + padded;
    u32 goal = p.barrier_start;
    Share share;
    float step[3];

    const u8* base = p.arena;
    take(p, base, p.phase[0], share, floats);
    for (int j = thread; j < hidden; j += DECODE_THREADS)
        x[j] = embedded(p.embedding, p.embedding_scales, p.embedding_kind, p.token, hidden, j);

    for (int layer = 0; layer < p.layers; layer++) {
        // Input, forget and gate projection, and the recurrence of the block's own channels.
        {
            const Phase& phase = p.phase[0];
            if (layer > 0)
                for (int j = thread; j < hidden; j += DECODE_THREADS) x[j] = x[j] + load(down_out + j);
            const float* bounds = p.bounded && layer > 0 ? (const float*)(base + p.bounds) : 0;
            float* state = p.state + (u64)layer * width;
            float before = 0.0f;
            int channel = share.first * 16 + thread;
            if (thread < share.units * 16 && channel < width) before = state[channel];
            for (int j = thread; j < share.units * 48; j += DECODE_THREADS) acc[j] = 0;
            await_floats();
            float factor = block_rms(x, hidden, p.eps, &s, report, p.error, layer * 5, 0);
            for (int j = thread; j < hidden; j += DECODE_THREADS) v[j] = x[j] * factor * floats[j];
            factor = block_rms(v, hidden, LINEAR_EPS, &s, report, p.error, layer * 5 + 1, 0);
            const float* weight[3] = {floats + padded, floats + 2 * padded, floats + 3 * padded};
            u32* rows[3] = {q, q + phase.chunks * 32, q + phase.chunks * 64};
            quantise_row<3>(v, hidden, phase.chunks, factor, weight, rows, step, &s, report, p.error,
                            layer * 5 + 1, 0);
            const float* scale = floats + 4 * padded;
            float size[3] = {step[0] * scale[0], step[1] * scale[1], step[2] * scale[2]};
            multiply<3>(share, q, acc);
            for (int j = thread; j < share.units * 16; j += DECODE_THREADS) {
                int c = share.first * 16 + j;
                if (c >= width) break;
                const int* sum = acc + j / 16 * 48 + j % 16;
                float i = (float)(sum[0] - s.sum[0]) * size[0];
                float f = (float)(sum[16] - s.sum[1]) * size[1];
                float g = (float)(sum[32] - s.sum[2]) * size[2];
                if (j != thread) before = state[c];
                f = forget_gate(f, bounds, c);
                float h = f * before + input_gate(i, f);
                state[c] = h;
                g_out[c] = g;
                h_out[c] = h;
            }
        }
        take(p, base, p.phase[1], share, floats);
        meet(p.barrier, goal);

        // Output projection.
        {
            for (int j = thread; j < width; j += DECODE_THREADS) v[j] = load(g_out + j);
            for (int j = thread; j < share.units * 16; j += DECODE_THREADS) acc[j] = 0;
            await_floats();
            float factor = block_rms(v, width, p.eps, &s, report, p.error, layer * 5 + 2, 0);
            for (int j = thread; j < width; j += DECODE_THREADS)
                v[j] = swish_times(load(h_out + j), v[j] * factor * floats[j]);
            factor = block_rms(v, width, LINEAR_EPS, &s, report, p.error, layer * 5 + 2, 0);
            const float* weight = floats + padded_width;
            quantise_row<1>(v, width, share.chunks, factor, &weight, &q, step, &s, report, p.error,
                            layer * 5 + 2, 0);
            float size = step[0] * floats[2 * padded_width];
            multiply<1>(share, q, acc);
            for (int j = thread; j < share.units * 16; j += DECODE_THREADS) {
                int c = share.first * 16 + j;
                if (c < hidden) o_out[c] = (float)(acc[j] - s.sum[0]) * size;
            }
        }
        take(p, base, p.phase[2], share, floats);
        meet(p.barrier, goal);

        // Gate and value, and their product.
        {
            for (int j = thread; j < hidden; j += DECODE_THREADS) x[j] = x[j] + load(o_out + j);
            for (int j = thread; j < share.units * 32; j += DECODE_THREADS) acc[j] = 0;
            await_floats();
            float factor = block_rms(x, hidden, p.eps, &s, report, p.error, layer * 5 + 3, 0);
            for (int j = thread; j < hidden; j += DECODE_THREADS) v[j] = x[j] * factor * floats[j];
            factor = block_rms(v, hidden, LINEAR_EPS, &s, report, p.error, layer * 5 + 3, 0);
            const float* weight = floats + padded;
            quantise_row<1>(v, hidden, share.chunks, factor, &weight, &q, step, &s, report, p.error,
                            layer * 5 + 3, 0);
            float size = step[0] * floats[2 * padded];
            multiply<1>(share, q, acc);
            for (int j = thread; j < share.units * 16; j += DECODE_THREADS) {
                int c = share.first * 16 + j;
                if (c >= inner) break;
                const int* sum = acc + j / 16 * 32 + j % 16;
                float gate = (float)(sum[0] - s.sum[0]) * size;
                float value = (float)(sum[16] - s.sum[0]) * size;
                u_out[c] = swish_times(gate, value);
            }
        }
        take(p, base, p.phase[3], share, floats);
        meet(p.barrier, goal);

        // Down projection.
        {
            for (int j = thread; j < inner; j += DECODE_THREADS) v[j] = load(u_out + j);
            for (int j = thread; j < share.units * 16; j += DECODE_THREADS) acc[j] = 0;
            await_floats();
            float factor = block_rms(v, inner, LINEAR_EPS, &s, report, p.error, layer * 5 + 4, 0);
            const float* weight = floats;
            quantise_row<1>(v, inner, share.chunks, factor, &weight, &q, step, &s, report, p.error,
                            layer * 5 + 4, 0);
            float size = step[0] * floats[padded_inner];
            multiply<1>(share, q, acc);
            for (int j = thread; j < share.units * 16; j += DECODE_THREADS) {
                int c = share.first * 16 + j;
                if (c < hidden) down_out[c] = (float)(acc[j] - s.sum[0]) * size;
            }
        }
        base += p.layer_stride;
        if (layer + 1 < p.layers || p.want)
            take(p, base, layer + 1 < p.layers ? p.phase[0] : p.phase[4], share, floats);
        meet(p.barrier, goal);
    }
    if (!p.want) return;

    // The head.
    for (int j = thread; j < hidden; j += DECODE_THREADS) x[j] = x[j] + load(down_out + j);
    for (int j = thread; j < share.units * 16; j += DECODE_THREADS) acc[j] = 0;
    await_floats();
    int op = p.layers * 5;
    float factor = block_rms(x, hidden, p.eps, &s, report, p.error, op, 0);
    for (int j = thread; j < hidden; j += DECODE_THREADS) v[j] = x[j] * factor * floats[j];
    factor = block_rms(v, hidden, LINEAR_EPS, &s, report, p.error, op, 0);
    const float* weight = floats + padded;
    quantise_row<1>(v, hidden, share.chunks, factor, &weight, &q, step, &s, report, p.error, op, 0);
    float size = step[0] * floats[2 * padded];
    multiply<1>(share, q, acc);
    for (int j = thread; j < share.units * 16; j += DECODE_THREADS) {
        int c = share.first * 16 + j;
        if (c >= p.vocab) break;
        float logit = (float)(acc[j] - s.sum[0]) * size;
        if (!finite(logit)) note_error(p.error, op + 1, 0);
        p.logits[c] = logit;
    }
}

// One token of one sequence through the whole model in one launch. All blocks are resident at once and meet at a
// barrier between the four phases of a layer; each keeps the residual stream in its own shared memory and computes norms and
// quantisation for itself, so that only the outputs of matrices travel. While blocks wait for each other, the weights of the
// next phase are already on their way.

#define DECODE_THREADS 512
#define DECODE_WARPS (DECODE_THREADS / 32)
// Tiles of weights that a warp holds in registers ahead of their use.
#define AHEAD 8

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

// Values that other blocks have written: past the L1 cache, which may hold older ones.
__device__ __forceinline__ float4 load(const float* p) {
    float4 v;
    asm volatile("ld.global.cg.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
                 : "l"(p));
    return v;
}

// Takes `n` floats from `from` to shared memory, or adds them to what is there; up to the next multiple of four. The loads do
// not wait for each other.
__device__ __forceinline__ void fetch(const float* from, float* to, int n, bool add) {
    const int run = 4;
#pragma unroll 1
    for (int start = threadIdx.x * 4; start < n; start += run * DECODE_THREADS * 4) {
        float4 v[run];
#pragma unroll
        for (int k = 0; k < run; k++) {
            int j = start + k * DECODE_THREADS * 4;
            if (j < n) v[k] = load(from + j);
        }
#pragma unroll
        for (int k = 0; k < run; k++) {
            int j = start + k * DECODE_THREADS * 4;
            if (j >= n) break;
            float4* at = (float4*)(to + j);
            if (add) {
                float4 x = *at;
                v[k] = make_float4(x.x + v[k].x, x.y + v[k].y, x.z + v[k].z, x.w + v[k].w);
            }
            *at = v[k];
        }
    }
}

// All blocks of the grid meet, and see what the others wrote before they arrived. Between arriving and waiting a block may send
// for what it needs next; were it sent for before, arriving would wait for it.
__device__ __forceinline__ void arrive(u32* barrier) {
    __syncthreads();
    if (threadIdx.x == 0)
        asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(barrier) : "memory");
}

// `goal` counts arrivals from launch to launch, and wraps.
__device__ __forceinline__ void wait(u32* barrier, u32 goal) {
    if (threadIdx.x == 0) {
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
    // Units go round, the blocks at the front take one more.
    u32 each = (u32)phase.units / gridDim.x, more = (u32)phase.units - each * gridDim.x;
    s.first = (int)(blockIdx.x * each + min(blockIdx.x, more));
    s.units = (int)(each + (blockIdx.x < more));
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

// The share's products with the quantised rows `q`, one of `chunks` * 128 bytes for each of the inputs (1, or 3 for the
// three matrices of a unit). `acc` takes 16 sums for each row of tiles and must be zero. Ends with all threads together.
__device__ __forceinline__ void multiply(const Share& s, const u32* q, int inputs, int* acc) {
    const uint4* rows = (const uint4*)q + 2 * (threadIdx.x & 3);
    int row = s.row, chunk = s.chunk;
    int sum[4] = {0, 0, 0, 0};
    auto input = [&](int row) { return rows + (inputs == 1 ? 0 : row % 3 * s.chunks * 8); };
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
#pragma unroll 1
    for (; n + 4 <= s.count; n += 4) {
        uint4 w[4];
#pragma unroll
        for (int k = 0; k < 4; k++) w[k] = __ldg(s.tiles + (n + k) * 32);
#pragma unroll
        for (int k = 0; k < 4; k++) add(w[k]);
    }
#pragma unroll 1
    for (; n < s.count; n++) add(__ldg(s.tiles + n * 32));
    if (chunk > 0 && s.count > 0) add_sums(sum, acc + row * 16);
    __syncthreads();
}

// What the warps of a block have found out each for itself.
struct Warps {
    u32 largest[3][DECODE_WARPS];
    int sum[3][DECODE_WARPS];
};

// The factor of an RMS norm as `block_rms` has it, by way of `squares`: the 16 lanes' terms side by side, so that the one
// warp that adds them, one after the other, has little else to do. Zeros at a lane's end change no bit of a sum of squares.
__device__ __forceinline__ float row_rms(const float* v, int n, float eps, float* squares, Shared* s,
                                         bool report, u64* error, int op) {
    const int terms = (n + 255) / 256 * 16, stride = terms + 4;
    __syncthreads();
#pragma unroll 4
    for (int j = threadIdx.x; j < terms * 16; j += DECODE_THREADS) {
        float x = j < n ? v[j] : 0.0f;
        squares[(j & 15) * stride + (j >> 4)] = x * x;
    }
    __syncthreads();
    if (threadIdx.x < 32) {
        const float4* from = (const float4*)(squares + (threadIdx.x & 15) * stride);
        float sum = 0.0f;
        float4 next[4] = {from[0], from[1], from[2], from[3]};
#pragma unroll 1
        for (int k = 4; k <= terms / 4; k += 4) {
            float4 now[4] = {next[0], next[1], next[2], next[3]};
            if (k < terms / 4)
                next[0] = from[k], next[1] = from[k + 1], next[2] = from[k + 2], next[3] = from[k + 3];
#pragma unroll
            for (int i = 0; i < 4; i++) {
                sum = sum + now[i].x;
                sum = sum + now[i].y;
                sum = sum + now[i].z;
                sum = sum + now[i].w;
            }
        }
        sum = sum + __shfl_down_sync(0xffffffffu, sum, 8, 16);
        sum = sum + __shfl_down_sync(0xffffffffu, sum, 4, 16);
        sum = sum + __shfl_down_sync(0xffffffffu, sum, 2, 16);
        sum = sum + __shfl_down_sync(0xffffffffu, sum, 1, 16);
        if (threadIdx.x == 0) {
            if (report && !finite(sum)) note_error(error, op, 0);
            s->factor = rms_factor(sum, n, eps);
        }
    }
    __syncthreads();
    return s->factor;
}

// As `quantise_row`, for COUNT matrices whose norms stand `stride` floats apart and whose rows follow each other.
template <int COUNT>
__device__ __forceinline__ void quantise_rows(const float* v, int n, int chunks, float factor,
                                              const float* norms, int stride, u32* q, float* step,
                                              int* total, Warps* w, bool report, u64* error, int op) {
    const int warp = threadIdx.x >> 5;
    u32 largest[COUNT];
    float scale[COUNT];
    int sum[COUNT];
#pragma unroll
    for (int m = 0; m < COUNT; m++) largest[m] = 0, sum[m] = 0;
#pragma unroll 2
    for (int j = threadIdx.x; j < n; j += DECODE_THREADS) {
        float x = v[j] * factor;
#pragma unroll
        for (int m = 0; m < COUNT; m++)
            largest[m] = max(largest[m], __float_as_uint(x * norms[m * stride + j]) & 0x7fffffffu);
    }
#pragma unroll
    for (int m = 0; m < COUNT; m++) {
        largest[m] = warp_max(largest[m]);
        if ((threadIdx.x & 31) == 0) w->largest[m][warp] = largest[m];
    }
    __syncthreads();
#pragma unroll
    for (int m = 0; m < COUNT; m++) {
        u32 most = 0;
#pragma unroll
        for (int k = 0; k < DECODE_WARPS; k++) most = max(most, w->largest[m][k]);
        float value = __uint_as_float(most);
        if (report && threadIdx.x == 0 && !finite(value)) note_error(error, op, 0);
        scale[m] = 127.0f / (value > 1e-5f ? value : 1e-5f);
    }
#pragma unroll 1
    for (int word = threadIdx.x; word < chunks * 32; word += DECODE_THREADS) {
        int at = permuted(word);
#pragma unroll
        for (int m = 0; m < COUNT; m++)
            q[m * chunks * 32 + at] = quantise_word(v, n, word, factor, norms + m * stride, scale[m], sum[m]);
    }
#pragma unroll
    for (int m = 0; m < COUNT; m++) {
        sum[m] = warp_sum(sum[m]);
        if ((threadIdx.x & 31) == 0) w->sum[m][warp] = sum[m];
        step[m] = 1.0f / scale[m];
    }
    __syncthreads();
#pragma unroll
    for (int m = 0; m < COUNT; m++) {
        total[m] = 0;
#pragma unroll
        for (int k = 0; k < DECODE_WARPS; k++) total[m] += w->sum[m][k];
    }
}

// Shared memory: floats x[hidden], v[largest row], h[width], what `row_rms` needs, the phase's floats, the quantised rows, the sums; sizes in 4-byte words.
struct Room {
    int v, h, squares, floats, q, acc;
};

// The phases of a layer, and the head.
enum { MIX, OUT, GATE, DOWN, HEAD };

// One loop goes through all phases, so that the code stays small: it has to come from the instruction cache each time.
extern "C" __global__ void __launch_bounds__(DECODE_THREADS, 1) decode(Decode p, Room room) {
    extern __shared__ float4 memory[];
    __shared__ Shared s;
    __shared__ Warps warps;
    float* x = (float*)memory;
    float* squares = x + room.squares;
    float* v = x + room.v;
    float* h = x + room.h;
    float* floats = x + room.floats;
    u32* q = (u32*)x + room.q;
    int* acc = (int*)x + room.acc;
    const int thread = threadIdx.x;
    const bool report = blockIdx.x == 0;
    const int hidden = p.hidden, width = p.width, inner = p.inner;
    const int padded = (hidden + 3) & ~3, padded_width = (width + 3) & ~3;
    float* g_out = p.exchange;
    float* h_out = g_out + padded_width;
    float* o_out = h_out + padded_width;
    float* down_out = o_out + padded;
    float* u_out = down_out + padded;
    u32 goal = p.barrier_start;
    Share share;

    const u8* base = p.arena;
    take(p, base, p.phase[MIX], share, floats);
    for (int j = thread; j < hidden; j += DECODE_THREADS)
        x[j] = embedded(p.embedding, p.embedding_scales, p.embedding_kind, p.token, hidden, j);

    int layer = 0, phase = MIX;
#pragma unroll 1
    while (true) {
        const int op = phase == HEAD ? p.layers * 5 : layer * 5 + phase + 1;
        const int outputs = phase == MIX ? width : phase == GATE ? inner : phase == HEAD ? p.vocab : hidden;
        const int sums = share.matrices * 16, inputs = phase == MIX ? 3 : 1;
        float* state = p.state + (u64)layer * width;
        const float* bounds = p.bounded && layer > 0 ? (const float*)(base + p.bounds) : 0;
        for (int j = thread; j < share.units * sums; j += DECODE_THREADS) acc[j] = 0;
        // Sent for early: they are needed last.
        float before = 0.0f;
        if (phase == MIX && thread < share.units * 16 && share.first * 16 + thread < width)
            before = state[share.first * 16 + thread];

        // The row that the matrices see, in v, and the norms of it.
        int n = hidden;
        const float* norms = floats;
        if (phase == OUT || phase == DOWN) {
            n = phase == OUT ? width : inner;
            fetch(phase == OUT ? g_out : u_out, v, n, false);
            if (phase == OUT) fetch(h_out, h, n, false);
        } else if (phase == GATE || layer > 0) {
            fetch(phase == GATE ? o_out : down_out, x, n, true);
        }
        await_floats();
        const int step_up = (n + 3) & ~3;
        if (phase != DOWN) {
            const float* row = phase == OUT ? v : x;
            int place = phase == MIX ? op - 1 : op;
            float factor = row_rms(row, n, p.eps, squares, &s, report, p.error, place);
            if (phase == OUT) {
                for (int j = thread; j < n; j += DECODE_THREADS)
                    v[j] = swish_times(h[j], v[j] * factor * norms[j]);
            } else {
                for (int j = thread; j < n; j += DECODE_THREADS) v[j] = row[j] * factor * norms[j];
            }
            norms += step_up;
        }
        float factor = row_rms(v, n, LINEAR_EPS, squares, &s, report, p.error, op);
        float size[3];
        int total[3];
        if (phase == MIX)
            quantise_rows<3>(v, n, share.chunks, factor, norms, step_up, q, size, total, &warps, report, p.error, op);
        else
            quantise_rows<1>(v, n, share.chunks, factor, norms, step_up, q, size, total, &warps, report, p.error, op);
        const float* scale = norms + inputs * step_up;
        size[0] = size[0] * scale[0];
        if (phase == MIX) size[1] = size[1] * scale[1], size[2] = size[2] * scale[2];
        multiply(share, q, inputs, acc);

        // The matrices' outputs, and what is made of them at once.
        for (int j = thread; j < share.units * 16; j += DECODE_THREADS) {
            int c = share.first * 16 + j;
            if (c >= outputs) break;
            const int* sum = acc + j / 16 * sums + j % 16;
            float first = (float)(sum[0] - total[0]) * size[0];
            if (phase == MIX) {
                float f = (float)(sum[16] - total[1]) * size[1];
                float g = (float)(sum[32] - total[2]) * size[2];
                if (j != thread) before = state[c];
                f = forget_gate(f, bounds, c);
                float now = f * before + input_gate(first, f);
                state[c] = now;
                g_out[c] = g;
                h_out[c] = now;
            } else if (phase == GATE) {
                float value = (float)(sum[16] - total[0]) * size[0];
                u_out[c] = swish_times(first, value);
            } else if (phase == HEAD) {
                if (!finite(first)) note_error(p.error, op + 1, 0);
                p.logits[c] = first;
            } else {
                (phase == OUT ? o_out : down_out)[c] = first;
            }
        }
        if (phase == HEAD) break;
        if (++phase == HEAD) {
            base += p.layer_stride;
            phase = ++layer < p.layers ? MIX : HEAD;
        }
        if (phase == HEAD && !p.want) break;
        arrive(p.barrier);
        take(p, base, p.phase[phase], share, floats);
        wait(p.barrier, goal += gridDim.x);
    }
}

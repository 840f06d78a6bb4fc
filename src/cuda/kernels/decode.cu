// A phase of a layer, and the decode kernel: see shape.cu.

// Whether the norm of a layer is applied after the barrier before the products: only their outputs
// need it. Where a thread has few words it costs more than it gains.
#define AFTER_READY (HIDDEN > 1024)

// The slow path of a phase: corrections are added to its sums, or these are computed again, and
// errors are reported. Begins when all is resolved, ends with a barrier of all threads. A function
// of its own, since code that is jumped over takes time to fetch too.
template <int P>
__device__ __noinline__ void put_right(const Decode& p, const u8* base, int layer, Memory* memory, int* acc, bool bad_row) {
    using S = Shape<P>;
    const int op = P == HEAD ? layer * 5 : layer * 5 + P + 1;
    if (blockIdx.x == 0 && threadIdx.x == 0 && (memory->bad || bad_row)) fail(p, P == MIX && bad_row ? op - 1 : op);
    int first, units;
    units_of<P>(first, units);
    const int rows = units * S::matrices * 8;
    const u32* tiles = (const u32*)(base + p.place[P].tiles) + (u64)first * S::tiles * 128;
    if (memory->redo) {
        const float* row = P == DOWN ? set_of(p, layer) + U_AT : memory->squares + ROW_AT(P == DOWN ? 0 : S::chunks);
        const float* norms = (const float*)(base + p.place[P].floats) + (S::norms - S::inputs) * UP4(S::columns);
        redo(memory, P, row, norms, tiles, rows, acc, acc + S::sums);
        return;
    }
    for (int j = threadIdx.x; j < rows; j += THREADS)
        acc[j] += fix(memory, tiles + (u64)(j / 8) * (S::chunks * 64), j % 8, S::inputs > 1 ? j / 8 % 3 : 0);
    meet<ALONE>();
}

// A phase. `x` is the stream, `acc` the sums that it uses.
template <int P>
__device__ __forceinline__ void phase(const Decode& p, const u8* base, int layer, float4* x, Tiles& a, Memory* memory,
                                      int* acc) {
    using S = Shape<P>;
    const int thread = threadIdx.x, op = P == HEAD ? layer * 5 : layer * 5 + P + 1;
    float* exchange = set_of(p, layer);
    int first, units;
    units_of<P>(first, units);
#pragma unroll 1
    for (int j = thread; j < S::sums + 4; j += THREADS) acc[j] = 0;

    // The row that the matrices see.
    float4 v[S::each], h[P == OUT ? S::each : 1], over[P == OUT ? S::each : 1];
    const float* from = P == OUT    ? exchange + G_AT
                        : P == GATE ? exchange + O_AT
                        : P == DOWN ? exchange + U_AT
                                    : set_of(p, layer - 1) + DOWN_AT;
    // The norms were prefetched in the phase before. They go into registers before the row comes:
    // then nothing waits for them, and others take their place.
    float4 norms[S::norms][S::each];
    float size[S::inputs];
    {
        const float* floats = await_floats<P>(base + p.place[P].floats, memory);
#pragma unroll
        for (int m = 0; m < S::norms; m++)
#pragma unroll
            for (int k = 0; k < S::each; k++) norms[m][k] = norm_word<P>(floats, m, k);
#pragma unroll
        for (int m = 0; m < S::inputs; m++) size[m] = floats[S::norms * UP4(S::columns) + m];
    }
    if (P == OUT || P == GATE || P == DOWN || layer > 0) {
        await_some<P>(from);
        await_rows<P, P == OUT ? 2 : 1>(from, v, exchange + H_AT, h);
    } else {
        meet<ALONE>();
    }

    // Copies of weights and floats are started while nobody waits for a row.
#if __CUDA_ARCH__ >= 900
    tell(a, memory);
#else
    send_for(p, a, memory);
#endif
    float* state = p.state + (u64)layer * WIDTH;
    const float* bounds = p.bounded && layer > 0 ? (const float*)(base + p.bounds) : 0;
    float before = 0.0f, bound = 0.0f;
    if (P == MIX && thread < units * 8 && first * 8 + thread < WIDTH) {
        before = load_early(state + first * 8 + thread);
        if (bounds) bound = load_early(bounds + first * 8 + thread);
    }
#if __CUDA_ARCH__ < 900
    if (P == OUT) empty(p, layer, thread, THREADS);
#endif

    if constexpr (P != OUT && P != DOWN) {
        if (P == GATE || layer > 0) {
#pragma unroll
            for (int k = 0; k < S::each; k++)
                x[k] = make_float4(x[k].x + v[k].x, x[k].y + v[k].y, x[k].z + v[k].z, x[k].w + v[k].w);
        }
#pragma unroll
        for (int k = 0; k < S::each; k++) v[k] = x[k];
    }
    // Whether the layer's norm is of a row that is not finite.
    bool bad_row = false;
    constexpr int own = S::norms - S::inputs;
    float4 z[S::inputs][S::each];
    u32 flags = 0;
    hand_squares<P>(v, memory);
    if constexpr (P != OUT && P != DOWN) {
#pragma unroll
        for (int k = 0; k < S::each; k++) {
            float4 with_norm = times(v[k], norms[0][k]);
#pragma unroll
            for (int m = 0; m < S::inputs; m++) z[m][k] = times(with_norm, norms[own + m][k]);
        }
        flags = quantise<P>(z, memory, acc + S::sums);
    }
    if constexpr (P == OUT) {
#pragma unroll
        for (int k = 0; k < S::each; k++)
            over[k] = make_float4(1.0f + exp_(-h[k].x), 1.0f + exp_(-h[k].y), 1.0f + exp_(-h[k].z), 1.0f + exp_(-h[k].w));
    }
    // The layer's norm, once its squares are added.
    auto apply_norm = [&] {
        if constexpr (own > 0) {
            meet<ADDED>();
            float sum = sum_of_lanes(memory);
            bad_row = !finite(sum);
            float factor = factor_from(sum, (float)S::columns, 1.0f / S::columns, p.eps);
#pragma unroll
            for (int k = 0; k < S::each; k++) {
                int word = thread + k * THREADS;
                v[k] = times(v[k], factor, norms[0][k]);
                if constexpr (P == OUT) {
                    v[k] = times(h[k], v[k]);
                    if (word < S::words) v[k] = divide(v[k], over[k]);
                }
                if (word < S::chunks * 32) *(float4*)(memory->squares + ROW_AT(S::chunks) + 4 * word) = v[k];
            }
            hand_squares<P>(v, memory);
        }
    };
    if constexpr (P == OUT || !AFTER_READY) apply_norm();
    if constexpr (P == OUT || P == DOWN) {
#pragma unroll
        for (int k = 0; k < S::each; k++) z[0][k] = times(v[k], norms[own][k]);
        flags = quantise<P>(z, memory, acc + S::sums);
    }
#if __CUDA_ARCH__ < 900
    await_batch();
#endif
    multiply<P>(p, a, memory, units, acc, [&] {
        if constexpr (AFTER_READY) {
            if constexpr (P != OUT) apply_norm();
        }
        note<P>(flags, v, norms + own, memory);
    });
    // The matrices' outputs, but for what is not resolved yet.
    const int* total = acc + S::sums;
    int sum[S::matrices];
    auto add_up = [&](int j) {
#pragma unroll
        for (int m = 0; m < S::matrices; m++)
            sum[m] = acc[(j / 8 * S::matrices + m) * 8 + j % 8] - total[S::inputs > 1 ? m : 0];
    };
    if (P != HEAD && thread < units * 8) add_up(thread);
    meet<ADDED>();
    const uint4 settled = *(const uint4*)&memory->noted;
    float4 step = *(const float4*)memory->step;
    if (RARELY(settled.y | settled.z | settled.w | bad_row)) {
        put_right<P>(p, base, layer, memory, acc, bad_row);
        step = *(const float4*)memory->step;
        if (thread < units * 8) add_up(thread);
    }
    size[0] = step.x * size[0];
    if constexpr (S::inputs > 1) size[1] = step.y * size[1], size[2] = step.z * size[2];

    // The matrices' outputs, and the element-wise operations on them.
    if constexpr (P == HEAD) {
        for (int j = 4 * thread; j < units * 8; j += 4 * THREADS) {
            const int c = first * 8 + j, count = min(S::rows - c, 4);
            if (count <= 0) break;
            float value[4];
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int sum = acc[j + i] - total[0];
                value[i] = (float)sum * size[0];
                if (RARELY(i < count && !finite(value[i]))) fail(p, op + 1);
            }
            put_out_to_host(p.logits + c, value, count);
        }
        return;
    }
    constexpr bool once = S::most_units * 8 <= THREADS;
    for (int j = thread; j < units * 8; j += THREADS) {
        int c = first * 8 + j;
        if (S::rows % 8 != 0 && c >= S::rows) break;
        if (!once && j != thread) add_up(j);
        float value = (float)sum[0] * size[0];
        if constexpr (P == MIX) {
            float f = (float)sum[1] * size[1];
            float g = (float)sum[2] * size[2];
            put_out(exchange + G_AT + c, g);
            if (!once && j != thread) before = state[c], bound = bounds ? bounds[c] : 0.0f;
            // As `forget_gate` and `input_gate`.
            f = quotient(1.0f, 1.0f + exp_(-f));
            if (bounds) f = bound + (1.0f - bound) * f;
            float now = f * before + quotient(value * (1.0f - f), 1.0f + exp_(-value));
            put_out(exchange + H_AT + c, now);
            state[c] = now;
        } else if constexpr (P == GATE) {
            float other = (float)sum[1] * size[0];
            put_out(exchange + U_AT + c, quotient(value * other, 1.0f + exp_(-value)));
        } else {
            put_out(exchange + (P == OUT ? O_AT : DOWN_AT) + c, value);
        }
        if (once) break;
    }
}

extern "C" __global__ void __launch_bounds__(ALL_THREADS, 1) decode(const __grid_constant__ Decode p) {
    extern __shared__ uint4 shared[];
    // The address in a register: else the compiler computes it in many places, each time from a
    // special register.
    u32 shared_at;
    asm volatile("mov.u32 %0, %1;" : "=r"(shared_at) : "r"(shared_address(shared)));
    Memory* memory = (Memory*)__cvta_shared_to_generic(shared_at);
    const u8* base = p.arena;
    Tiles a;
    begin(p, a, memory);
#if __CUDA_ARCH__ >= 900
    const bool sends = threadIdx.x >= THREADS && threadIdx.x < THREADS + 32;
    if (sends) serve_first(p, a, memory);
#endif
    u32 token = p.token;
    if (p.number != 0) {
        token = await_token(p, memory);
        if (token == NONE) {
#if __CUDA_ARCH__ >= 900
            if (sends) await_first(a, memory);
#endif
            return;
        }
    }
#if __CUDA_ARCH__ >= 900
    if (threadIdx.x >= THREADS) {
        if (sends)
            serve_all(p, a, memory);
        else if (threadIdx.x < THREADS + 64)
            norm_all(p, memory);
#if HELPERS > 0
        else
            help_all(p, memory);
#endif
        return;
    }
#else
    if (threadIdx.x >= THREADS) {
        norm_all(p, memory);
        return;
    }
    send_for(p, a, memory);
#endif
    for (int j = threadIdx.x; j < 2 * (ROWS_WORDS + 4); j += THREADS) memory->q[0][j] = 0;
    float4 x[HELD];
#pragma unroll
    for (int k = 0; k < HELD; k++) {
        float v[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int j = 4 * (threadIdx.x + k * THREADS) + i;
            v[i] = j < HIDDEN ? embedded(p.embedding, p.embedding_scales, p.embedding_kind, token, HIDDEN, j) : 0.0f;
        }
        x[k] = make_float4(v[0], v[1], v[2], v[3]);
    }
    int layer = 0;
#pragma unroll 1
    for (; layer < p.layers; layer++) {
        phase<MIX>(p, base, layer, x, a, memory, memory->acc[0]);
        phase<OUT>(p, base, layer, x, a, memory, memory->acc[1]);
        phase<GATE>(p, base, layer, x, a, memory, memory->acc[0]);
        phase<DOWN>(p, base, layer, x, a, memory, memory->acc[1]);
        base += p.layer_stride;
    }
    if (p.want) phase<HEAD>(p, base, layer, x, a, memory, memory->acc[0]);
}

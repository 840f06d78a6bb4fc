// A phase, and the kernel: see shape.cu.

// Whether all meet to multiply before they see to what only their outputs need. Where a thread has few words it costs more than it gains.
#define AFTER_READY (HIDDEN > 1024)

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
    // The norms are on the way since the phase before. Into registers before the row comes: then nothing waits for them, and others
    // take their place.
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

    // Weights are sent for when nobody waits for a row, and floats.
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
    if constexpr (!AFTER_READY) note<P>(flags, v, norms + own, memory);
    multiply<P>(p, a, memory, units, acc, [&] {
        if constexpr (AFTER_READY) {
            if constexpr (P != OUT) apply_norm();
            note<P>(flags, v, norms + own, memory);
        }
    });
    meet<ADDED>();
    const u32* tiles = (const u32*)(base + p.place[P].tiles) + (u64)first * S::tiles * 128;
    if (memory->redo) {
        const float* row = P == DOWN ? from : memory->squares + ROW_AT(P == DOWN ? 0 : S::chunks);
        const float* own_norms = (const float*)(base + p.place[P].floats) + own * UP4(S::columns);
        redo(memory, P, row, own_norms, tiles, units * S::matrices * 8, acc, acc + S::sums);
    }
#pragma unroll
    for (int m = 0; m < S::inputs; m++) size[m] = memory->step[m] * size[m];
    const u32 fixed = memory->fixed;
    if (blockIdx.x == 0 && thread == 0 && (memory->bad || bad_row)) fail(p, P == MIX && bad_row ? op - 1 : op);

    // The matrices' outputs, and what is made of them at once.
    const int* total = acc + S::sums;
    if constexpr (P == HEAD) {
        for (int j = 4 * thread; j < units * 8; j += 4 * THREADS) {
            const int c = first * 8 + j, count = min(S::rows - c, 4);
            if (count <= 0) break;
            float value[4];
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int sum = acc[j + i] - total[0];
                if (fixed) sum += fix(memory, tiles + (u64)(j / 8) * (S::chunks * 64), j % 8 + i, 0);
                value[i] = (float)sum * size[0];
                if (i < count && !finite(value[i])) fail(p, op + 1);
            }
            put_out_to_host(p.logits + c, value, count);
        }
        return;
    }
    for (int j = thread; j < units * 8; j += THREADS) {
        int c = first * 8 + j;
        if (c >= S::rows) break;
        int sum[S::matrices];
#pragma unroll
        for (int m = 0; m < S::matrices; m++) {
            int matrix_row = j / 8 * S::matrices + m, norm = S::inputs > 1 ? m : 0;
            sum[m] = acc[matrix_row * 8 + j % 8] - total[norm];
            if (fixed) sum[m] += fix(memory, tiles + (u64)matrix_row * (S::chunks * 64), j % 8, norm);
        }
        float value = (float)sum[0] * size[0];
        if constexpr (P == MIX) {
            float f = (float)sum[1] * size[1];
            float g = (float)sum[2] * size[2];
            put_out(exchange + G_AT + c, g);
            if (j != thread) before = state[c], bound = bounds ? bounds[c] : 0.0f;
            f = forget_gate(f, bounds ? &bound : 0, 0);
            float now = f * before + input_gate(value, f);
            put_out(exchange + H_AT + c, now);
            state[c] = now;
        } else if constexpr (P == GATE) {
            float other = (float)sum[1] * size[0];
            put_out(exchange + U_AT + c, swish_times(value, other));
        } else {
            put_out(exchange + (P == OUT ? O_AT : DOWN_AT) + c, value);
        }
    }
}

extern "C" __global__ void __launch_bounds__(ALL_THREADS, 1) decode(const __grid_constant__ Decode p) {
    extern __shared__ uint4 shared[];
    Memory* memory = (Memory*)shared;
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

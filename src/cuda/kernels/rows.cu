// Operations on rows of activations, one block a row: norms, gates, quantisation. The row lies in
// dynamic shared memory.

extern "C" __global__ void embed(const u8* table, const float* scales, int kind, const u32* tokens,
                                 int width, float* x) {
    for (int j = threadIdx.x; j < width; j += blockDim.x)
        x[(u64)blockIdx.x * width + j] =
            embedded(table, scales, kind, tokens[blockIdx.x], width, j);
}

// Where the quantised rows of a kernel go: one set for each matrix that has an input of its own.
struct Quantised {
    u32* q[3];
    float* step[3];
    int* sum[3];
};

template <int COUNT>
__device__ __forceinline__ void quantise_out(const float* v, int n, float factor,
                                             const float* const* weight, const Quantised& to,
                                             Shared* s, u64* error, int op, int row, int error_row) {
    int chunks = (n + 255) / 256 * 2;
    u32* q[COUNT];
    float step[COUNT];
#pragma unroll
    for (int m = 0; m < COUNT; m++) q[m] = to.q[m] + (u64)row * chunks * 32;
    quantise_row<COUNT>(v, n, chunks, factor, weight, q, step, s, true, error, op, error_row);
    if (threadIdx.x == 0) {
#pragma unroll
        for (int m = 0; m < COUNT; m++) {
            to.step[m][row] = step[m];
            to.sum[m][row] = s->sum[m];
        }
    }
}

// a = norm(x + y), with x + y put back into x; `y` may be null.
extern "C" __global__ void norm_rows(float* x, const float* y, int n, const float* weight, float eps,
                                     float* a, u64* error, int op) {
    extern __shared__ float v[];
    __shared__ Shared s;
    u64 at = (u64)blockIdx.x * n;
    for (int j = threadIdx.x; j < n; j += blockDim.x) {
        float value = x[at + j];
        if (y) x[at + j] = value = value + y[at + j];
        v[j] = value;
    }
    float factor = block_rms(v, n, eps, &s, true, error, op, blockIdx.x);
    for (int j = threadIdx.x; j < n; j += blockDim.x) a[at + j] = v[j] * factor * weight[j];
}

// Quantises the rows of `a` for the input, forget and gate projections.
extern "C" __global__ void quantise_ifg(const float* a, int n, const float* wi, const float* wf,
                                        const float* wg, Quantised to, u64* error, int op) {
    extern __shared__ float v[];
    __shared__ Shared s;
    for (int j = threadIdx.x; j < n; j += blockDim.x) v[j] = a[(u64)blockIdx.x * n + j];
    float factor = block_rms(v, n, LINEAR_EPS, &s, true, error, op, blockIdx.x);
    const float* weight[3] = {wi, wf, wg};
    quantise_out<3>(v, n, factor, weight, to, &s, error, op, blockIdx.x, blockIdx.x);
}

// q = quantise(g_norm(g) * swish(h)).
extern "C" __global__ void gated_rows(const float* g, const float* h, int n, const float* g_norm,
                                      float eps, const float* norm, Quantised to, u64* error,
                                      int op) {
    extern __shared__ float v[];
    __shared__ Shared s;
    u64 at = (u64)blockIdx.x * n;
    for (int j = threadIdx.x; j < n; j += blockDim.x) v[j] = g[at + j];
    float factor = block_rms(v, n, eps, &s, true, error, op, blockIdx.x);
    for (int j = threadIdx.x; j < n; j += blockDim.x)
        v[j] = swish_times(h[at + j], v[j] * factor * g_norm[j]);
    factor = block_rms(v, n, LINEAR_EPS, &s, true, error, op, blockIdx.x);
    quantise_out<1>(v, n, factor, &norm, to, &s, error, op, blockIdx.x, blockIdx.x);
}

// x += y, then q = quantise(norm(x)). Row r of the output comes from row `source[r]`; where
// `source` is given x stays as it is.
extern "C" __global__ void stream_rows(float* x, const float* y, const u32* source, int n,
                                       const float* weight, float eps, const float* norm,
                                       Quantised to, u64* error, int op) {
    extern __shared__ float v[];
    __shared__ Shared s;
    int row = source ? source[blockIdx.x] : blockIdx.x;
    u64 at = (u64)row * n;
    for (int j = threadIdx.x; j < n; j += blockDim.x) {
        float value = x[at + j] + y[at + j];
        if (!source) x[at + j] = value;
        v[j] = value;
    }
    float factor = block_rms(v, n, eps, &s, true, error, op, row);
    for (int j = threadIdx.x; j < n; j += blockDim.x) v[j] = v[j] * factor * weight[j];
    factor = block_rms(v, n, LINEAR_EPS, &s, true, error, op, row);
    quantise_out<1>(v, n, factor, &norm, to, &s, error, op, blockIdx.x, row);
}

// q = quantise(swish(gate) * value), `gate` being rows of both, [2 n].
extern "C" __global__ void swiglu_rows(const float* gate, int n, const float* norm, Quantised to,
                                       u64* error, int op) {
    extern __shared__ float v[];
    __shared__ Shared s;
    u64 at = (u64)blockIdx.x * 2 * n;
    for (int j = threadIdx.x; j < n; j += blockDim.x)
        v[j] = swish_times(gate[at + j], gate[at + n + j]);
    float factor = block_rms(v, n, LINEAR_EPS, &s, true, error, op, blockIdx.x);
    quantise_out<1>(v, n, factor, &norm, to, &s, error, op, blockIdx.x, blockIdx.x);
}

// Notes logits that are not finite. One block a row; `source` gives the row's number among all.
extern "C" __global__ void check_rows(const float* logits, int n, const u32* source, u64* error,
                                      int op) {
    bool bad = false;
    for (int j = threadIdx.x; j < n; j += blockDim.x)
        bad |= !finite(logits[(u64)blockIdx.x * n + j]);
    if (bad) note_error(error, op, source[blockIdx.x]);
}

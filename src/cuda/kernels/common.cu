// The float operations of docs/NUMERICS.md, as src/ops.rs has them. Compiled with --fmad=false and
// IEEE division and square root, so that each gives the CPU's bits.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

// Epsilon of the norm before every ternary matrix.
#define LINEAR_EPS 1e-6f
// Rows that the CPU takes through the layers together: what a first error is found among.
#define ERROR_ROWS 256

__device__ __forceinline__ float power_of_two(int n) {
    return __uint_as_float((u32)(n + 127) << 23);
}

__device__ __forceinline__ float exp_(float x) {
    x = x > 89.0f ? 89.0f : x;
    x = x < -104.0f ? -104.0f : x;
    const float rounder = 12582912.0f;
    float rounded = x * 1.44269504088896341f + rounder;
    float n = rounded - rounder;
    float r = x - n * 0.693359375f - n * -2.12194440e-4f;
    float p = 1.9875691e-4f;
    p = p * r + 1.3981999e-3f;
    p = p * r + 8.333452e-3f;
    p = p * r + 4.1665796e-2f;
    p = p * r + 1.6666665e-1f;
    p = p * r + 0.5f;
    p = (p * (r * r) + r) + 1.0f;
    int scale = (int)(__float_as_uint(rounded) - __float_as_uint(rounder));
    int half = scale >> 1;
    return p * power_of_two(half) * power_of_two(scale - half);
}

__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + exp_(-x)); }

// x * y * sigmoid(x) with the product first.
__device__ __forceinline__ float swish_times(float x, float y) {
    return (x * y) / (1.0f + exp_(-x));
}

__device__ __forceinline__ bool finite(float x) {
    return (__float_as_uint(x) & 0x7f800000u) != 0x7f800000u;
}

__device__ __forceinline__ float rms_factor(float sum, int n, float eps) {
    return 1.0f / sqrtf(sum / (float)n + eps);
}

// The forget gate, raised to its bound where there is one.
__device__ __forceinline__ float forget_gate(float f, const float* bounds, int channel) {
    f = sigmoid(f);
    if (bounds) {
        float b = bounds[channel];
        f = b + (1.0f - b) * f;
    }
    return f;
}

// What goes into the recurrence beside f * h.
__device__ __forceinline__ float input_gate(float i, float f) { return swish_times(i, 1.0f - f); }

// Nearest integer, halves away from zero, as int8.
__device__ __forceinline__ int quantise_one(float y, float s) {
    float v = y * s;
    int q = (int)(v + copysignf(0.49999997f, v));
    return min(max(q, -128), 127);
}

// Sum of squares by the 16 lanes of a half warp, in the CPU's order: element j goes to lane j mod
// 16, then lanes 8, 4, 2 and 1 apart are added. `lane` is 0..15; lane 0 has the sum. All 32 lanes
// of the warp must call it.
__device__ __forceinline__ float sum_squares(const float* v, int n, int lane) {
    // The adds wait for each other, so the loads of the next run are under way during those of this
    // one.
    const int run = 16;
    float sum = 0.0f, next[run];
    int j = lane, whole = n / (16 * run);
#pragma unroll
    for (int k = 0; k < run; k++) next[k] = whole > 0 ? v[j + 16 * k] : 0.0f;
    for (int r = 0; r < whole; r++) {
        float now[run];
#pragma unroll
        for (int k = 0; k < run; k++) now[k] = next[k] * next[k];
        j += 16 * run;
        if (r + 1 < whole) {
#pragma unroll
            for (int k = 0; k < run; k++) next[k] = v[j + 16 * k];
        }
#pragma unroll
        for (int k = 0; k < run; k++) sum = sum + now[k];
    }
    for (; j < n; j += 16) sum = sum + v[j] * v[j];
    sum = sum + __shfl_down_sync(0xffffffffu, sum, 8, 16);
    sum = sum + __shfl_down_sync(0xffffffffu, sum, 4, 16);
    sum = sum + __shfl_down_sync(0xffffffffu, sum, 2, 16);
    sum = sum + __shfl_down_sync(0xffffffffu, sum, 1, 16);
    return sum;
}

// Notes a value that is not finite: the smallest key is the error that the CPU would report.
__device__ __forceinline__ void note_error(u64* error, int op, int row) {
    u64 key = (u64)(row / ERROR_ROWS) << 48 | (u64)op << 16 | (u64)(row % ERROR_ROWS);
    atomicMin(error, key);
}

__device__ __forceinline__ int dot4(int codes, int q, int sum) { return __dp4a(codes, q, sum); }

// A dot product of unsigned codes and signed activations.
__device__ __forceinline__ int dot4_unsigned(u32 codes, u32 q, int sum) {
    int out;
    asm("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(out) : "r"(codes), "r"(q), "r"(sum));
    return out;
}

#if __CUDA_ARCH__ >= 800
// By tensor cores: 16 x 8 sums of 32 products each.
__device__ __forceinline__ void mma(int* c, const u32* a, u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
#endif

// Quantised rows are stored in the order in which the matrix kernels read them: in each chunk of
// 128 columns, the word of columns 32 k + 16 h + 4 t .. + 4 stands at 8 t + 2 k + h. `word` counts
// words of four columns from the row's start.
__device__ __forceinline__ int permuted(int word) {
    int chunk = word >> 5, k = word >> 3 & 3, h = word >> 2 & 1, t = word & 3;
    return chunk << 5 | t << 3 | k << 1 | h;
}

// An element of the embedding as float32: `kind` is 0 for float32, 1 for float16, 2 for bfloat16, 3
// for int8 with a scale per row.
__device__ __forceinline__ float embedded(const u8* table, const float* scales, int kind, u64 token,
                                          int width, int j) {
    u64 at = token * width + j;
    if (kind == 0) return ((const float*)table)[at];
    if (kind == 3) return (float)(((const signed char*)table)[at]) * scales[token];
    u32 bits = ((const u16*)table)[at];
    if (kind == 2) return __uint_as_float(bits << 16);
    float out;
    asm("cvt.f32.f16 %0, %1;" : "=f"(out) : "h"((u16)bits));
    return out;
}

// A block's row in shared memory, and what its threads share about it.
struct Shared {
    float factor;
    u32 largest[3];
    int sum[3];
};

__device__ __forceinline__ u32 warp_max(u32 v) {
#if __CUDA_ARCH__ >= 800
    return __reduce_max_sync(0xffffffffu, v);
#else
    for (int d = 16; d > 0; d >>= 1) v = max(v, __shfl_xor_sync(0xffffffffu, v, d));
    return v;
#endif
}

__device__ __forceinline__ int warp_sum(int v) {
#if __CUDA_ARCH__ >= 800
    return __reduce_add_sync(0xffffffffu, v);
#else
    for (int d = 16; d > 0; d >>= 1) v += __shfl_xor_sync(0xffffffffu, v, d);
    return v;
#endif
}

// The factor of an RMS norm of the block's row `v`; also readies the shared words of
// `quantise_row`. Begins and ends with all threads together. `report` is whether this block reports
// errors.
__device__ __forceinline__ float block_rms(const float* v, int n, float eps, Shared* s, bool report,
                                           u64* error, int op, int row) {
    __syncthreads();
    if (threadIdx.x < 32) {
        float sum = sum_squares(v, n, threadIdx.x & 15);
        if (threadIdx.x == 0) {
            if (report && !finite(sum)) note_error(error, op, row);
            s->factor = rms_factor(sum, n, eps);
        }
        if (threadIdx.x < 3) {
            s->largest[threadIdx.x] = 0;
            s->sum[threadIdx.x] = 0;
        }
    }
    __syncthreads();
    return s->factor;
}

// Word `word` of a quantised row: four values, of which those past `n` are zero. `v` and `norm` are
// read to the next multiple of four.
__device__ __forceinline__ u32 quantise_word(const float* v, int n, int word, float factor,
                                             const float* norm, float scale, int& sum) {
    int live = n - 4 * word;
    if (live <= 0) return 0;
    float4 x = *(const float4*)(v + 4 * word), w = *(const float4*)(norm + 4 * word);
    int a = quantise_one(x.x * factor * w.x, scale), b = quantise_one(x.y * factor * w.y, scale);
    int c = quantise_one(x.z * factor * w.z, scale), d = quantise_one(x.w * factor * w.w, scale);
    b = live > 1 ? b : 0, c = live > 2 ? c : 0, d = live > 3 ? d : 0;
    sum += a + b + c + d;
    return (u32)(a & 255) | (u32)(b & 255) << 8 | (u32)(c & 255) << 16 | (u32)d << 24;
}

// Norms and quantises the block's row for `count` matrices (1 or 3), each with its norm weights.
// `q[m]` takes `chunks` * 32 words, permuted; `step[m]` and `s->sum[m]` are what the integers need
// to become floats again. Ends with all threads together. Each of the block's threads gets the
// steps. `v` and the weights are read to the next multiple of four.
template <int COUNT>
__device__ __forceinline__ void quantise_row(const float* v, int n, int chunks, float factor,
                                             const float* const* weight, u32* const* q, float* step,
                                             Shared* s, bool report, u64* error, int op, int row) {
    u32 largest[COUNT];
#pragma unroll
    for (int m = 0; m < COUNT; m++) largest[m] = 0;
    for (int j = threadIdx.x; j < n; j += blockDim.x) {
        float x = v[j] * factor;
#pragma unroll
        for (int m = 0; m < COUNT; m++)
            largest[m] = max(largest[m], __float_as_uint(x * weight[m][j]) & 0x7fffffffu);
    }
#pragma unroll
    for (int m = 0; m < COUNT; m++) {
        u32 most = warp_max(largest[m]);
        if ((threadIdx.x & 31) == 0) atomicMax(&s->largest[m], most);
    }
    __syncthreads();
    float scale[COUNT];
    int sum[COUNT];
#pragma unroll
    for (int m = 0; m < COUNT; m++) {
        float most = __uint_as_float(s->largest[m]);
        if (report && threadIdx.x == 0 && !finite(most)) note_error(error, op, row);
        scale[m] = 127.0f / (most > 1e-5f ? most : 1e-5f);
        step[m] = 1.0f / scale[m];
        sum[m] = 0;
    }
    for (int word = threadIdx.x; word < chunks * 32; word += blockDim.x) {
        int at = permuted(word);
#pragma unroll
        for (int m = 0; m < COUNT; m++)
            q[m][at] = quantise_word(v, n, word, factor, weight[m], scale[m], sum[m]);
    }
#pragma unroll
    for (int m = 0; m < COUNT; m++) {
        int total = warp_sum(sum[m]);
        if ((threadIdx.x & 31) == 0) atomicAdd(&s->sum[m], total);
    }
    __syncthreads();
}

// Many rows through a ternary matrix: exact int32 sums of int8 activations and 2-bit codes, then
// floats.

// A code is the trit plus one, so the sum of a row's activations is taken off the sum of the
// products.
struct Gemm {
    // [tiles][matrices][chunks / 2] tiles of relay.cu.
    const uint2* weights;
    // Of each matrix: quantised rows, [rows][chunks * 128] bytes, permuted; their steps and sums;
    // the output, with `stride` floats from row to row.
    const uint4* q[3];
    const float* step[3];
    const int* sum[3];
    float* out[3];
    // The magnitude of a trit.
    const float* scale[3];
    u64 stride;
    // `tiles` of 8 outputs, `chunks` of 128 columns.
    int tiles, chunks, outputs, rows;
};

#define TILE_TOKENS 128
#define STAGES 3

__device__ __forceinline__ u32 code_bytes(u32 word, int s) { return word >> 2 * s & 0x03030303u; }

__device__ __forceinline__ void store(const Gemm& p, int m, int token, int output, int sum, float scale) {
    if (token < p.rows && output < p.outputs)
        p.out[m][(u64)token * p.stride + output] =
            (float)(sum - p.sum[m][token]) * (p.step[m][token] * scale);
}

#if __CUDA_ARCH__ >= 800
__device__ __forceinline__ void copy_async(u32 to, const void* from) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from));
}
#endif

// By tensor cores. A block makes 128 outputs x 128 tokens: 4 x 2 warps of 32 x 64. Weights go from
// memory to registers, where they become bytes; activations through a ring of tiles in shared
// memory.
extern "C" __global__ void __launch_bounds__(256, 2) gemm_mma(Gemm p) {
#if __CUDA_ARCH__ >= 800
    extern __shared__ uint4 ring[];
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    const int g = lane >> 2, t = lane & 3;
    const int m = blockIdx.z, token0 = blockIdx.y * TILE_TOKENS;
    const int tile0 = blockIdx.x * 8 + (warp & 3) * 2, column0 = (warp >> 2) * 64;
    const uint4* q = p.q[m];
    const u32 shared = (u32)__cvta_generic_to_shared(ring);

    int acc[2][8][4];
#pragma unroll
    for (int r = 0; r < 2; r++)
#pragma unroll
        for (int n = 0; n < 8; n++)
#pragma unroll
            for (int e = 0; e < 4; e++) acc[r][n][e] = 0;

    // A tile is 128 tokens x 128 bytes, 8 units of 16 bytes a token; an odd token has its units
    // swapped in pairs, so that the reads below fall on different banks.
    auto fetch = [&](int chunk) {
        if (chunk < p.chunks) {
#pragma unroll
            for (int k = 0; k < 4; k++) {
                int at = threadIdx.x + 256 * k, token = at >> 3, unit = at & 7;
                int row = min(token0 + token, p.rows - 1);
                u32 to = shared + (((chunk % STAGES) * 1024 + token * 8 + (unit ^ (token & 1))) << 4);
                copy_async(to, q + ((u64)row * p.chunks + chunk) * 8 + unit);
            }
        }
        asm volatile("cp.async.commit_group;");
    };
    const uint2* weights[4];
#pragma unroll
    for (int r = 0; r < 4; r++) {
        int tile = min(2 * tile0 + r, p.tiles - 1);
        weights[r] = p.weights + ((u64)(tile * (int)gridDim.z + m) * p.chunks) * 32 + lane;
    }
    uint2 next[4] = {weights[0][0], weights[1][0], weights[2][0], weights[3][0]};
    fetch(0);
    fetch(1);
    for (int chunk = 0; chunk < p.chunks; chunk++) {
        asm volatile("cp.async.wait_group 1;");
        __syncthreads();
        fetch(chunk + 2);
        u32 words[4][2];
#pragma unroll
        for (int r = 0; r < 4; r++) {
            words[r][0] = next[r].x, words[r][1] = next[r].y;
            if (chunk + 1 < p.chunks) next[r] = weights[r][(chunk + 1) * 32];
        }
        const uint4* tile = ring + (chunk % STAGES) * 1024;
#pragma unroll
        for (int j = 0; j < 2; j++) {
            u32 a[2][2][4];
#pragma unroll
            for (int r = 0; r < 2; r++)
#pragma unroll
                for (int k = 0; k < 2; k++)
#pragma unroll
                    for (int s = 0; s < 4; s++) a[r][k][s] = code_bytes(words[2 * r + (s & 1)][j], 2 * k + (s >> 1));
#pragma unroll
            for (int n = 0; n < 8; n++) {
                int token = column0 + n * 8 + g;
                uint4 b = tile[token * 8 + ((2 * t + j) ^ (token & 1))];
#pragma unroll
                for (int r = 0; r < 2; r++) {
                    mma(acc[r][n], a[r][0], b.x, b.y);
                    mma(acc[r][n], a[r][1], b.z, b.w);
                }
            }
        }
    }
    float scale = *p.scale[m];
#pragma unroll
    for (int r = 0; r < 2; r++) {
        if (2 * (tile0 + r) >= p.tiles) break;
#pragma unroll
        for (int n = 0; n < 8; n++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                store(p, m, token0 + column0 + n * 8 + 2 * t + (e & 1),
                      (tile0 + r) * 16 + g + 8 * (e >> 1), acc[r][n][e], scale);
    }
#endif
}

// By dot products of four bytes, for small batches and for GPUs without the instruction above. A
// warp makes 16 outputs x up to 8 tokens, a block 128 outputs.
extern "C" __global__ void __launch_bounds__(256) gemm_dot(Gemm p) {
    const int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
    const int tile = blockIdx.x * 8 + (threadIdx.x >> 5), m = blockIdx.z, token0 = blockIdx.y * 8;
    if (2 * tile >= p.tiles) return;
    const uint2* weights = p.weights + ((u64)(2 * tile * (int)gridDim.z + m) * p.chunks) * 32 + lane;
    const u64 apart = 2 * tile + 1 < p.tiles ? (u64)gridDim.z * p.chunks * 32 : 0;
    const uint4* q = p.q[m] + (u64)token0 * p.chunks * 8 + 2 * t;
    const int tokens = min(8, p.rows - token0);
    int acc[8][2];
#pragma unroll
    for (int n = 0; n < 8; n++) acc[n][0] = acc[n][1] = 0;
    for (int chunk = 0; chunk < p.chunks; chunk++) {
        uint2 upper = weights[chunk * 32], lower = weights[apart + chunk * 32];
        u32 words[2][2] = {{upper.x, upper.y}, {lower.x, lower.y}};
        u32 a[4][4];
#pragma unroll
        for (int k = 0; k < 4; k++)
#pragma unroll
            for (int s = 0; s < 4; s++) a[k][s] = code_bytes(words[s & 1][k >> 1], 2 * (k & 1) + (s >> 1));
#pragma unroll
        for (int n = 0; n < 8; n++) {
            if (n >= tokens) break;
            const uint4* row = q + ((u64)n * p.chunks + chunk) * 8;
            uint4 lo = row[0], hi = row[1];
            u32 b[4][2] = {{lo.x, lo.y}, {lo.z, lo.w}, {hi.x, hi.y}, {hi.z, hi.w}};
#pragma unroll
            for (int k = 0; k < 4; k++)
#pragma unroll
                for (int s = 0; s < 4; s++)
                    acc[n][s & 1] = dot4(a[k][s], b[k][s >> 1], acc[n][s & 1]);
        }
    }
    float scale = *p.scale[m];
#pragma unroll
    for (int n = 0; n < 8; n++) {
        if (n >= tokens) break;
#pragma unroll
        for (int r = 0; r < 2; r++) {
            int sum = acc[n][r];
            sum += __shfl_xor_sync(0xffffffffu, sum, 1);
            sum += __shfl_xor_sync(0xffffffffu, sum, 2);
            if (t == 0) store(p, m, token0 + n, tile * 16 + g + 8 * r, sum, scale);
        }
    }
}

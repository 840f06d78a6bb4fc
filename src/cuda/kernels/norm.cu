// Norms and quantisation of the row that a block's threads hold.

__device__ __forceinline__ float add_terms(float sum, const float4* terms) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
        sum = sum + terms[i].x;
        sum = sum + terms[i].y;
        sum = sum + terms[i].z;
        sum = sum + terms[i].w;
    }
    return sum;
}

__device__ __forceinline__ void get_terms(float4* terms, const float4* from) {
#pragma unroll
    for (int i = 0; i < 4; i++) terms[i] = from[i];
}

// Sums a lane's terms, one after the other, 16 times `runs`. One run is read while another is added; what is read past the end is
// not used.
__device__ __forceinline__ float add_squares(const float4* from, int runs) {
    float sum = 0.0f;
    float4 even[4], odd[4];
    get_terms(even, from);
#pragma unroll 1
    for (; runs > 3; runs -= 4) {
        get_terms(odd, from + 4);
        sum = add_terms(sum, even);
        get_terms(even, from + 8);
        sum = add_terms(sum, odd);
        get_terms(odd, from + 12);
        sum = add_terms(sum, even);
        from += 16;
        get_terms(even, from);
        sum = add_terms(sum, odd);
    }
#pragma unroll 1
    for (; runs > 0; runs--) {
        from += 4;
        get_terms(odd, from);
        sum = add_terms(sum, even);
#pragma unroll
        for (int i = 0; i < 4; i++) even[i] = odd[i];
    }
    return sum;
}

// Adds a row's squares, the terms of a lane `stride` apart: the sums of the 16 lanes. By one warp.
__device__ __forceinline__ void add_row(Memory* memory, int stride) {
    float sum = add_squares((const float4*)(memory->squares + (threadIdx.x & 15) * stride), stride / 16);
    if ((threadIdx.x & 31) < 16) memory->lanes[threadIdx.x & 15] = sum;
}

// Whether a quotient of two such, and all on the way to it, is far from the ends of the exponents.
__device__ __forceinline__ bool plain(float v) { return (__float_as_uint(v) & 0x7fffffffu) - 0x21800000u < 0x3c000000u; }

// a / b, correctly rounded: the very operations that NVRTC makes of a division (seen in its machine code for compute capability 7.5
// to 12.0), which has a check of the exponents in each. That they round right hangs on what `rcp.approx` gives: were it off by a
// unit in the last place everywhere, a few quotients by b with a significand near its end would be wrong in the last bit.
__device__ __forceinline__ float divide_plain(float a, float b) {
    float r;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(b));
    r = __fmaf_rn(r, __fmaf_rn(-b, r, 1.0f), r);
    float q = a * r;
    return __fmaf_rn(r, __fmaf_rn(-b, q, a), q);
}

// What is out of the ordinary.
__device__ __noinline__ float divide_slowly(float a, float b) { return a / b; }
__device__ __noinline__ float factor_slowly(float sum, int n, float eps) { return rms_factor(sum, n, eps); }

// As `rms_factor`, without a branch on the way. 1 / N times `sum`, corrected once, is the quotient, N being an integer and far from
// 2^24; the square root is NVRTC's own; its reciprocal, corrected twice, is right but for a significand of ones alone (P. Markstein).
// Held against `rms_factor` for all sums and some N on an H100.
template <int N>
__device__ __forceinline__ float factor_of(float sum, float eps) {
    constexpr float n = (float)N, part = 1.0f / n;
    float q = sum * part;
    q = __fmaf_rn(part, __fmaf_rn(-n, q, sum), q);
    float m = q + eps, r;
    asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(m));
    float g = m * r;
    g = __fmaf_rn(__fmaf_rn(-g, g, m), 0.5f * r, g);
    if (!plain(sum) || !plain(m) || (__float_as_uint(g) & 0x7fffffu) == 0x7fffffu) return factor_slowly(sum, N, eps);
    r = __fmaf_rn(r, __fmaf_rn(-g, r, 1.0f), r);
    return __fmaf_rn(r, __fmaf_rn(-g, r, 1.0f), r);
}

// The factor of an RMS norm of the row `v`: a lane's terms stand side by side, so that the one warp that adds them, one after
// the other, has little else to do. Zeros at a lane's end change no bit of a sum of squares. The other threads do `meanwhile`.
template <int P, typename F>
__device__ __forceinline__ float row_rms(const Decode& p, const float4* v, float eps, Memory* memory, bool& bad, F meanwhile) {
    constexpr int stride = SQUARES(Shape<P>::chunks);
#pragma unroll
    for (int k = 0; k < Shape<P>::each; k++) {
        int word = threadIdx.x + k * THREADS;
        if (word >= (stride - 4) * 4) break;
        float* to = memory->squares + (word & 3) * 4 * stride + (word >> 2);
        to[0] = v[k].x * v[k].x;
        to[stride] = v[k].y * v[k].y;
        to[2 * stride] = v[k].z * v[k].z;
        to[3 * stride] = v[k].w * v[k].w;
    }
    meet<SQUARED>();
#if __CUDA_ARCH__ < 900
    if (threadIdx.x < 32) add_row(memory, stride);
#endif
    meanwhile();
    meet<ADDED>();
    // Lanes 8, 4, 2 and 1 apart, by each thread for itself.
    const float4* lanes = (const float4*)memory->lanes;
    float4 a0 = lanes[0], a1 = lanes[1], a2 = lanes[2], a3 = lanes[3];
    a0 = make_float4(a0.x + a2.x, a0.y + a2.y, a0.z + a2.z, a0.w + a2.w);
    a1 = make_float4(a1.x + a3.x, a1.y + a3.y, a1.z + a3.z, a1.w + a3.w);
    a0 = make_float4(a0.x + a1.x, a0.y + a1.y, a0.z + a1.z, a0.w + a1.w);
    float sum = (a0.x + a0.z) + (a0.y + a0.w);
    bad |= !finite(sum);
    return factor_of<Shape<P>::columns>(sum, eps);
}

__device__ __forceinline__ float4 times(float4 v, float factor, float4 w) {
    return make_float4(v.x * factor * w.x, v.y * factor * w.y, v.z * factor * w.z, v.w * factor * w.w);
}

// Four quotients at once, without a branch in each.
__device__ __forceinline__ float4 divide(float4 a, float4 b) {
    if (plain(a.x) && plain(a.y) && plain(a.z) && plain(a.w) && plain(b.x) && plain(b.y) && plain(b.z) && plain(b.w))
        return make_float4(divide_plain(a.x, b.x), divide_plain(a.y, b.y), divide_plain(a.z, b.z), divide_plain(a.w, b.w));
    return make_float4(divide_slowly(a.x, b.x), divide_slowly(a.y, b.y), divide_slowly(a.z, b.z), divide_slowly(a.w, b.w));
}

// 127 / v for each of some, at least 1e-5, without a branch in each.
template <int N>
__device__ __forceinline__ void divide_all(float* v) {
    bool all = true;
#pragma unroll
    for (int n = 0; n < N; n++) all &= plain(v[n]);
    if (all) {
#pragma unroll
        for (int n = 0; n < N; n++) v[n] = divide_plain(127.0f, v[n]);
    } else {
#pragma unroll
        for (int n = 0; n < N; n++) v[n] = divide_slowly(127.0f, v[n]);
    }
}

// A thread's word `k` of norm `m`; zeros past its end.
template <int P>
__device__ __forceinline__ float4 norm_word(const float* floats, int m, int k) {
    int word = threadIdx.x + k * THREADS;
    return word < Shape<P>::words ? ((const float4*)(floats + m * UP4(Shape<P>::columns)))[word] : make_float4(0, 0, 0, 0);
}

__device__ __forceinline__ u32 magnitude(float v) { return __float_as_uint(v) & 0x7fffffffu; }

// As `quantise_one` with y * s for `v`, which is at most 127 and a bit; in the lowest byte. Adding 2^23 and rounding towards
// zero leaves the integer in the lowest bits.
__device__ __forceinline__ u32 quantised(float v) {
    u32 bits = __float_as_uint(__fadd_rz(fabsf(v) + 0.49999997f, 8388608.0f));
    u32 sign = (u32)((int)__float_as_uint(v) >> 31);
    return (bits ^ sign) - sign;
}

// Quantises normed rows, `t[m]` for each of the phase's inputs. `scale`, and the rows' sums, which are added to `total`, are what
// the integers need to become floats again. The threads have yet to meet.
template <int P>
__device__ __forceinline__ void quantise(const Decode& p, const float4 (*t)[Shape<P>::each], Memory* memory, float* scale, int* total,
                                         bool& bad) {
    constexpr int inputs = Shape<P>::inputs, each = Shape<P>::each;
    const int warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
    u32 largest[inputs];
#pragma unroll
    for (int m = 0; m < inputs; m++) {
        largest[m] = 0;
#pragma unroll
        for (int k = 0; k < each; k++)
            largest[m] = max(max(max(magnitude(t[m][k].x), magnitude(t[m][k].y)), largest[m]),
                             max(magnitude(t[m][k].z), magnitude(t[m][k].w)));
    }
#pragma unroll
    for (int m = 0; m < inputs; m++) largest[m] = warp_max(largest[m]);
    if (lane == 0) {
#pragma unroll
        for (int m = 0; m < inputs; m++) ((u32*)memory->largest[m])[warp] = largest[m];
    }
    meet<ALONE>();
#pragma unroll
    for (int m = 0; m < inputs; m++) {
        u32 bits = 0;
#pragma unroll
        for (int k = 0; k < WARPS / 4; k++) {
            uint4 of = memory->largest[m][k];
            bits = max(max(max(of.x, of.y), bits), max(of.z, of.w));
        }
        float most = __uint_as_float(bits);
        bad |= !finite(most);
        scale[m] = most > 1e-5f ? most : 1e-5f;
    }
    divide_all<inputs>(scale);
    int sum[inputs];
#pragma unroll
    for (int m = 0; m < inputs; m++) sum[m] = 0;
#pragma unroll
    for (int k = 0; k < each; k++) {
        int word = threadIdx.x + k * THREADS;
        if (word >= Shape<P>::chunks * 32) break;
#pragma unroll
        for (int m = 0; m < inputs; m++) {
            u32 a = quantised(t[m][k].x * scale[m]), b = quantised(t[m][k].y * scale[m]);
            u32 c = quantised(t[m][k].z * scale[m]), d = quantised(t[m][k].w * scale[m]);
            u32 packed = __byte_perm(__byte_perm(a, b, 0x0040), __byte_perm(c, d, 0x0040), 0x5410);
            sum[m] = __dp4a((int)packed, 0x01010101, sum[m]);
            memory->q[word >> 2 & 1][m * Shape<P>::chunks * 32 + permuted(word)] = packed;
        }
    }
#pragma unroll
    for (int m = 0; m < inputs; m++) {
        sum[m] = warp_sum(sum[m]);
        if (lane == 0) atomicAdd(total + m, sum[m]);
    }
}

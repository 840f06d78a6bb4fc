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

// Sums a lane's terms, one after the other, 16 times `runs`. One run is read while another is
// added; what is read past the end is not used.
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

// a / b, correctly rounded: the very operations that NVRTC makes of a division (seen in its machine
// code for compute capability 7.5 to 12.0), which has a check of the exponents in each. That they
// round right hangs on what `rcp.approx` gives: were it off by a unit in the last place everywhere,
// a few quotients by b with a significand near its end would be wrong in the last bit.
__device__ __forceinline__ float divide_plain(float a, float b) {
    float r;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(b));
    r = __fmaf_rn(r, __fmaf_rn(-b, r, 1.0f), r);
    float q = a * r;
    return __fmaf_rn(r, __fmaf_rn(-b, q, a), q);
}

// What is out of the ordinary.
__device__ __noinline__ float divide_slowly(float a, float b) { return a / b; }
__device__ __noinline__ float4 divide_slowly(float4 a, float4 b) { return make_float4(a.x / b.x, a.y / b.y, a.z / b.z, a.w / b.w); }
__device__ __noinline__ float factor_slowly(float sum, int n, float eps) { return rms_factor(sum, n, eps); }

// As `rms_factor`, without a branch on the way. 1 / N times `sum`, corrected once, is the quotient,
// N being an integer and far from 2^24; the square root is NVRTC's own; its reciprocal, corrected
// twice, is right but for a significand of ones alone (P. Markstein). Held against `rms_factor` for
// all sums and some N on an H100.
__device__ __forceinline__ float factor_from(float sum, float n, float part, float eps) {
    float q = sum * part;
    q = __fmaf_rn(part, __fmaf_rn(-n, q, sum), q);
    float m = q + eps, r;
    asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(m));
    float g = m * r;
    g = __fmaf_rn(__fmaf_rn(-g, g, m), 0.5f * r, g);
    if (RARELY(!plain(sum) || !plain(m) || (__float_as_uint(g) & 0x7fffffu) == 0x7fffffu)) return factor_slowly(sum, (int)n, eps);
    r = __fmaf_rn(r, __fmaf_rn(-g, r, 1.0f), r);
    return __fmaf_rn(r, __fmaf_rn(-g, r, 1.0f), r);
}

// Hands the squares of a thread's words of a row to the warp that adds them: a lane's terms stand
// side by side, so that it has little else to do. Zeros at a lane's end change no bit of a sum of
// squares.
template <int P>
__device__ __forceinline__ void hand_squares(const float4* v, Memory* memory) {
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
    pass_by<SQUARED>();
}

// The sum of squares from those of its lanes: lanes 8, 4, 2 and 1 apart are added, by each thread
// for itself.
__device__ __forceinline__ float sum_of_lanes(const Memory* memory) {
    const float4* lanes = (const float4*)memory->lanes;
    float4 a0 = lanes[0], a1 = lanes[1], a2 = lanes[2], a3 = lanes[3];
    a0 = make_float4(a0.x + a2.x, a0.y + a2.y, a0.z + a2.z, a0.w + a2.w);
    a1 = make_float4(a1.x + a3.x, a1.y + a3.y, a1.z + a3.z, a1.w + a3.w);
    a0 = make_float4(a0.x + a1.x, a0.y + a1.y, a0.z + a1.z, a0.w + a1.w);
    return (a0.x + a0.z) + (a0.y + a0.w);
}

__device__ __forceinline__ float4 times(float4 v, float factor, float4 w) {
    return make_float4(v.x * factor * w.x, v.y * factor * w.y, v.z * factor * w.z, v.w * factor * w.w);
}

__device__ __forceinline__ float4 times(float4 v, float4 w) { return make_float4(v.x * w.x, v.y * w.y, v.z * w.z, v.w * w.w); }

// Whether a / b is plain, or a zero, for b at least 1: outputs of matrices are zeros now and then.
__device__ __forceinline__ bool plain_over_one(float a, float b) { return (plain(a) || a == 0.0f) && plain(b); }
__device__ __forceinline__ float divide_over_one(float a, float b) { return a == 0.0f ? a : divide_plain(a, b); }

// Four quotients at once, of divisors that are at least 1, without a branch in each.
__device__ __forceinline__ float4 divide(float4 a, float4 b) {
    if (RARELY(!(plain_over_one(a.x, b.x) && plain_over_one(a.y, b.y) && plain_over_one(a.z, b.z) && plain_over_one(a.w, b.w))))
        return divide_slowly(a, b);
    return make_float4(divide_over_one(a.x, b.x), divide_over_one(a.y, b.y), divide_over_one(a.z, b.z), divide_over_one(a.w, b.w));
}

// a / b, for b at least 1: what `sigmoid` and `swish_times` divide.
__device__ __forceinline__ float quotient(float a, float b) {
    if (RARELY(!plain_over_one(a, b))) return divide_slowly(a, b);
    return divide_over_one(a, b);
}

// 127 / v, for v at least 1e-5.
__device__ __forceinline__ float scale_for(float v) { return plain(v) ? divide_plain(127.0f, v) : divide_slowly(127.0f, v); }

// A thread's word `k` of norm `m`; zeros past its end.
template <int P>
__device__ __forceinline__ float4 norm_word(const float* floats, int m, int k) {
    int word = threadIdx.x + k * THREADS;
    return word < Shape<P>::words ? ((const float4*)(floats + m * UP4(Shape<P>::columns)))[word] : make_float4(0, 0, 0, 0);
}

__device__ __forceinline__ u32 magnitude(float v) { return __float_as_uint(v) & 0x7fffffffu; }

__device__ __forceinline__ u32 largest_of(float4 v) {
    return max(max(magnitude(v.x), magnitude(v.y)), max(magnitude(v.z), magnitude(v.w)));
}

// As `quantise_one` with y * s for `v`, which is at most 127 and a bit; in the lowest byte. Adding
// 2^23 and rounding towards zero leaves the integer in the lowest bits.
__device__ __forceinline__ u32 quantised(float v) {
    u32 bits = __float_as_uint(__fadd_rz(fabsf(v) + 0.49999997f, 8388608.0f));
    u32 sign = (u32)((int)__float_as_uint(v) >> 31);
    return (bits ^ sign) - sign;
}

// The code of a row of 8 and a column, of tiles side by side; see relay.cu.
__device__ __forceinline__ u32 code_at(const u32* tiles, int row, int column) {
    u32 word = __ldg(tiles + (column >> 7) * 64 + (row * 4 + (column >> 2 & 3)) * 2 + (column >> 6 & 1));
    return word >> (8 * (column & 3) + 2 * (column >> 4 & 3)) & 3;
}

// Quantisation ahead of its norms. A norm's factor f is the same for a whole row, and so is that of
// the layer's norm before it: with y = (v * f) * w and s = 127 / max|y|, the factors cancel in y *
// s but for rounding. So integers are made of z = v * w at once, and multiplied with the matrices
// while the squares are being added.
//
// Rounding: v * w for one norm rounds once (with the layer's norm, x * w0 * w, twice), the largest
// |z| as often, 127 / that at most three times, the product once more: 8 in all. Of y * s: y twice
// (four times), the largest as often, s and the product once: 10. So both are the same quotient
// within 18 * 2^-24, and, being at most 127 and a bit, less than 1.4e-4 apart. (Where something is
// subnormal on the way the error is below 2^-70: weights of norms are at most 2^20, see decode.rs,
// and the largest |z| is far from the ends of the exponents.) An integer whose z is further than
// that from a half is the right one. The others are noted, and resolved when the factors are there,
// as is the largest |y|, of those whose |z| is near the largest. Where all this does not hold (a
// largest |y| below 1e-5, or too much to note), `redo` makes the phase's products again, slowly.
#ifndef NEAR
#define NEAR 1.5e-4f
#endif

// The integers nearest to z * scale, four in a word, and whether it is to be noted: one was close,
// or may be the largest.
__device__ __forceinline__ uint2 integers_of(float4 z, float scale) {
    // Adding 1.5 * 2^23 rounds, and leaves the integer in the lowest bits.
    const float to_integer = 12582912.0f;
    float4 v = make_float4(z.x * scale, z.y * scale, z.z * scale, z.w * scale);
    float a = v.x + to_integer, b = v.y + to_integer, c = v.z + to_integer, d = v.w + to_integer;
    float off = fmaxf(fmaxf(fabsf(v.x - (a - to_integer)), fabsf(v.y - (b - to_integer))),
                      fmaxf(fabsf(v.z - (c - to_integer)), fabsf(v.w - (d - to_integer))));
    float largest = fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(v.z), fabsf(v.w)));
    return make_uint2(__byte_perm(__byte_perm(__float_as_uint(a), __float_as_uint(b), 0x0040),
                                  __byte_perm(__float_as_uint(c), __float_as_uint(d), 0x0040), 0x5410),
                      off > 0.5f - NEAR || largest > 127.0f - 2 * NEAR);
}

// Makes integers of rows `z[m]`, one for each of the phase's inputs, and adds theirs to `total`.
// Gives which words are to be noted, `m * each + k`. The threads have yet to meet.
template <int P>
__device__ __forceinline__ u32 quantise(const float4 (*z)[Shape<P>::each], Memory* memory, int* total) {
    constexpr int inputs = Shape<P>::inputs, each = Shape<P>::each;
    const int warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
    u32 largest[inputs];
#pragma unroll
    for (int m = 0; m < inputs; m++) {
        largest[m] = 0;
#pragma unroll
        for (int k = 0; k < each; k++) largest[m] = max(largest_of(z[m][k]), largest[m]);
    }
#pragma unroll
    for (int m = 0; m < inputs; m++) largest[m] = warp_max(largest[m]);
    if (lane == 0) {
#pragma unroll
        for (int m = 0; m < inputs; m++) ((u32*)memory->largest[m])[warp] = largest[m];
    }
    meet<ALONE>();
    float scale[inputs];
    bool all_plain = true;
#pragma unroll
    for (int m = 0; m < inputs; m++) {
        u32 bits = 0;
#pragma unroll
        for (int k = 0; k < (WARPS + 3) / 4; k++) {
            uint4 of = memory->largest[m][k];
            bits = max(max(max(of.x, of.y), bits), max(of.z, of.w));
        }
        float most = __uint_as_float(bits);
        all_plain &= plain(most);
        asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(scale[m]) : "f"(most));
        scale[m] = 127.0f * scale[m];
    }
    if (RARELY(!all_plain && threadIdx.x == 0)) atomicAdd(&memory->noted, NOTES + 1);
    u32 flags = 0;
    int sum[inputs];
#pragma unroll
    for (int m = 0; m < inputs; m++) sum[m] = 0;
#pragma unroll
    for (int k = 0; k < each; k++) {
        int word = threadIdx.x + k * THREADS;
        if (word >= Shape<P>::chunks * 32) break;
#pragma unroll
        for (int m = 0; m < inputs; m++) {
            uint2 of = integers_of(z[m][k], scale[m]);
            sum[m] = __dp4a((int)of.x, 0x01010101, sum[m]);
            memory->q[word >> 2 & 1][m * Shape<P>::chunks * 32 + permuted(word)] = of.x;
            flags |= of.y << (m * each + k);
        }
    }
#pragma unroll
    for (int m = 0; m < inputs; m++) {
        sum[m] = warp_sum(sum[m]);
        if (lane == 0) atomicAdd(total + m, sum[m]);
    }
    return flags;
}

// Notes a word of a row and its norm's, with the integers that were made of it for an input, whose
// rows are `apart` words apart.
OUT_OF_LINE void note_word(Memory* memory, float4 v, float4 norm, int at, int input, int apart) {
    u32 n = atomicAdd(&memory->noted, 1u);
    if (RARELY(n >= NOTES)) return;
    memory->notes[n] = {v, norm, memory->q[at >> 2 & 1][input * apart + permuted(at)], (unsigned short)at, (unsigned short)input};
}

// Notes the words of `flags`, with what they are quantised from: the row `v` and the norms. Then
// all is noted.
template <int P>
__device__ __forceinline__ void note(u32 flags, const float4* v, const float4 (*norms)[Shape<P>::each], Memory* memory) {
    constexpr int each = Shape<P>::each;
    if (RARELY(flags)) {
#pragma unroll
        for (int m = 0; m < Shape<P>::inputs; m++)
#pragma unroll
            for (int k = 0; k < each; k++)
                if (RARELY(flags >> (m * each + k) & 1))
                    note_word(memory, v[k], norms[m][k], threadIdx.x + k * THREADS, m, Shape<P>::chunks * 32);
    }
    pass_by<NOTED>();
}

// What is noted, by the warp that works out norms, a word by each lane: the steps, and integers
// that are others than was thought. `of` is the lane's note, `sum` and `factor` are the second
// norm's.
__device__ __forceinline__ void settle(Memory* memory, const Note& of, u32 noted, float sum, float factor, int inputs) {
    const int lane = threadIdx.x & 31;
    const bool some = lane < noted && lane < NOTES;
    const u32 input = of.input;
    float4 y = times(of.v, factor, of.norm);
    u32 top = some ? largest_of(y) : 0;
    u32 first = warp_max(input == 0 ? top : 0), mine = first;
    // Lane m has what belongs to input m.
    if (inputs > 1) {
        u32 second = warp_max(input == 1 ? top : 0), third = warp_max(input == 2 ? top : 0);
        first = lane == 1 ? second : lane == 2 ? third : first;
        mine = input == 1 ? second : input == 2 ? third : mine;
    }
    // What is out of the ordinary is made again.
    float largest = __uint_as_float(first);
    bool redo = noted > NOTES || (lane < inputs && !(largest > 1.001e-5f && largest < 1e17f));
    float by = divide_plain(127.0f, __uint_as_float(mine));
    float step = divide_plain(1.0f, divide_plain(127.0f, largest));
    u32 a = quantised(y.x * by), b = quantised(y.y * by), c = quantised(y.z * by), d = quantised(y.w * by);
    u32 right = __byte_perm(__byte_perm(a, b, 0x0040), __byte_perm(c, d, 0x0040), 0x5410), wrong = of.packed;
    redo = __any_sync(0xffffffffu, redo);
    if (lane < inputs) memory->step[lane] = step;
    if (lane == 0) {
        *(uint4*)&memory->noted = make_uint4(0, 0, redo, !finite(sum));
        memory->factor = factor;
    }
    if (RARELY(__any_sync(0xffffffffu, some && right != wrong))) {
        __syncwarp();
#pragma unroll 1
        for (int i = 0; i < 4; i++, right >>= 8, wrong >>= 8) {
            int difference = (int)(signed char)right - (int)(signed char)wrong;
            if (!some || difference == 0) continue;
            u32 at = atomicAdd(&memory->fixed, 1u);
            if (at < FIXES)
                memory->fixes[at] = {(int)of.at * 4 + i, (short)input, (short)difference};
            else
                memory->redo = 1;
        }
    }
}

// What the fixes add to a row of a matrix, whose tiles begin with `tiles`; lane 4 * (row in the
// tile) of them.
__device__ __noinline__ int fix(const Memory* memory, const u32* tiles, int row, int norm) {
    int sum = 0;
    for (u32 n = 0; n < memory->fixed; n++) {
        Fix of = memory->fixes[n];
        if (of.norm == norm) sum += of.by * ((int)code_at(tiles, row, of.column) - 1);
    }
    return sum;
}

// Quantises the row again with the norm's factor, and makes the products of `count` rows of
// matrices, whose tiles begin with `tiles`, again. `norms` are the inputs'. Begins when all is
// resolved, ends with all threads together.
__device__ __noinline__ void redo(Memory* memory, int phase, const volatile float* row, const float* norms, const u32* tiles, int count, int* acc, int* total) {
    const int columns = OF_PHASE(phase, columns), tile_row = OF_PHASE(phase, chunks) * 64;
    const int inputs = phase == MIX ? 3 : 1;
    const float factor = memory->factor;
    u32* largest = (u32*)memory->largest;
    meet<ALONE>();
#pragma unroll 1
    for (int j = threadIdx.x; j < count; j += THREADS) acc[j] = 0;
    if (threadIdx.x < 3) total[threadIdx.x] = 0, largest[threadIdx.x] = 0;
    meet<ALONE>();
    // First for the largest values, then for all else.
#pragma unroll 1
    for (int m = 0; m < 2 * inputs; m++) {
        const int input = m % inputs;
        if (m == inputs) meet<ALONE>();
        float most = __uint_as_float(largest[input]);
        float scale = scale_for(most > 1e-5f ? most : 1e-5f);
        if (threadIdx.x == 0 && m >= inputs) memory->step[input] = 1.0f / scale, memory->fixed = 0;
#pragma unroll 1
        for (int j = threadIdx.x; j < columns; j += THREADS) {
            float y = row[j] * factor * norms[input * UP4(columns) + j];
            if (m < inputs) {
                atomicMax(largest + input, magnitude(y));
                continue;
            }
            int q = quantise_one(y, scale);
            if (q == 0) continue;
            atomicAdd(total + input, q);
#pragma unroll 1
            for (int r = 0; r < count; r++) {
                int matrix_row = r >> 3;
                if (inputs > 1 && matrix_row % 3 != input) continue;
                atomicAdd(acc + r, q * (int)code_at(tiles + (u64)matrix_row * tile_row, r & 7, j));
            }
        }
    }
    meet<ALONE>();
}

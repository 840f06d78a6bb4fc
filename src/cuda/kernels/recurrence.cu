// What goes along a sequence: the gated recurrence and the short convolution.

// Some rows that belong to one sequence.
struct Segment {
    // The sequence's state: the recurrence, [layers, width], then the windows, [layers,
    // window_len].
    float* state;
    u32 row, len;
};

// i and f become what the recurrence adds and what it multiplies by, [rows, width].
extern "C" __global__ void gates(float* i, float* f, int rows, int width, const float* bounds) {
    u64 at = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= (u64)rows * width) return;
    float forget = forget_gate(f[at], bounds, at % width);
    f[at] = forget;
    i[at] = input_gate(i[at], forget);
}

// h[t] = f[t] h[t - 1] + i[t], a thread for each channel and sequence. A step is two operations,
// and the loads of a run of steps do not wait for them.
extern "C" __global__ void scan(const float* i, const float* f, float* h, int width,
                                const Segment* segments, u64 state_offset) {
    const int run = 16;
    int c = blockIdx.x * blockDim.x + threadIdx.x;
    if (c >= width) return;
    Segment segment = segments[blockIdx.y];
    float* state = segment.state + state_offset + c;
    float last = *state;
    u64 at = (u64)segment.row * width + c;
    u32 t = 0;
    for (; t + run <= segment.len; t += run) {
        float add[run], keep[run];
#pragma unroll
        for (int k = 0; k < run; k++) {
            add[k] = i[at + (u64)k * width];
            keep[k] = f[at + (u64)k * width];
        }
#pragma unroll
        for (int k = 0; k < run; k++) {
            last = keep[k] * last + add[k];
            h[at + (u64)k * width] = last;
        }
        at += (u64)run * width;
    }
    for (; t < segment.len; t++, at += width) {
        last = f[at] * last + i[at];
        h[at] = last;
    }
    *state = last;
}

// out[t] = swish(Σ_k weight[k] x[t - size + 1 + k]), the window before the rows. A thread for each
// row and channel.
extern "C" __global__ void convolve(const float* x, float* out, int width, const float* weight,
                                    int size, const Segment* segments, u64 window_offset) {
    int c = blockIdx.x * blockDim.x + threadIdx.x;
    Segment segment = segments[blockIdx.z];
    if (c >= width) return;
    for (u32 t = blockIdx.y; t < segment.len; t += gridDim.y) {
        float sum = 0.0f;
        for (int k = 0; k < size; k++) {
            // Counted from the window's start, whose last row stands right before the first input.
            u32 from = t + 1 + k;
            float value = from < (u32)size
                              ? segment.state[window_offset + (u64)from * width + c]
                              : x[(u64)(segment.row + from - size) * width + c];
            float product = weight[(u64)c * size + k] * value;
            sum = k == 0 ? product : sum + product;
        }
        out[(u64)(segment.row + t) * width + c] = sum / (1.0f + exp_(-sum));
    }
}

// The windows after the rows: the last `size` inputs. In place: what is read stands after what is
// written.
extern "C" __global__ void slide(const float* x, int width, int size, const Segment* segments,
                                 u64 window_offset) {
    int c = blockIdx.x * blockDim.x + threadIdx.x;
    if (c >= width) return;
    Segment segment = segments[blockIdx.y];
    float* window = segment.state + window_offset + c;
    for (int k = 0; k < size; k++) {
        u32 from = segment.len + k;
        window[(u64)k * width] = from < (u32)size
                                     ? window[(u64)from * width]
                                     : x[(u64)(segment.row + from - size) * width + c];
    }
}

// A launch ahead of its token: the blocks are there, their first weights on the way, when the host
// says which token it is. It says so in its own memory, which one block looks at, and tells the
// others what it has seen: a token, or that the launch is not wanted, which is also so when none
// has come for some time. Then nothing has been touched, and the host is told.

// No token.
#define NONE 0xffffffffu
// Cycles that a launch waits for its token: some 0.2 ms.
#define PATIENCE 400000

// The number of a launch in the upper half of a word, its token in the lower one.
__device__ __forceinline__ u64 order(u32 number, u32 token) { return (u64)number << 32 | token; }

// Waits for the token, one thread of the first block. The host has gone beyond the launch when it
// writes a later number.
__device__ __forceinline__ u32 hear_host(const Decode& p) {
    long long began = clock64();
    u64 heard;
    do {
        asm volatile("ld.acquire.sys.global.u64 %0, [%1];" : "=l"(heard) : "l"(p.order) : "memory");
        int later = (int)((u32)(heard >> 32) - p.number);
        if (later == 0) return (u32)heard;
        if (later > 0) return NONE;
    } while (clock64() - began < PATIENCE);
    return NONE;
}

// The launch's token, or NONE, the same in all blocks. Begins and ends with all threads of the
// block together.
__device__ __forceinline__ u32 await_token(const Decode& p, Memory* memory) {
    if (threadIdx.x == 0) {
        u32 token;
        if (blockIdx.x == 0) {
            token = hear_host(p);
            asm volatile("st.release.gpu.global.u64 [%0], %1;" ::"l"(p.relayed), "l"(order(p.number, token)) : "memory");
            if (token == NONE) asm volatile("st.relaxed.sys.global.u32 [%0], %1;" ::"l"(p.gone), "r"(p.number) : "memory");
        } else {
            u64 heard;
            do {
                asm volatile("ld.acquire.gpu.global.u64 %0, [%1];" : "=l"(heard) : "l"(p.relayed) : "memory");
            } while ((u32)(heard >> 32) != p.number);
            token = (u32)heard;
        }
        memory->token = token;
    }
    __syncthreads();
    return memory->token;
}

// One token of one sequence through the whole model in one launch. All blocks are resident at once.
// Each keeps the residual stream for itself, in registers, and computes norms and quantisation for
// itself, so that only the outputs of matrices travel.
//
// They travel without a barrier. Every output of every matrix of a layer has a place of its own in
// an exchange, which holds EMPTY when the layer begins; whoever needs the output reads the place
// until something else is there. Layers use a few exchanges in turn, so that they stay in the L2
// cache, and empty them in between.
//
// Weights are on their way long before they are needed: each block knows the tiles it will multiply
// in all phases of all layers, in order, and keeps the next RING of them coming to shared memory.
// More are sent for when a row has just arrived: a burst of weights while blocks wait for each
// other would hold up what they wait for.
//
// Compiled for one model on one GPU: the host defines HIDDEN, WIDTH, INNER, VOCAB, BLOCKS (of the
// grid), RING, MEMORY (bytes of shared memory) and THREADS (those of a block that compute).

// What a thread that computes holds of a row decides how many there are: see decode.rs.
#define WARPS (THREADS / 32)
// One more warp works out norms (helper.cu). Where one can send for weights, one more does, and the
// rest of twelve warps help to multiply: a multiprocessor has four schedulers, and threads have no
// fewer registers for twelve warps than for nine.
#if __CUDA_ARCH__ >= 900
#define SENDERS 1
#define HELPERS (12 - 2 - WARPS)
#else
#define SENDERS 0
#define HELPERS 0
#endif
#define ALL_THREADS (THREADS + 32 * (SENDERS + 1 + HELPERS))
// What hardly ever is so.
#define RARELY(condition) __builtin_expect(!!(condition), 0)

// What no output is: a negative NaN. Arithmetic gives the positive one.
#define EMPTY 0xffffffffu

// The code should fit the cache of instructions: at 2.7B it was 150 KiB, and 6 more took a tenth of
// the speed. Nor should there be much to jump over on the way from one barrier to the next. Where a
// thread has few words of a row the code is short, and calls only cost time.
#if HIDDEN > 1024
#define OUT_OF_LINE __device__ __noinline__
#else
#define OUT_OF_LINE __device__ __forceinline__
#endif

// Barriers: of the threads that compute; when a row's squares are there for the warp that adds
// them, when all is noted that it settles, and when it is done; when a row and its weights are
// there for all that multiply, and the products.
enum { ALONE = 1, SQUARED, NOTED, ADDED, READY, DONE };
template <int B>
struct Barrier {
    static constexpr int threads = THREADS + (B == ALONE ? 0 : B == READY || B == DONE ? 32 * HELPERS : 32);
};

template <int B>
__device__ __forceinline__ void meet() {
    // `bar.sync` asks that all who wait do so at the same instruction: those that help to multiply
    // wait at another one.
    if (B == READY && HELPERS > 0)
        asm volatile("barrier.sync %0, %1;" ::"n"(B), "n"(Barrier<B>::threads) : "memory");
    else
        asm volatile("bar.sync %0, %1;" ::"n"(B), "n"(Barrier<B>::threads) : "memory");
}

// Meets without waiting for the others.
template <int B>
__device__ __forceinline__ void pass_by() {
    asm volatile("bar.arrive %0, %1;" ::"n"(B), "n"(Barrier<B>::threads) : "memory");
}

// The phases of a layer, each a product with what the one before it has put out; and the head.
enum { MIX, OUT, GATE, DOWN, HEAD, PHASES };

// Where a phase's tiles, [units][matrices][chunks], and its floats (norms, then scales) lie, from
// the layer's start in bytes.
struct Place {
    u64 tiles, floats;
};

struct Decode {
    const u8* arena;
    u64 layer_stride;
    // Forget bounds from the layer's start in bytes.
    u64 bounds;
    const u8* embedding;
    const float* embedding_scales;
    // [layers, WIDTH].
    float* state;
    // [SETS][EXCHANGE], which layers use in turn, from launch to launch.
    float* exchange;
    // In the host's memory, as is `failed`, which says that there is an error.
    float* logits;
    u64* error;
    u32* failed;
    // Of a launch ahead of its token, see ahead.cu: what the host says, in its memory, the same for
    // all blocks, and where the host reads the number of a launch that has ended for want of a
    // token.
    const u64* order;
    u64* relayed;
    u32* gone;
    Place place[PHASES];
    u32 token, first_set;
    int embedding_kind, layers, bounded, want;
    float eps;
    // Of a launch ahead of its token; else 0.
    u32 number;
};

#define UP4(n) (((n) + 3) & ~3)
#define MAX2(a, b) ((a) > (b) ? (a) : (b))
#define MAX3(a, b, c) MAX2(a, MAX2(b, c))

// Offsets in a layer's exchange: g and swish's input h; the output of o_proj; u; the output of
// down_proj.
enum {
    G_AT = 0,
    H_AT = G_AT + UP4(WIDTH),
    O_AT = H_AT + UP4(WIDTH),
    U_AT = O_AT + UP4(HIDDEN),
    DOWN_AT = U_AT + UP4(INNER),
    EXCHANGE = DOWN_AT + UP4(HIDDEN)
};

// Sets of exchanges: see `empty`.
#define SETS 4

// The shape of a phase.
template <int P>
struct Shape {
    static constexpr int matrices = P == MIX ? 3 : P == GATE ? 2 : 1;
    static constexpr int columns = P == OUT ? WIDTH : P == DOWN ? INNER : HIDDEN;
    static constexpr int rows = P == MIX ? WIDTH : P == GATE ? INNER : P == HEAD ? VOCAB : HIDDEN;
    // Rows that are quantised for it, and norms: the layer's, if any, then one for each of these
    // rows.
    static constexpr int inputs = P == MIX ? 3 : 1;
    static constexpr int norms = P == DOWN ? 1 : inputs + 1;
    // Units of 8 rows of each matrix, chunks of 128 columns, an even number of them, tiles in a
    // unit.
    static constexpr int units = (rows + 7) / 8;
    static constexpr int chunks = (columns + 255) / 256 * 2;
    static constexpr int tiles = matrices * chunks / 2;
    // What the rows of its inputs are apart, if there are several, in 16 bytes.
    static constexpr int apart = inputs == 3 ? chunks * 8 : 0;
    // Words of four columns; those that a thread has, some past the row's end.
    static constexpr int words = (columns + 3) / 4;
    static constexpr int each = (chunks * 32 + THREADS - 1) / THREADS;
    // Bytes of its floats.
    static constexpr int floats = (norms * UP4(columns) + 4) * 4;
    static constexpr int most_units = (units + BLOCKS - 1) / BLOCKS;
    static constexpr int sums = most_units * matrices * 8;
    // Tiles of a block's run at most.
    static constexpr int run = most_units * tiles;
};

// A number of a phase that is known only as the kernel runs.
#define OF_PHASE(p, number)              \
    ((p) == MIX    ? Shape<MIX>::number  \
     : (p) == OUT  ? Shape<OUT>::number  \
     : (p) == GATE ? Shape<GATE>::number \
     : (p) == DOWN ? Shape<DOWN>::number \
                   : Shape<HEAD>::number)

// Tiles come in pieces of at most so many, of which so many may be on their way, and are used in
// batches of at most so many.
#define PIECE (RING / 8)
#define PIECES 16
#define BATCH (7 * PIECE)
// Words of four columns of the stream that a thread has.
#define HELD Shape<GATE>::each
// For each of 16 lanes its terms, eight a chunk, and 4 more against bank conflicts.
#define SQUARES(chunks) ((chunks) * 8 + 4)

// Where a row lies after its squares.
#define ROW_AT(chunks) (16 * SQUARES(chunks))

#define ROWS_WORDS (MAX3(3 * Shape<MIX>::chunks, Shape<OUT>::chunks, Shape<DOWN>::chunks) * 32)

// Four values of a row whose quantisation is yet to be resolved: see norm.cu. How many there can
// be, and how many that turn out to be others than was thought.
struct Note {
    float4 v, norm;
    // The four integers, and their word of the row; which of the phase's inputs they are of.
    u32 packed;
    unsigned short at, input;
};
#ifndef NOTES
#define NOTES 32
#endif
#define FIXES 16
struct Fix {
    int column;
    short norm, by;
};

struct Memory {
    uint4 ring[RING][32];
#if __CUDA_ARCH__ >= 900
    // A phase's norms and scales, sent for a phase ahead.
    float floats[MAX2(MAX2(Shape<MIX>::floats, Shape<GATE>::floats), MAX2(Shape<OUT>::floats, Shape<DOWN>::floats)) / 4];
#endif
    // A row's squares, and, but for down_proj, the row.
    float squares[MAX3(ROW_AT(Shape<MIX>::chunks) + Shape<MIX>::chunks * 128, ROW_AT(Shape<OUT>::chunks) + Shape<OUT>::chunks * 128,
                       ROW_AT(Shape<DOWN>::chunks))];
    Note notes[NOTES];
    // The quantised rows twice: where one has the first sixteen columns of 32, and elsewhere zeros,
    // the other has the last sixteen. Four words lie between them, against bank conflicts.
    u32 q[2][ROWS_WORDS + 4];
    // Sums of products, and of the quantised rows. Used in turn: a phase clears its own while slow
    // threads still read the one before.
    int acc[2][MAX2(MAX3(Shape<MIX>::sums, Shape<GATE>::sums, Shape<HEAD>::sums), Shape<OUT>::sums) + 4];
    // Each warp's, and zeros.
    uint4 largest[3][(WARPS + 3) / 4];
    // Of a sum of squares, each lane's.
    float lanes[16];
    Fix fixes[FIXES];
    u32 noted, fixed, redo, bad;
    // For each of the inputs what integers are multiplied by; the factor of the phase's second
    // norm.
    float step[3], factor;
    // Of a launch ahead of it.
    u32 token;
    // What completes when pieces of tiles have come, in turn; when the floats have.
    u64 arrived[PIECES], floats_arrived;
    // How often the threads that compute have told the sender that something is free.
    u32 frees;
    // The block's run of tiles in each phase, from the layer's start in bytes.
    u64 run_tiles[PHASES];
    int run_count[PHASES];
};

static_assert(sizeof(Memory) <= MEMORY, "the host gives too little shared memory");

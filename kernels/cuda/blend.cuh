// What both directions of blending share: which pixels a lane has, and how a batch of records reaches a warp's lists.
//
// A tile of 16 x 16 pixels is one block of 4 warps. A warp has 8 x 8 pixels, each group of 8 lanes 4 x 4 of them, each lane
// two pixels of one column. The groups of a warp work on different splats at the same time: each has its own list of the
// splats whose rectangle touches its 4 x 4 pixels, so a splat of 8 pixels across costs 9 blocks of 16 pixels and not
// 6 blocks of 32.

#define BATCH 128  // records in shared memory at a time, one fetched by each thread
#define NOTHING BATCH  // a record that is nowhere visible, to fill lists
#define EXTRA (CLIP ? 4 : 0)
#define WORDS (12 + EXTRA + (CHANNELS == 7 ? 4 : 0))  // words of a record in shared memory

struct BlendArgs {
    const Picture *pictures;
    const u32 *tile_picture;  // picture of each tile
    Rules rules;
    const float4 *records;
    const float4 *normals;
    const u32 *counts, *starts, *order;
    u32 capacity;
    u32 pad;
    // of all pictures, one after the other
    float *rgb, *alpha, *depth, *normal;
    float *light;  // what passes each pixel
    u32 *last;     // one more than the position in its list of the last splat blended
};
static_assert(sizeof(BlendArgs) == 152, "the size in layout.rs");

struct Batch {
    float records[(BATCH + 1) * WORDS];
    u16 reach[BATCH];             // bit b: touches block b of 4 x 4 pixels, row-major
    u16 lists[4][4][BATCH + 8];   // [warp][group]: offsets in words into `records`
};

struct Pixels {
    int group, block;   // of the lane
    u32 x, y;           // the first pixel in the tile; the second is two rows further down
};

__device__ __forceinline__ Pixels pixels_of() {
    int warp = threadIdx.x >> 5, lane = threadIdx.x & 31, group = lane >> 3;
    int column = (warp & 1) * 2 + (group & 1), row = (warp >> 1) * 2 + (group >> 1);
    Pixels p;
    p.group = group;
    p.block = row * 4 + column;
    p.x = column * 4 + (lane & 3);
    p.y = row * 4 + ((lane >> 2) & 1);
    return p;
}

struct Fetched {
    float4 r0, r1, r2;
#if CHANNELS == 7
    float4 normal;
#endif
    u32 record;
    bool valid;
};

// Starts the thread's loads of entry `position` of a list of `count`.
__device__ __forceinline__ Fetched fetch(const BlendArgs &args, const Picture &picture, u32 start, u32 position, u32 count) {
    Fetched f;
    f.valid = position < count;
    f.record = 0;
    f.r0 = f.r1 = f.r2 = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    if (f.valid) {
        f.record = picture.records + args.order[start + position];
        const float4 *r = args.records + (size_t)f.record * 3;
        f.r0 = r[0];
        f.r1 = r[1];
        f.r2 = r[2];
#if CHANNELS == 7
        f.normal = args.normals[f.record];
#endif
    }
    return f;
}

__device__ __forceinline__ void nothing(Batch &batch) {
    if (threadIdx.x < WORDS) batch.records[NOTHING * WORDS + threadIdx.x] = threadIdx.x == 5 ? -1e30f : 0.0f;
}

// Puts what `fetch` loaded into shared memory, with the blocks it touches.
__device__ __forceinline__ void store(Batch &batch, const Fetched &f, u32 left, u32 top, u32 number) {
    float *to = batch.records + threadIdx.x * WORDS;
    u32 columns = __float_as_uint(f.r2.y), rows = __float_as_uint(f.r2.z);
    *(float4 *)to = f.r0;
    *(float4 *)(to + 4) = f.r1;
    *(float4 *)(to + 8) = make_float4(f.r2.x, __uint_as_float(number), __uint_as_float(f.record), f.r2.w);
#if CLIP
    *(float4 *)(to + 12) = make_float4(f.r2.y, f.r2.z, 0.0f, 0.0f);
#endif
#if CHANNELS == 7
    *(float4 *)(to + 12 + EXTRA) = f.normal;
#endif
    int c0 = max((int)(columns & 0xffff) - (int)left, 0) >> 2, c1 = min((int)(columns >> 16) - (int)left, TILE - 1) >> 2;
    int y0 = max((int)(rows & 0xffff) - (int)top, 0) >> 2, y1 = min((int)(rows >> 16) - (int)top, TILE - 1) >> 2;
    u32 across = (2u << c1) - (1u << c0), down = (2u << y1) - (1u << y0);
    u32 spread = (down & 1) | (down & 2) << 3 | (down & 4) << 6 | (down & 8) << 9;
    batch.reach[threadIdx.x] = f.valid ? (u16)(across * spread) : (u16)0;
}

// log2 alpha at a distance from the centre; both directions must get the same answer to the bit.
__device__ __forceinline__ float2 powers(float4 r0, float yy, float o, float dx, float dy0, float dy1) {
    float along = __fmul_rn(r0.w, dx);
    float base = __fmaf_rn(__fmul_rn(r0.z, dx), dx, o);
    return make_float2(__fmaf_rn(__fmaf_rn(yy, dy0, along), dy0, base), __fmaf_rn(__fmaf_rn(yy, dy1, along), dy1, base));
}

__device__ __forceinline__ float exp2_fast(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

__device__ __forceinline__ float reciprocal_fast(float x) {
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

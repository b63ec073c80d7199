// What both directions of blending share: which pixels a lane has, and how a batch of records reaches a warp's lists.
//
// A tile of 16 x 16 pixels is one block of 4 warps. A warp has 8 x 8 pixels, each group of 8 lanes 4 x 4 of them, each lane
// two pixels of one column. The groups of a warp work on different splats at the same time: each has its own list of the
// splats whose rectangle touches its 4 x 4 pixels, so a splat of 8 pixels across costs 9 blocks of 16 pixels and not
// 6 blocks of 32.

#ifndef BATCH
#define BATCH (CHANNELS > 3 ? 128 : 256)  // records in shared memory at a time, a multiple of 128
#endif
#define EACH (BATCH / 128)  // of which each thread fetches so many
#define NOTHING BATCH  // a record that is nowhere visible, to fill lists
#ifndef FINE
#define FINE 1  // test the ellipse, not only its rectangle, against blocks of 4 x 4 pixels
#endif
#define EXTRA (CLIP ? 4 : 0)
#define WORDS (12 + EXTRA + (CHANNELS == 7 ? 4 : 0))  // words of a record in shared memory

struct BlendArgs {
    const Picture *pictures;
    Rules rules;
    const float4 *records;
    const float4 *normals;
    const u32 *order;
    const uint4 *works;
    u32 *deepest;  // per work: one more than the position of the last splat that any of its pixels blended
    u16 *touched;  // per entry: blocks of 4 x 4 pixels of its tile that the splat touches; forward writes, backward reads
    // of all pictures, one after the other
    float *rgb, *alpha, *depth, *normal;
    float *light;  // what passes each pixel
    u32 *last;     // one more than the position in its list of the last splat blended
};
static_assert(sizeof(BlendArgs) == 144, "the size in layout.rs");

struct __align__(16) Batch {
    float records[(BATCH + 1) * WORDS];
    u16 touched[BATCH];           // bit b: block b of 4 x 4 pixels, row-major
    u16 lists[4][4][BATCH + 8];   // [warp][group]: shared addresses of records
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

// Starts the thread's loads of an entry of a list of `count`.
// `record` is the entry, which was loaded before.
__device__ __forceinline__ Fetched fetch(const BlendArgs &args, u32 record, bool valid) {
    Fetched f;
    f.valid = valid;
    f.record = record;
    f.r0 = f.r1 = f.r2 = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    if (f.valid) {
        const float4 *r = args.records + (size_t)record * 3;
        f.r0 = r[0];
        f.r1 = r[1];
        f.r2 = r[2];
#if CHANNELS == 7
        f.normal = args.normals[record];
#endif
    }
    return f;
}

__device__ __forceinline__ void nothing(Batch &batch) {
    if (threadIdx.x < WORDS) batch.records[NOTHING * WORDS + threadIdx.x] = threadIdx.x == 5 ? -1e30f : 0.0f;
}

// Blocks of 4 x 4 pixels of the tile that a splat touches.
__device__ __forceinline__ u32 touched_by(const Fetched &f, u32 left, u32 top, float threshold) {
    if (!f.valid) return 0;
    u32 columns = __float_as_uint(f.r2.y), rows = __float_as_uint(f.r2.z);
    int c0 = max((int)(columns & 0xffff) - (int)left, 0) >> 2, c1 = min((int)(columns >> 16) - (int)left, TILE - 1) >> 2;
    int y0 = max((int)(rows & 0xffff) - (int)top, 0) >> 2, y1 = min((int)(rows >> 16) - (int)top, TILE - 1) >> 2;
    u32 across = (2u << c1) - (1u << c0), down = (2u << y1) - (1u << y0);
    u32 spread = (down & 1) | (down & 2) << 3 | (down & 4) << 6 | (down & 8) << 9;
    u32 all = across * spread;
#if FINE
    Bands b = bands_of(f.r0, f.r1.x, f.r1.y, threshold);
    if (!b.usable) return all;
    float x = f.r0.x - (float)left - 0.5f, y = (float)top + 0.5f - f.r0.y;
    u32 reached = 0;
#pragma unroll
    for (int row = 0; row < 4; row++) {
        float from, to;
        bool any = band(b, y + row * 4, y + row * 4 + 3, from, to);
        // pixels of the tile's row of blocks, then blocks
        int first = (int)ceilf(fmaxf(x + from, 0.0f)) >> 2, last = (int)floorf(fminf(x + to, 15.0f)) >> 2;
        u32 line = any && first <= last ? (2u << last) - (1u << first) : 0;
        reached |= line << row * 4;
    }
    all &= reached;
#endif
    return all;
}

// Puts what `fetch` loaded into place `entry` of shared memory.
__device__ __forceinline__ void store(Batch &batch, const Fetched &f, u32 entry, u32 touched, u32 number) {
    float *to = batch.records + entry * WORDS;
    *(float4 *)to = f.r0;
    *(float4 *)(to + 4) = f.r1;
    *(float4 *)(to + 8) = make_float4(f.r2.x, __uint_as_float(number), __uint_as_float(f.record), f.r2.w);
#if CLIP
    *(float4 *)(to + 12) = make_float4(f.r2.y, f.r2.z, 0.0f, 0.0f);
#endif
#if CHANNELS == 7
    *(float4 *)(to + 12 + EXTRA) = f.normal;
#endif
    batch.touched[entry] = (u16)touched;
}

// log2 alpha at a distance from the centre; both directions must get the same answer to the bit.
__device__ __forceinline__ float2 powers(float4 r0, float yy, float o, float dx, float dy0, float dy1) {
    float along = __fmul_rn(r0.w, dx);
    float base = __fmaf_rn(__fmul_rn(r0.z, dx), dx, o);
    return make_float2(__fmaf_rn(__fmaf_rn(yy, dy0, along), dy0, base), __fmaf_rn(__fmaf_rn(yy, dy1, along), dy1, base));
}

// Shared memory by its own addresses: lists hold them in 16 bits, and no conversion stands between a list and a record.
__device__ __forceinline__ u32 shared_address(const void *p) { return (u32)__cvta_generic_to_shared(p); }

__device__ __forceinline__ float4 shared4(u32 address) {
    float4 v;
    asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];" : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w) : "r"(address));
    return v;
}

__device__ __forceinline__ float shared1(u32 address) {
    float v;
    asm volatile("ld.shared.f32 %0, [%1];" : "=f"(v) : "r"(address));
    return v;
}

// The group's list is filled up with NOTHING to `most` and a multiple of eight.
__device__ __forceinline__ void fill_up(Batch &batch, u16 *list, int mine, int most) {
    for (int i = mine + (threadIdx.x & 7); i < ((most + 7) & ~7); i += 8)
        list[i] = (u16)shared_address(batch.records + NOTHING * WORDS);
}

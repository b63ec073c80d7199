// What all kernels share: the layout of a batch in memory, and the vector arithmetic.
//
// A batch is a list of pictures, each one scene seen by one camera. Scenes lie one after the other in the same arrays.
// Every (picture, splat) pair has a record: what the splat is on that picture's screen.

typedef unsigned int u32;
typedef unsigned short u16;
typedef unsigned long long u64;

#define TILE 16           // pixels along a side of a tile
#define FULL 0xffffffffu  // all lanes of a warp

// The same as the Rust struct `Picture` in src/cuda/raster/layout.rs.
struct Picture {
    float rotation[9];           // rows of the rotation part of camera_from_world
    float world_from_camera[9];  // rows of its inverse
    float center[3];             // camera centre
    float focal[2];
    float principal[2];
    float slopes[4];             // lowest and highest x/z, lowest and highest y/z
    float background[3];
    u32 width, height, orthographic;
    u32 splats, count;           // first row in the scene's arrays, number of rows
    u32 records;                 // first record
    u32 tiles, columns, tile_count;  // first tile, tiles in a row, tiles
    u32 pixels;                  // first pixel
    u32 pad;
};
static_assert(sizeof(Picture) == 172, "the size in layout.rs");

// The same as the Rust struct `Rules`.
struct Rules {
    float near, far, dilation, alpha_min, threshold, alpha_max, stop;
    int model;      // 0 classic, 1 antialiased, 2 surfel
    int footprint;  // 0 exact, 1 square, 2 square of whole tiles
    int normalize;
};
static_assert(sizeof(Rules) == 40, "the size in layout.rs");

// Pointers to the arrays of the scenes; layouts as in `gav_formats::Splats`.
struct Scene {
    const float *means;   // N x 3
    const float *shape;   // quaternions N x 4, or covariances N x 6
    const float *scales;  // log-scales N x 3
    const float *logits;  // N
    const float *color;   // N x 3
    const float *rest;    // N x K x 3
};

// What the host reads after a batch.
struct Stats {
    u64 total;    // entries that the tile lists need
    u32 longest;  // longest list
    u32 pad;
};

// Tiles are worked on in the order of the length of their lists, so that the longest are not the last to finish: a bin for
// each 48 entries, the longest lists in bin 0.
#define BINS 32
__device__ __forceinline__ u32 bin_of(u32 count) { return count == 0 ? BINS - 1 : BINS - 2 - min(count / 48, BINS - 2u); }

// A tile's list and picture.
struct Work {
    u32 tile, picture, start, count;
};

__device__ __forceinline__ Work load_work(const uint4 *works, u32 at) {
    uint4 w = works[at];
    Work work = {w.x, w.y, w.z, w.w};
    return work;
}

// What is at place `at` of the queue; all lanes of the warp come here together.
__device__ __forceinline__ Work queued(const u32 *bins, const uint4 *queue, u32 tiles, u32 at) {
    u32 lane = threadIdx.x & 31, count = bins[lane], end = count;
    for (int d = 1; d < 32; d <<= 1) {
        u32 other = __shfl_up_sync(FULL, end, d);
        if (lane >= d) end += other;
    }
    u32 bin = __ffs(__ballot_sync(FULL, at < end)) - 1;
    u32 start = __shfl_sync(FULL, end - count, bin);
    return load_work(queue + (size_t)bin * tiles, at - start);
}

struct Vec3 { float x, y, z; };

__device__ __forceinline__ Vec3 vec(float x, float y, float z) { Vec3 v = {x, y, z}; return v; }
__device__ __forceinline__ Vec3 load3(const float *p) { return vec(p[0], p[1], p[2]); }
__device__ __forceinline__ float dot(Vec3 a, Vec3 b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
__device__ __forceinline__ Vec3 cross(Vec3 a, Vec3 b) {
    return vec(a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x);
}
__device__ __forceinline__ Vec3 operator*(Vec3 a, float s) { return vec(a.x * s, a.y * s, a.z * s); }
__device__ __forceinline__ Vec3 operator+(Vec3 a, Vec3 b) { return vec(a.x + b.x, a.y + b.y, a.z + b.z); }
__device__ __forceinline__ Vec3 operator-(Vec3 a, Vec3 b) { return vec(a.x - b.x, a.y - b.y, a.z - b.z); }

__device__ __forceinline__ bool finite(float v) { return fabsf(v) < __int_as_float(0x7f800000); }

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

__device__ __forceinline__ float root_fast(float x) {
    float y;
    asm("sqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// A record in memory: three float4.
//   [0] centre x, y; falloff xx, 2xy    log2 alpha = log2 o + xx dx^2 + 2xy dx dy + yy dy^2
//   [1] falloff yy; log2 opacity; red, green
//   [2] blue; columns first | last << 16; rows first | last << 16; depth
// A splat that is not seen has first column 1 and last column 0.
#define HIDDEN 0x00000001u

__device__ __forceinline__ bool seen(u32 columns) { return (columns & 0xffffu) <= (columns >> 16); }

// The ellipse on which log2 alpha = threshold, cut into horizontal bands.
struct Bands {
    float slope, square, fall, tip, half;
    bool usable;
};

// `yy` and `o` as in a record. Not usable for needles, whose falloff has lost the digits that their width hangs on.
__device__ __forceinline__ Bands bands_of(float4 r0, float yy, float o, float threshold) {
    Bands b;
    // below the threshold by more than rounding
    float level = o - threshold + 0.01f;
    float product = r0.z * yy, quarter = 0.25f * r0.w * r0.w, gap = product - quarter;
    float over = reciprocal_fast(r0.z);
    b.slope = -0.5f * r0.w * over;
    b.square = -level * over;
    b.fall = gap * over * over;
    b.half = root_fast(level * -r0.z * reciprocal_fast(gap));
    b.tip = 0.5f * r0.w * root_fast(level * reciprocal_fast(-yy * gap));
    // also false for NaN
    b.usable = gap > 1e-3f * product && product < 1e30f && b.half < 1e6f && fabsf(b.tip) < 1e6f;
    return b;
}

// Reach of the ellipse to the left and to the right of its centre between two rows below its centre; false when it does
// not come between them. A hundredth of a pixel is added against rounding.
__device__ __forceinline__ bool band(const Bands &b, float top, float bottom, float &left, float &right) {
    float low = fmaxf(top, -b.half), high = fminf(bottom, b.half);
    float r = fminf(fmaxf(b.tip, low), high), l = fminf(fmaxf(-b.tip, low), high);
    right = b.slope * r + root_fast(fmaxf(b.square - b.fall * r * r, 0.0f)) + 0.01f;
    left = b.slope * l - root_fast(fmaxf(b.square - b.fall * l * l, 0.0f)) - 0.01f;
    return top <= b.half + 0.01f && bottom >= -b.half - 0.01f;
}

// Words between the counters of two tiles: atomic additions to one cache line wait for each other, 8 cycles each.
#ifndef SPREAD
#define SPREAD 32
#endif

// Where a record's tiles are. Up to 32 tiles are a mask, row by row; more are found again.
#define MANY 0xffffffffu
struct Reach {
    u32 columns, rows;  // first | last << 16, in tiles
    u32 tiles;          // mask, MANY, or 0 when nothing is seen
    u32 depth;          // bits that order like the depth
};
static_assert(sizeof(Reach) == 16, "one load");

// Tiles of one row that the ellipse reaches, as a range of columns.
__device__ __forceinline__ void columns_of(
    const Bands &b, float4 r0, u32 row, u32 first, u32 last, u32 &from, u32 &to) {
    float left, right, top = row * TILE + 0.5f - r0.y;
    bool any = band(b, top, top + (TILE - 1), left, right);
    // pixel centres lie at .5
    float low = fmaxf(r0.x + left - 0.5f, 0.0f), high = r0.x + right - 0.5f;
    from = max((u32)ceilf(low) / TILE, first);
    to = high < 0.0f ? 0 : min((u32)high / TILE, last);
    if (!any || high < 0.0f || low > high) { from = 1; to = 0; }
}

__device__ __forceinline__ u32 low_bits(u32 count) { return count >= 32 ? FULL : (1u << count) - 1; }

// The tiles of a record whose spans of pixels are `columns` and `rows`.
__device__ __forceinline__ Reach reach_of(float4 r0, float yy, float o, float threshold, u32 columns, u32 rows) {
    Reach r;
    r.tiles = 0;
    if (!seen(columns)) { r.columns = r.rows = 0; return r; }
    u32 c0 = (columns & 0xffffu) / TILE, c1 = (columns >> 16) / TILE, y0 = (rows & 0xffffu) / TILE, y1 = (rows >> 16) / TILE;
    r.columns = c0 | c1 << 16;
    r.rows = y0 | y1 << 16;
    u32 wide = c1 - c0 + 1, many = wide * (y1 - y0 + 1);
    if (many >= 32) { r.tiles = MANY; return r; }
    r.tiles = low_bits(many);
    if (wide == 1 || y0 == y1) return r;
    Bands b = bands_of(r0, yy, o, threshold);
    if (!b.usable) return r;
    r.tiles = 0;
    u32 shift = 0;
    for (u32 row = y0; row <= y1; row++, shift += wide) {
        u32 from, to;
        columns_of(b, r0, row, c0, c1, from, to);
        if (from <= to) r.tiles |= (low_bits(to - from + 1) << (from - c0)) << shift;
    }
    return r;
}

// Calls visit(tile, record of the warp's lane `from`) for splats over many tiles; all lanes of the warp come here together.
// `load` gives a lane's record.
template <typename Load, typename Visit>
__device__ __forceinline__ void wide_tiles(
    const Picture &picture, float threshold, const Reach &reach, Load load, Visit visit) {
    u32 large = __ballot_sync(FULL, reach.tiles == MANY);
    while (large) {
        int from = __ffs(large) - 1;
        large &= large - 1;
        u32 columns = __shfl_sync(FULL, reach.columns, from), rows = __shfl_sync(FULL, reach.rows, from);
        u32 depth = __shfl_sync(FULL, reach.depth, from);
        float4 r0;
        float yy, o;
        load(from, r0, yy, o);
        Bands b = bands_of(r0, yy, o, threshold);
        u32 c0 = columns & 0xffffu, c1 = columns >> 16;
        // a row of tiles for each lane; a splat of one row has as many columns
        for (u32 row = (rows & 0xffffu) + (threadIdx.x & 31); row <= rows >> 16; row += 32) {
            u32 first = c0, last = c1;
            if (b.usable && c0 != c1) columns_of(b, r0, row, c0, c1, first, last);
            for (u32 c = first; c <= last; c++) visit(picture.tiles + row * picture.columns + c, from, depth);
        }
    }
}

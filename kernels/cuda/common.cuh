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

// A record in memory: three float4.
//   [0] centre x, y; falloff xx, 2xy    log2 alpha = log2 o + xx dx^2 + 2xy dx dy + yy dy^2
//   [1] falloff yy; log2 opacity; red, green
//   [2] blue; columns first | last << 16; rows first | last << 16; depth
// A splat that is not seen has first column 1 and last column 0.
#define HIDDEN 0x00000001u

__device__ __forceinline__ bool seen(u32 columns) { return (columns & 0xffffu) <= (columns >> 16); }

// The largest log2 alpha of a splat over the pixel centres of a rectangle of pixels; exact but for rounding.
__device__ __forceinline__ float highest(float4 r0, float yy, float o, float left, float top, float right, float bottom) {
    float x0 = left + 0.5f - r0.x, x1 = right + 0.5f - r0.x, y0 = top + 0.5f - r0.y, y1 = bottom + 0.5f - r0.y;
    // nearest point of the rectangle along each axis
    float nx = fminf(fmaxf(0.0f, x0), x1), ny = fminf(fmaxf(0.0f, y0), y1);
    // the quadric falls from its centre: its highest point is on the edges that face the centre
    float dy = fminf(fmaxf(-0.5f * r0.w * nx / yy, y0), y1);
    float dx = fminf(fmaxf(-0.5f * r0.w * ny / r0.z, x0), x1);
    float vertical = r0.z * nx * nx + r0.w * nx * dy + yy * dy * dy;
    float horizontal = r0.z * dx * dx + r0.w * dx * ny + yy * ny * ny;
    if (nx == 0.0f) vertical = horizontal;
    if (ny == 0.0f && nx != 0.0f) horizontal = vertical;
    return o + fmaxf(vertical, horizontal);
}

// Calls visit(tile) for the tiles that a record reaches; all lanes of the warp must come here together. A splat over many
// tiles is spread over the lanes. `visit` also gets the lane whose splat it is.
template <typename Visit>
__device__ __forceinline__ void for_each_tile(
    const Picture &picture, float threshold, float4 r0, float yy, float o, u32 columns, u32 rows, Visit visit) {
    bool visible = seen(columns);
    u32 c0 = (columns & 0xffffu) / TILE, c1 = (columns >> 16) / TILE;
    u32 y0 = (rows & 0xffffu) / TILE, y1 = (rows >> 16) / TILE;
    u32 wide = visible ? c1 - c0 + 1 : 0;
    u32 many = visible ? wide * (y1 - y0 + 1) : 0;
    int lane = threadIdx.x & 31;
    // below the threshold by more than rounding
    float limit = threshold - 0.01f;
    if (many <= 16) {
        for (u32 i = 0; i < many; i++) {
            u32 c = c0 + i % wide, r = y0 + i / wide;
            float high = highest(r0, yy, o, (float)(c * TILE), (float)(r * TILE), (float)(c * TILE + TILE - 1),
                                 (float)(r * TILE + TILE - 1));
            // NaN counts as reached
            if (many == 1 || !(high < limit)) visit(picture.tiles + r * picture.columns + c, lane);
        }
    }
    u32 large = __ballot_sync(FULL, many > 16);
    while (large) {
        int from = __ffs(large) - 1;
        large &= large - 1;
        float4 s0;
        s0.x = __shfl_sync(FULL, r0.x, from);
        s0.y = __shfl_sync(FULL, r0.y, from);
        s0.z = __shfl_sync(FULL, r0.z, from);
        s0.w = __shfl_sync(FULL, r0.w, from);
        float syy = __shfl_sync(FULL, yy, from), so = __shfl_sync(FULL, o, from);
        u32 sc = __shfl_sync(FULL, c0, from), sy = __shfl_sync(FULL, y0, from);
        u32 swide = __shfl_sync(FULL, wide, from), smany = __shfl_sync(FULL, many, from);
        for (u32 i = lane; i < smany; i += 32) {
            u32 c = sc + i % swide, r = sy + i / swide;
            float high = highest(s0, syy, so, (float)(c * TILE), (float)(r * TILE), (float)(c * TILE + TILE - 1),
                                 (float)(r * TILE + TILE - 1));
            if (!(high < limit)) visit(picture.tiles + r * picture.columns + c, from);
        }
    }
}

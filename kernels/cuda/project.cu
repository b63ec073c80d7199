// Projection: a record for every (picture, splat), and how many entries each tile's list will have.
//
// Mapping: one thread per splat, blocks of 128 splats; neighbouring blocks are the same splats in different pictures, which
// read the same parameters and count in different places. SH coefficients come through shared memory, 16 bytes a thread,
// while the geometry is computed.
// Floor: 236 bytes of parameters (SH degree 3) and 48 of record: 150 k splats 10 us at 4.3 TB/s.
// Measured (H200, 150 k splats, SH degree 3, 512 x 512, as below): 24 us, 8.3 a view of 32.

struct ProjectArgs {
    Scene scene;
    const Picture *pictures;
    Rules rules;
    float4 *records;   // 3 each
    float4 *normals;   // 1 each; when CHANNELS is 7
    Reach *reaches;    // 1 each
    u32 *counts;       // per tile, SPREAD words apart
    u32 picture_count, pad;
};
static_assert(sizeof(ProjectArgs) == 136, "the size in layout.rs");

extern "C" __global__ void __launch_bounds__(128) project(const ProjectArgs args) {
    const Picture &picture = args.pictures[blockIdx.x % args.picture_count];
    const Rules &rules = args.rules;
    u32 first = blockIdx.x / args.picture_count * 128;
    if (first >= picture.count) return;
    u32 here = min(128u, picture.count - first);
#if DEGREE > 0
    __shared__ __align__(16) float rows[128 * ROW];
    fetch_rest(rows, args.scene.rest, picture.splats + first, here);
#endif
    bool valid = threadIdx.x < here;
    u32 local = first + (valid ? threadIdx.x : 0);
    u32 row = picture.splats + local;

    Vec3 mean = load3(args.scene.means + (size_t)row * 3);
    float opacity = opacity_from_logit(args.scene.logits[row]);
    Vec3 color = load3(args.scene.color + (size_t)row * 3);
    Shape shape = load_shape(args.scene, rules, row);
    Ellipse e = ellipse_of(picture, rules, mean, opacity, shape);
    valid = valid && e.valid && e.opacity >= rules.alpha_min;

    float over = picture.orthographic ? 1.0f : 1.0f / e.t.z;
    float cx = picture.focal[0] * (e.t.x * over) + picture.principal[0];
    float cy = picture.focal[1] * (e.t.y * over) + picture.principal[1];
    // alpha >= alpha_min inside the ellipse x^T S^-1 x <= level, whose half extents are sqrt(level diagonal)
    float level = 2.0f * fmaxf(logf(e.opacity / rules.alpha_min), 0.0f);
    float mid = 0.5f * (e.xx + e.yy);
    float radius = ceilf(3.0f * sqrtf(mid + sqrtf(fmaxf(mid * mid - e.determinant, 0.1f))));
    u32 columns = 0, spans = 0;
    for (int k = 0; k < 2; k++) {
        float center = k ? cy : cx, reach = sqrtf(level * (k ? e.yy : e.xx));
        u32 size = k ? picture.height : picture.width, allowed_first, allowed_last;
        valid = valid && pixel_range(center, radius, size, rules.footprint, allowed_first, allowed_last);
        if (!valid) break;
        // a hundredth of a pixel against rounding
        float low = fmaxf(ceilf(center - reach - 0.51f), 0.0f), high = center + reach - 0.49f;
        if (!(high >= 0.0f) || !(low <= (float)allowed_last) || high < (float)allowed_first) {
            valid = false;
            break;
        }
        u32 from = max((u32)low, allowed_first);
        u32 to = min((u32)fminf(high, 65535.0f), allowed_last);
        valid = from <= to;
        spans = columns;
        columns = from | to << 16;
    }
    u32 lines = columns;
    columns = spans;

#if DEGREE >= 0
    color = vec(0.5f + SH0 * color.x, 0.5f + SH0 * color.y, 0.5f + SH0 * color.z);
#endif
#if DEGREE > 0
    {
        float length, b[BANDS];
        basis(direction_of(picture, e.offset, length), b);
        arrived();
        const float *mine = rows + threadIdx.x * ROW;
#pragma unroll
        for (int k = 0; k < BANDS; k++) {
            color.x += b[k] * mine[k * 3];
            color.y += b[k] * mine[k * 3 + 1];
            color.z += b[k] * mine[k * 3 + 2];
        }
    }
#endif
#if DEGREE >= 0
    // not fmaxf, which would turn NaN into 0
    if (color.x < 0.0f) color.x = 0.0f;
    if (color.y < 0.0f) color.y = 0.0f;
    if (color.z < 0.0f) color.z = 0.0f;
#endif
    valid = valid && finite(color.x) && finite(color.y) && finite(color.z);
    if (!valid) columns = HIDDEN;

    float factor = -0.5f * 1.44269504f / e.determinant;
    float4 r0 = make_float4(cx, cy, e.yy * factor, -2.0f * e.xy * factor);
    float yy = e.xx * factor, o = log2f(e.opacity);
    Reach reach = reach_of(r0, yy, o, rules.threshold, columns, lines);
    u32 bits = __float_as_uint(e.t.z);
    reach.depth = bits >> 31 ? ~bits : bits | 0x80000000u;
    if (reach.tiles != MANY) {
        u32 c0 = reach.columns & 0xffffu, wide = (reach.columns >> 16) - c0 + 1;
        u32 row = picture.tiles + (reach.rows & 0xffffu) * picture.columns + c0;
        for (u32 rest = reach.tiles; rest; rest >>= wide, row += picture.columns)
            for (u32 line = rest & low_bits(wide); line; line &= line - 1)
                atomicAdd(&args.counts[(row + __ffs(line) - 1) * SPREAD], 1u);
    }
    wide_tiles(
        picture, rules.threshold, reach,
        [&](int from, float4 &s0, float &syy, float &so) {
            s0.x = __shfl_sync(FULL, r0.x, from);
            s0.y = __shfl_sync(FULL, r0.y, from);
            s0.z = __shfl_sync(FULL, r0.z, from);
            s0.w = __shfl_sync(FULL, r0.w, from);
            syy = __shfl_sync(FULL, yy, from);
            so = __shfl_sync(FULL, o, from);
        },
        [&](u32 tile, int, u32) { atomicAdd(&args.counts[tile * SPREAD], 1u); });
    if (threadIdx.x >= here) return;

    size_t record = (size_t)picture.records + local;
    *(uint4 *)&args.reaches[record] = make_uint4(reach.columns, reach.rows, reach.tiles, reach.depth);
    args.records[record * 3] = r0;
    args.records[record * 3 + 1] = make_float4(yy, o, color.x, color.y);
    args.records[record * 3 + 2] = make_float4(color.z, __uint_as_float(columns), __uint_as_float(lines), e.t.z);
#if CHANNELS == 7
    float4 normal = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#if !COVARIANCE
    int axis = shortest_axis(args.scene, rules, row);
    Vec3 a = vec(shape.turn[axis], shape.turn[3 + axis], shape.turn[6 + axis]);
    Vec3 n = vec(dot(row_of(picture.rotation, 0), a), dot(row_of(picture.rotation, 1), a), dot(row_of(picture.rotation, 2), a));
    float facing = picture.orthographic ? n.z : dot(n, e.t);
    n = n * (facing > 0.0f ? -1.0f : 1.0f);
    normal = make_float4(n.x, n.y, n.z, 0.0f);
#endif
    args.normals[record] = normal;
#endif
}

// What density control wants to know of a picture: how large each splat's footprint is, and how hard its centre is pulled.
//
// Mapping: one thread per row that trains, blocks of 128. `footprints` repeats the geometry of project.cu, which writes no
// radii; `density` runs once gradients are there and the step is known to count.
// Expected: 60 bytes read a row and 120 instructions, 28 bytes a row: 3 and 1 us for 60 k rows, and the latency of a launch.

struct DensityArgs {
    Scene scene;
    const Picture *picture;
    Rules rules;
    const u32 *rows;
    const float *centers;  // 2 per record: gradient of the centre in 1 / pixel
    u32 *radii;            // per splat: 0, or half the side of its square in pixels
    float *pulls;          // per splat: sum of the lengths of the centre's gradient, the picture being 2 wide and 2 high
    u32 *views;            // per splat: pictures that its footprint met
    u32 *largest;          // per splat: largest of its radii
    Control *control;
    u32 count, pad;
};
static_assert(sizeof(DensityArgs) == 160, "the size in density.rs");

extern "C" __global__ void __launch_bounds__(128) footprints(const __grid_constant__ DensityArgs a) {
    u32 k = blockIdx.x * 128 + threadIdx.x;
    const Picture &picture = *a.picture;
    // where every pixel may be reached, whether a splat is seen is decided by the square all the same
    const int rule = a.rules.footprint == 0 ? 1 : a.rules.footprint;
    bool inside = k < a.count;
    u32 row = inside ? a.rows[k] : a.rows[0], radius = 0;
    Shape shape = load_shape(a.scene, a.rules, row);
    Ellipse e = ellipse_of(picture, a.rules, load3(a.scene.means + (size_t)row * 3), opacity_from_logit(a.scene.logits[row]), shape);
    if (inside && e.valid) {
        float over = picture.orthographic ? 1.0f : 1.0f / e.t.z;
        float cx = picture.focal[0] * (e.t.x * over) + picture.principal[0];
        float cy = picture.focal[1] * (e.t.y * over) + picture.principal[1];
        float mid = 0.5f * (e.xx + e.yy);
        float wide = ceilf(3.0f * sqrtf(mid + sqrtf(fmaxf(mid * mid - e.determinant, 0.1f))));
        u32 first, last;
        if (pixel_range(cx, wide, picture.width, rule, first, last) &&
            pixel_range(cy, wide, picture.height, rule, first, last))
            radius = (u32)fminf(wide, 4e9f);
    }
    if (inside) a.radii[row] = radius;
    u32 seen_rows = __popc(__ballot_sync(FULL, radius > 0));
    if ((threadIdx.x & 31) == 0 && seen_rows) atomicAdd(&a.control->visible, seen_rows);
}

extern "C" __global__ void __launch_bounds__(128) density(const __grid_constant__ DensityArgs a) {
    u32 k = blockIdx.x * 128 + threadIdx.x;
    if (k >= a.count || a.control->skip) return;
    u32 row = a.rows[k], radius = a.radii[row];
    if (radius == 0) return;
    const Picture &picture = *a.picture;
    size_t record = (size_t)picture.records + row - picture.splats;
    float x = a.centers[record * 2] * 0.5f * (float)picture.width, y = a.centers[record * 2 + 1] * 0.5f * (float)picture.height;
    a.pulls[row] += sqrtf(x * x + y * y);
    a.views[row] += 1;
    a.largest[row] = max(a.largest[row], radius);
}

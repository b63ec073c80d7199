// Splats bound to triangles, a batch of poses at a time; the same formulas as src/rig/triangle.rs. FRAME: 0 GaussianAvatars, 1 STGA,
// 2 RGBAvatar.
//
// Threads: `faces` one and `faces_backward` a warp for each (triangle, pose), `bind` one for each (splat, pose), `bind_backward` one for each
// splat (all poses when they share the splats), `vertices_backward` one for each (vertex, pose). Sums run over lists made beforehand
// (splats of a triangle, corners at a vertex), so that nothing is added atomically and results repeat bit for bit.
// Floor: `bind` writes 40 bytes a splat and pose, 60 k splats x 32 poses 77 MB = 18 us at 4.3 TB/s. Measured on an H200, 10,144 faces,
// 60 k splats, 32 poses: faces 30 us, bind 54, bind_backward 49, faces_backward 52, vertices_backward 9.

struct Binding {
    const float *vertices;      // P x V x 3
    const u32 *faces;           // F x 3
    const float *uvs;           // F x 6, FRAME 2
    const u32 *triangles;       // N
    const float *barycentrics;  // N x 3, FRAME 2
    const float *means, *rotations, *log_scales;  // of the local splats: N rows, or P x N
    float *frames;              // P x F x 24
    float *out_means, *out_rotations, *out_log_scales;  // P x N
    // backward
    const float *by_means, *by_rotations, *by_log_scales;  // P x N
    float *local_means, *local_rotations, *local_log_scales;  // as the local splats
    float *corners;             // P x F x 9
    float *by_vertices;         // P x V x 3
    const u32 *face_starts, *face_splats;      // splats of each triangle
    const u32 *vertex_starts, *vertex_corners; // 3 face + corner of each vertex
    u32 vertex_count, face_count, splats, poses;
    u32 own;
    u32 pad;
};

// A triangle's frame: rows of the matrix 0..9, quaternion 9..13, scale 13, corners 14..23.
struct Face { Mat3 m; Quat q; float scale; Vec3 c[3]; };

__device__ __forceinline__ Face load_face(const float *p) {
    const float4 *v = (const float4 *)p;
    float4 a = v[0], b = v[1], c = v[2], d = v[3], e = v[4], f = v[5];
    Face out;
    out.m.r[0] = vec(a.x, a.y, a.z); out.m.r[1] = vec(a.w, b.x, b.y); out.m.r[2] = vec(b.z, b.w, c.x);
    out.q.w = c.y; out.q.x = c.z; out.q.y = c.w; out.q.z = d.x;
    out.scale = d.y;
    out.c[0] = vec(d.z, d.w, e.x); out.c[1] = vec(e.y, e.z, e.w); out.c[2] = vec(f.x, f.y, f.z);
    return out;
}

__device__ __forceinline__ Vec3 centroid(const Vec3 *c) { return (c[0] + c[1] + c[2]) * (1.0f / 3.0f); }

struct Factors { float t1, t2, b1, b2; };
__device__ __forceinline__ Factors tangent_factors(const float *uv) {
    float du1 = uv[2] - uv[0], dv1 = uv[3] - uv[1], du2 = uv[4] - uv[0], dv2 = uv[5] - uv[1];
    float f = 1.0f / (du1 * dv2 - du2 * dv1);
    Factors out = {f * dv2, -f * dv1, -f * du2, f * du1};
    return out;
}

extern "C" __global__ void faces(const __grid_constant__ Binding b) {
    u32 f = blockIdx.x * blockDim.x + threadIdx.x, pose = blockIdx.y;
    if (f >= b.face_count) return;
    const float *vertices = b.vertices + (u64)pose * b.vertex_count * 3;
    Vec3 c[3];
#pragma unroll
    for (int k = 0; k < 3; k++) c[k] = load3(vertices + 3 * (u64)b.faces[3 * f + k]);
    Vec3 e1 = c[1] - c[0], e2 = c[2] - c[0];
    float unused, scale = 1.0f;
    Mat3 m;
#if FRAME == 0
    Vec3 a0 = normalize(e1, unused), a1 = normalize(cross(a0, e2), unused), a2 = normalize(cross(a1, a0), unused) * -1.0f;
    scale = 0.5f * (sqrtf(fmaxf(dot(e1, e1), TINY)) + fabsf(dot(a2, e2)));
    m = columns(a0, a1, a2);
#elif FRAME == 1
    Vec3 x = normalize(c[0] - centroid(c), unused), z = normalize(cross(e1, e2), unused);
    m = columns(x, normalize(cross(z, x), unused), z);
#else
    Factors t = tangent_factors(b.uvs + 6 * (u64)f);
    m = columns(normalize(e1 * t.t1 + e2 * t.t2, unused), normalize(e1 * t.b1 + e2 * t.b2, unused),
                normalize(cross(e1, e2), unused));
#endif
    Quat q = quaternion(m);
    float4 *out = (float4 *)(b.frames + 24 * ((u64)pose * b.face_count + f));
    out[0] = make_float4(m.r[0].x, m.r[0].y, m.r[0].z, m.r[1].x);
    out[1] = make_float4(m.r[1].y, m.r[1].z, m.r[2].x, m.r[2].y);
    out[2] = make_float4(m.r[2].z, q.w, q.x, q.y);
    out[3] = make_float4(q.z, scale, c[0].x, c[0].y);
    out[4] = make_float4(c[0].z, c[1].x, c[1].y, c[1].z);
    out[5] = make_float4(c[2].x, c[2].y, c[2].z, 0.0f);
}

// Corner weights of a splat's origin.
__device__ __forceinline__ Vec3 weights_of(const Binding &b, u32 i) {
#if FRAME == 2
    return load3(b.barycentrics + 3 * (u64)i);
#else
    return vec(1.0f / 3.0f, 1.0f / 3.0f, 1.0f / 3.0f);
#endif
}

// The rotation as the frame takes it; `inverse` is 0 when it is not divided by its length.
__device__ __forceinline__ Quat local_rotation(const float *p, float &inverse) {
    Quat q = load4(p);
#if FRAME == 2
    inverse = 0.0f;
    return q;
#else
    return normalize4(q, inverse);
#endif
}

__device__ __forceinline__ void bind_splat(const Binding &b, u32 i, u32 pose) {
    u64 out = (u64)pose * b.splats + i;
    Face face = load_face(b.frames + 24 * ((u64)pose * b.face_count + b.triangles[i]));
    Vec3 w = weights_of(b, i);
#if FRAME == 2
    Vec3 origin = face.c[0] * w.x + face.c[1] * w.y + face.c[2] * w.z;
#else
    Vec3 origin = centroid(face.c);
#endif
    store3(b.out_means + 3 * out, transform(face.m, load3(b.means + 3 * (b.own & OWN_MEANS ? out : i))) * face.scale + origin);
    float inverse;
    store4(b.out_rotations + 4 * out, multiply(face.q, local_rotation(b.rotations + 4 * (b.own & OWN_ROTATIONS ? out : i), inverse)));
    Vec3 s = load3(b.log_scales + 3 * (b.own & OWN_SCALES ? out : i));
#if FRAME == 0
    float ln = logf(face.scale);
    s = vec(s.x + ln, s.y + ln, s.z + ln);
#endif
    store3(b.out_log_scales + 3 * out, s);
}

extern "C" __global__ void bind(const __grid_constant__ Binding b) {
    u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < b.splats) bind_splat(b, i, blockIdx.y);
}

__device__ __forceinline__ void bind_splat_backward(const Binding &b, u32 i, u32 first, u32 last) {
    u64 local = b.own ? (u64)first * b.splats + i : i;
    float inverse;
    Quat unit = local_rotation(b.rotations + 4 * local, inverse);
    Vec3 by_mean = vec(0, 0, 0), by_scale = vec(0, 0, 0);
    Quat by_unit = {0, 0, 0, 0};
    for (u32 pose = first; pose < last; pose++) {
        u64 at = (u64)pose * b.splats + i;
        Face face = load_face(b.frames + 24 * ((u64)pose * b.face_count + b.triangles[i]));
        by_mean = by_mean + transform_transposed(face.m, load3(b.by_means + 3 * at)) * face.scale;
        Quat g = multiply(conjugate(face.q), load4(b.by_rotations + 4 * at));
        by_unit.w += g.w; by_unit.x += g.x; by_unit.y += g.y; by_unit.z += g.z;
        by_scale = by_scale + load3(b.by_log_scales + 3 * at);
    }
    store3(b.local_means + 3 * local, by_mean);
    store4(b.local_rotations + 4 * local, inverse == 0.0f ? by_unit : normalize4_backward(unit, inverse, by_unit));
    store3(b.local_log_scales + 3 * local, by_scale);
}

extern "C" __global__ void bind_backward(const __grid_constant__ Binding b) {
    u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    u32 first = b.own ? blockIdx.y : 0, last = b.own ? first + 1 : b.poses;
    if (i < b.splats) bind_splat_backward(b, i, first, last);
}

// One pose, and of its splats only some: a thread for each. What is written for the others stays as it was.
// Expected: as above for a pose, 2 us and the latency of a launch at 60 k splats.
struct BindingRows {
    Binding b;
    const u32 *rows;
    u32 count, pad;
};

extern "C" __global__ void bind_rows(const __grid_constant__ BindingRows a) {
    u32 k = blockIdx.x * blockDim.x + threadIdx.x;
    if (k < a.count) bind_splat(a.b, a.rows[k], 0);
}

extern "C" __global__ void bind_rows_backward(const __grid_constant__ BindingRows a) {
    u32 k = blockIdx.x * blockDim.x + threadIdx.x;
    if (k < a.count) bind_splat_backward(a.b, a.rows[k], 0, 1);
}

__device__ __forceinline__ float over_warp(float v) {
    for (int d = 16; d; d >>= 1) v += __shfl_xor_sync(0xffffffffu, v, d);
    return v;
}

// A warp a face: density control puts thousands of splats on a few of them, over which one thread would take milliseconds.
extern "C" __global__ void faces_backward(const __grid_constant__ Binding b) {
    u32 f = (blockIdx.x * blockDim.x + threadIdx.x) >> 5, lane = threadIdx.x & 31, pose = blockIdx.y;
    if (f >= b.face_count) return;
    Face face = load_face(b.frames + 24 * ((u64)pose * b.face_count + f));
    Mat3 by_matrix = zero3();
    Quat by_quaternion = {0, 0, 0, 0};
    Vec3 by_corner[3] = {vec(0, 0, 0), vec(0, 0, 0), vec(0, 0, 0)};
    float by_scale = 0.0f;
    for (u32 k = b.face_starts[f] + lane; k < b.face_starts[f + 1]; k += 32) {
        u32 i = b.face_splats[k];
        u64 local = b.own ? (u64)pose * b.splats + i : i, at = (u64)pose * b.splats + i;
        Vec3 g = load3(b.by_means + 3 * at), mean = load3(b.means + 3 * local), w = weights_of(b, i);
        by_matrix = by_matrix + outer(g * face.scale, mean);
        by_corner[0] = by_corner[0] + g * w.x;
        by_corner[1] = by_corner[1] + g * w.y;
        by_corner[2] = by_corner[2] + g * w.z;
        float inverse;
        Quat unit = local_rotation(b.rotations + 4 * local, inverse);
        Quat q = multiply(load4(b.by_rotations + 4 * at), conjugate(unit));
        by_quaternion.w += q.w; by_quaternion.x += q.x; by_quaternion.y += q.y; by_quaternion.z += q.z;
#if FRAME == 0
        Vec3 ln = load3(b.by_log_scales + 3 * at);
        by_scale += dot(g, transform(face.m, mean)) + (ln.x + ln.y + ln.z) / face.scale;
#endif
    }
    for (int r = 0; r < 3; r++) {
        Vec3 &row = by_matrix.r[r], &corner = by_corner[r];
        row = vec(over_warp(row.x), over_warp(row.y), over_warp(row.z));
        corner = vec(over_warp(corner.x), over_warp(corner.y), over_warp(corner.z));
    }
    by_quaternion = {over_warp(by_quaternion.w), over_warp(by_quaternion.x), over_warp(by_quaternion.y), over_warp(by_quaternion.z)};
    by_scale = over_warp(by_scale);
    if (lane) return;
    by_matrix = by_matrix + quaternion_backward(face.m, by_quaternion);
    Vec3 g0 = column(by_matrix, 0), g1 = column(by_matrix, 1), g2 = column(by_matrix, 2);
    Vec3 e1 = face.c[1] - face.c[0], e2 = face.c[2] - face.c[0], by_e1, by_e2;
#if FRAME == 0
    float i0, i1, i2;
    Vec3 a0 = normalize(e1, i0), a1 = normalize(cross(a0, e2), i1), minus_a2 = normalize(cross(a1, a0), i2), a2 = minus_a2 * -1.0f;
    float half = 0.5f * by_scale, height = half * copysignf(1.0f, dot(a2, e2));
    Vec3 by_cross = normalize_backward(minus_a2, i2, (g2 + e2 * height) * -1.0f);
    Vec3 by_normal = normalize_backward(a1, i1, g1 + cross(a0, by_cross));
    Vec3 by_a0 = g0 + cross(by_cross, a1) + cross(e2, by_normal);
    by_e1 = normalize_backward(a0, i0, by_a0) + a0 * half;
    by_e2 = cross(by_normal, a0) + a2 * height;
#elif FRAME == 1
    float ix, iy, iz;
    Vec3 x = normalize(face.c[0] - centroid(face.c), ix), z = normalize(cross(e1, e2), iz), y = normalize(cross(z, x), iy);
    Vec3 by_cross = normalize_backward(y, iy, g1);
    Vec3 by_spoke = normalize_backward(x, ix, g0 + cross(by_cross, z));
    Vec3 by_normal = normalize_backward(z, iz, g2 + cross(x, by_cross));
    // the spoke is c0 minus the centroid, (2 c0 - c1 - c2) / 3: what c0 gets below, -(by_e1 + by_e2), holds its two thirds
    Vec3 third = by_spoke * (-1.0f / 3.0f);
    by_e1 = cross(e2, by_normal) + third;
    by_e2 = cross(by_normal, e1) + third;
#else
    Factors t = tangent_factors(b.uvs + 6 * (u64)f);
    float it, ib, in;
    Vec3 tangent = normalize(e1 * t.t1 + e2 * t.t2, it), bitangent = normalize(e1 * t.b1 + e2 * t.b2, ib);
    Vec3 normal = normalize(cross(e1, e2), in);
    Vec3 gt = normalize_backward(tangent, it, g0), gb = normalize_backward(bitangent, ib, g1), gn = normalize_backward(normal, in, g2);
    by_e1 = gt * t.t1 + gb * t.b1 + cross(e2, gn);
    by_e2 = gt * t.t2 + gb * t.b2 + cross(gn, e1);
#endif
    float *out = b.corners + 9 * ((u64)pose * b.face_count + f);
    store3(out, by_corner[0] - by_e1 - by_e2);
    store3(out + 3, by_corner[1] + by_e1);
    store3(out + 6, by_corner[2] + by_e2);
}

extern "C" __global__ void vertices_backward(const __grid_constant__ Binding b) {
    u32 v = blockIdx.x * blockDim.x + threadIdx.x, pose = blockIdx.y;
    if (v >= b.vertex_count) return;
    Vec3 sum = vec(0, 0, 0);
    for (u32 k = b.vertex_starts[v]; k < b.vertex_starts[v + 1]; k++)
        sum = sum + load3(b.corners + 9 * (u64)pose * b.face_count + 3 * (u64)b.vertex_corners[k]);
    store3(b.by_vertices + 3 * ((u64)pose * b.vertex_count + v), sum);
}

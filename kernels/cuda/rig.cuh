// Matrices and quaternions of one splat, forward and backward; the same formulas as src/rig/algebra.rs and src/rig/polar.rs,
// where they are explained. A function x_backward takes the gradient by the result of x and gives those by its arguments.

#define TINY 1e-20f

// What of the splats each pose has rows of its own for, P x N; the rest is shared, N rows. The way back wants all or nothing.
#define OWN_MEANS 1
#define OWN_ROTATIONS 2
#define OWN_SCALES 4

struct Quat { float w, x, y, z; };
struct Mat3 { Vec3 r[3]; };  // rows

__device__ __forceinline__ float entry(const Vec3 &v, int c) { return c == 0 ? v.x : c == 1 ? v.y : v.z; }
__device__ __forceinline__ void store3(float *p, Vec3 v) { p[0] = v.x; p[1] = v.y; p[2] = v.z; }
__device__ __forceinline__ Quat load4(const float *p) { Quat q = {p[0], p[1], p[2], p[3]}; return q; }
__device__ __forceinline__ void store4(float *p, Quat q) { p[0] = q.w; p[1] = q.x; p[2] = q.y; p[3] = q.z; }

__device__ __forceinline__ Vec3 normalize(Vec3 v, float &inverse) {
    inverse = 1.0f / sqrtf(fmaxf(dot(v, v), TINY));
    return v * inverse;
}
__device__ __forceinline__ Vec3 normalize_backward(Vec3 n, float inverse, Vec3 g) { return (g - n * dot(n, g)) * inverse; }

__device__ __forceinline__ Mat3 zero3() {
    Mat3 m = {{{0, 0, 0}, {0, 0, 0}, {0, 0, 0}}};
    return m;
}
__device__ __forceinline__ Mat3 identity3() {
    Mat3 m = {{{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}};
    return m;
}
__device__ __forceinline__ Vec3 column(const Mat3 &m, int c) { return vec(entry(m.r[0], c), entry(m.r[1], c), entry(m.r[2], c)); }
__device__ __forceinline__ Mat3 columns(Vec3 x, Vec3 y, Vec3 z) {
    Mat3 m = {{{x.x, y.x, z.x}, {x.y, y.y, z.y}, {x.z, y.z, z.z}}};
    return m;
}
__device__ __forceinline__ Mat3 transpose(const Mat3 &m) { return columns(m.r[0], m.r[1], m.r[2]); }
__device__ __forceinline__ Vec3 transform(const Mat3 &m, Vec3 v) { return vec(dot(m.r[0], v), dot(m.r[1], v), dot(m.r[2], v)); }
__device__ __forceinline__ Vec3 transform_transposed(const Mat3 &m, Vec3 v) { return m.r[0] * v.x + m.r[1] * v.y + m.r[2] * v.z; }
__device__ __forceinline__ Mat3 operator+(const Mat3 &a, const Mat3 &b) {
    Mat3 m = {{a.r[0] + b.r[0], a.r[1] + b.r[1], a.r[2] + b.r[2]}};
    return m;
}
__device__ __forceinline__ Mat3 operator*(const Mat3 &a, float s) {
    Mat3 m = {{a.r[0] * s, a.r[1] * s, a.r[2] * s}};
    return m;
}
__device__ __forceinline__ Mat3 product(const Mat3 &a, const Mat3 &b) {
    Mat3 m;
#pragma unroll
    for (int r = 0; r < 3; r++) m.r[r] = b.r[0] * a.r[r].x + b.r[1] * a.r[r].y + b.r[2] * a.r[r].z;
    return m;
}
__device__ __forceinline__ Mat3 outer(Vec3 a, Vec3 b) {
    Mat3 m = {{b * a.x, b * a.y, b * a.z}};
    return m;
}
__device__ __forceinline__ float determinant(const Mat3 &m) { return dot(m.r[0], cross(m.r[1], m.r[2])); }
__device__ __forceinline__ float inner(const Mat3 &a, const Mat3 &b) {
    return dot(a.r[0], b.r[0]) + dot(a.r[1], b.r[1]) + dot(a.r[2], b.r[2]);
}
// (m21 - m12, m02 - m20, m10 - m01)
__device__ __forceinline__ Vec3 axial(const Mat3 &m) {
    return vec(m.r[2].y - m.r[1].z, m.r[0].z - m.r[2].x, m.r[1].x - m.r[0].y);
}
// Affine maps: rows of 3 x 4 in memory.
__device__ __forceinline__ Mat3 linear(const float *a) {
    Mat3 m = {{{a[0], a[1], a[2]}, {a[4], a[5], a[6]}, {a[8], a[9], a[10]}}};
    return m;
}
__device__ __forceinline__ Vec3 translation(const float *a) { return vec(a[3], a[7], a[11]); }
__device__ __forceinline__ void store_affine(float *p, const Mat3 &m, Vec3 t) {
    p[0] = m.r[0].x; p[1] = m.r[0].y; p[2] = m.r[0].z; p[3] = t.x;
    p[4] = m.r[1].x; p[5] = m.r[1].y; p[6] = m.r[1].z; p[7] = t.y;
    p[8] = m.r[2].x; p[9] = m.r[2].y; p[10] = m.r[2].z; p[11] = t.z;
}
__device__ __forceinline__ Mat3 load_matrix(const float *p) {
    Mat3 m = {{load3(p), load3(p + 3), load3(p + 6)}};
    return m;
}
__device__ __forceinline__ void store_matrix(float *p, const Mat3 &m) {
    store3(p, m.r[0]);
    store3(p + 3, m.r[1]);
    store3(p + 6, m.r[2]);
}

__device__ __forceinline__ float dot4(Quat a, Quat b) { return a.w * b.w + a.x * b.x + a.y * b.y + a.z * b.z; }
__device__ __forceinline__ Quat conjugate(Quat q) { Quat r = {q.w, -q.x, -q.y, -q.z}; return r; }
__device__ __forceinline__ Quat multiply(Quat a, Quat b) {
    Quat q = {a.w * b.w - a.x * b.x - a.y * b.y - a.z * b.z, a.w * b.x + a.x * b.w + a.y * b.z - a.z * b.y,
              a.w * b.y - a.x * b.z + a.y * b.w + a.z * b.x, a.w * b.z + a.x * b.y - a.y * b.x + a.z * b.w};
    return q;
}
__device__ __forceinline__ Quat normalize4(Quat q, float &inverse) {
    inverse = 1.0f / sqrtf(fmaxf(dot4(q, q), TINY));
    Quat r = {q.w * inverse, q.x * inverse, q.y * inverse, q.z * inverse};
    return r;
}
__device__ __forceinline__ Quat normalize4_backward(Quat n, float inverse, Quat g) {
    float along = dot4(n, g);
    Quat r = {(g.w - n.w * along) * inverse, (g.x - n.x * along) * inverse, (g.y - n.y * along) * inverse,
              (g.z - n.z * along) * inverse};
    return r;
}
// The rotation of a unit quaternion.
__device__ __forceinline__ Mat3 matrix(Quat q) {
    float w = q.w, x = q.x, y = q.y, z = q.z;
    Mat3 m = {{{1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)},
               {2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)},
               {2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)}}};
    return m;
}
__device__ __forceinline__ Quat matrix_backward(Quat q, const Mat3 &g) {
    Vec3 skew = axial(g), sum = vec(g.r[2].y + g.r[1].z, g.r[0].z + g.r[2].x, g.r[1].x + g.r[0].y);
    float w = q.w, x = q.x, y = q.y, z = q.z;
    Quat r = {2 * (x * skew.x + y * skew.y + z * skew.z),
              2 * (w * skew.x + y * sum.z + z * sum.y - 2 * x * (g.r[1].y + g.r[2].z)),
              2 * (w * skew.y + x * sum.z + z * sum.x - 2 * y * (g.r[0].x + g.r[2].z)),
              2 * (w * skew.z + x * sum.y + y * sum.x - 2 * z * (g.r[0].x + g.r[1].y))};
    return r;
}
// By the branch of the largest of m00, m11, m22, trace; the first wins ties. Branches are selected, not indexed: no local memory.
__device__ __forceinline__ Quat raw_quaternion(const Mat3 &m, int &branch) {
    float a = m.r[0].x, b = m.r[1].y, c = m.r[2].z, trace = a + b + c;
    branch = 0;
    float most = a;
    if (b > most) { most = b; branch = 1; }
    if (c > most) { most = c; branch = 2; }
    if (trace > most) branch = 3;
    Vec3 skew = axial(m);
    float xy = m.r[1].x + m.r[0].y, xz = m.r[0].z + m.r[2].x, yz = m.r[2].y + m.r[1].z;
    Quat q;
    if (branch == 3) { q.w = 1 + trace; q.x = skew.x; q.y = skew.y; q.z = skew.z; }
    else if (branch == 0) { q.w = skew.x; q.x = 1 - trace + 2 * a; q.y = xy; q.z = xz; }
    else if (branch == 1) { q.w = skew.y; q.x = xy; q.y = 1 - trace + 2 * b; q.z = yz; }
    else { q.w = skew.z; q.x = xz; q.y = yz; q.z = 1 - trace + 2 * c; }
    return q;
}
__device__ __forceinline__ Quat quaternion(const Mat3 &m) {
    int branch;
    float inverse;
    return normalize4(raw_quaternion(m, branch), inverse);
}
__device__ __forceinline__ Mat3 quaternion_backward(const Mat3 &m, Quat g) {
    int branch;
    float inverse;
    Quat raw = raw_quaternion(m, branch);
    Quat unit = normalize4(raw, inverse);
    g = normalize4_backward(unit, inverse, g);
    // gradients by the axial vector, by the sums xy, xz, yz, and by the diagonal
    Vec3 skew, sum, diagonal;
    if (branch == 3) { skew = vec(g.x, g.y, g.z); sum = vec(0, 0, 0); diagonal = vec(g.w, g.w, g.w); }
    else if (branch == 0) { skew = vec(g.w, 0, 0); sum = vec(g.y, g.z, 0); diagonal = vec(g.x, -g.x, -g.x); }
    else if (branch == 1) { skew = vec(0, g.w, 0); sum = vec(g.x, 0, g.z); diagonal = vec(-g.y, g.y, -g.y); }
    else { skew = vec(0, 0, g.w); sum = vec(0, g.x, g.y); diagonal = vec(-g.z, -g.z, g.z); }
    Mat3 out = {{{diagonal.x, sum.x - skew.z, sum.y + skew.y},
                 {sum.x + skew.z, diagonal.y, sum.z - skew.x},
                 {sum.y - skew.y, sum.z + skew.x, diagonal.z}}};
    return out;
}

__device__ __forceinline__ Mat3 inverse_transposed(const Mat3 &m) {
    float s = 1.0f / determinant(m);
    Mat3 out = {{cross(m.r[1], m.r[2]) * s, cross(m.r[2], m.r[0]) * s, cross(m.r[0], m.r[1]) * s}};
    return out;
}
__device__ __forceinline__ float norm3(const Mat3 &m) { return sqrtf(inner(m, m)); }

// Horn's closed form, for matrices without a positive determinant; cyclic Jacobi rotations of a symmetric 4 x 4 matrix.
__device__ __noinline__ Mat3 nearest_rotation(const Mat3 &m) {
    Vec3 s = axial(m);
    float a = m.r[0].x, b = m.r[1].y, c = m.r[2].z;
    float k[4][4] = {{a + b + c, s.x, s.y, s.z},
                     {s.x, a - b - c, m.r[0].y + m.r[1].x, m.r[0].z + m.r[2].x},
                     {s.y, m.r[0].y + m.r[1].x, b - a - c, m.r[1].z + m.r[2].y},
                     {s.z, m.r[0].z + m.r[2].x, m.r[1].z + m.r[2].y, c - a - b}};
    float v[4][4] = {{1, 0, 0, 0}, {0, 1, 0, 0}, {0, 0, 1, 0}, {0, 0, 0, 1}};
    for (int sweep = 0; sweep < 12; sweep++) {
        float off = 0, all = 0;
        for (int r = 0; r < 4; r++)
            for (int q = 0; q < 4; q++) {
                all += k[r][q] * k[r][q];
                if (q < r) off += k[r][q] * k[r][q];
            }
        if (!(off > all * 1e-14f)) break;
        for (int p = 0; p < 4; p++)
            for (int q = p + 1; q < 4; q++) {
                if (k[p][q] == 0.0f) continue;
                float theta = (k[q][q] - k[p][p]) / (2 * k[p][q]);
                float t = copysignf(1.0f, theta) / (fabsf(theta) + sqrtf(theta * theta + 1));
                float cosine = 1 / sqrtf(t * t + 1), sine = t * cosine;
                for (int i = 0; i < 4; i++) {
                    float x = k[i][p], y = k[i][q];
                    k[i][p] = cosine * x - sine * y;
                    k[i][q] = sine * x + cosine * y;
                }
                for (int i = 0; i < 4; i++) {
                    float x = k[p][i], y = k[q][i];
                    k[p][i] = cosine * x - sine * y;
                    k[q][i] = sine * x + cosine * y;
                    x = v[i][p];
                    y = v[i][q];
                    v[i][p] = cosine * x - sine * y;
                    v[i][q] = sine * x + cosine * y;
                }
            }
    }
    int best = 0;
    for (int i = 1; i < 4; i++)
        if (k[i][i] > k[best][best]) best = i;
    Quat q = {v[0][best], v[1][best], v[2][best], v[3][best]};
    float inverse;
    return matrix(normalize4(q, inverse));
}

// The rotation nearest to m: Higham's iteration with scaling in the first steps.
__device__ __forceinline__ Mat3 polar_rotation(const Mat3 &m) {
    float size = norm3(m);
    if (size == 0.0f) return identity3();
    Mat3 r = m * (1.0f / size);
    if (!(determinant(r) > 1e-6f)) return nearest_rotation(m);
    for (int step = 0; step < 16; step++) {
        Mat3 other = inverse_transposed(r);
        float gamma = step < 4 ? sqrtf(norm3(other) / norm3(r)) : 1.0f;
        Mat3 next = (r * gamma + other * (1.0f / gamma)) * 0.5f;
        float change = 0;
#pragma unroll
        for (int i = 0; i < 3; i++) {
            Vec3 d = next.r[i] - r.r[i];
            change = fmaxf(change, fmaxf(fabsf(d.x), fmaxf(fabsf(d.y), fabsf(d.z))));
        }
        r = next;
        if (change < 4.8e-7f) break;  // four times the rounding of f32
    }
    return r;
}
// dM = R Z, Z v = z x v, (tr P I - P) z = axial(R^T G - G^T R), P = R^T M; zero where the rotation is not unique.
__device__ __forceinline__ Mat3 polar_rotation_backward(const Mat3 &m, const Mat3 &r, const Mat3 &g) {
    Mat3 rt = transpose(r), p = product(rt, m);
    Vec3 y = axial(product(rt, g));
    float trace = p.r[0].x + p.r[1].y + p.r[2].z;
    float xy = -0.5f * (p.r[0].y + p.r[1].x), xz = -0.5f * (p.r[0].z + p.r[2].x), yz = -0.5f * (p.r[1].z + p.r[2].y);
    Mat3 k = {{{trace - p.r[0].x, xy, xz}, {xy, trace - p.r[1].y, yz}, {xz, yz, trace - p.r[2].z}}};
    float d = determinant(k);
    if (!(fabsf(d) > 1.2e-38f)) return zero3();
    // k is symmetric: its rows are its columns
    float s = 1.0f / d;
    Vec3 z = vec(dot(y, cross(k.r[1], k.r[2])), dot(k.r[0], cross(y, k.r[2])), dot(k.r[0], cross(k.r[1], y))) * s;
    Mat3 spin = {{{0, -z.z, z.y}, {z.z, 0, -z.x}, {-z.y, z.x, 0}}};
    return product(r, spin);
}

// Sums COUNT values over a block: thread k < COUNT gets the sum of value k. `scratch` is shared memory for COUNT values a warp.
template <int COUNT>
__device__ __forceinline__ float block_sum(float *values, float *scratch) {
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
#pragma unroll
    for (int k = 0; k < COUNT; k++) {
#pragma unroll
        for (int step = 16; step > 0; step >>= 1) values[k] += __shfl_down_sync(FULL, values[k], step);
        if (lane == 0) scratch[warp * COUNT + k] = values[k];
    }
    __syncthreads();
    float sum = 0.0f;
    if (threadIdx.x < COUNT)
        for (int w = 0; w < warps; w++) sum += scratch[w * COUNT + threadIdx.x];
    return sum;
}

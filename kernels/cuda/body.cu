// Parametric bodies (FLAME, SMPL, SMPL-X, any other with the same arrays), a batch of poses at a time; the same steps as
// models/src/body/pose.rs and backward.rs. V vertices, J joints, E directions (expression and extras), F correctives, P poses.
//
// Threads: `body_joints` and `body_chain_backward` a block for each pose (the chain itself is one thread: 5 to 55 joints in a row);
// `body_vertices` a thread for each vertex and GROUP poses, so that a direction is read once for all of them;
// `body_skin_backward`, `body_shaped_backward` a thread for each (vertex, pose); `body_transforms_backward` a block for each (joint,
// pose); `body_columns_backward` a block for COLUMNS columns and GROUP poses.
// Floor of the forward pass: directions and correctives once from memory, FLAME 8.4 MB = 2 us, SMPL-X 64 MB = 15 us at 4.3 TB/s.
// Measured on an H200, FLAME, 32 poses: joints 19 us, vertices 41; backward skin 6, transforms 17, columns 34 + 34, chain 9, shaped 6.

#define GROUP 8     // poses of a thread
#define COLUMNS 4   // columns of a block in body_columns_backward
#define MOST 1024   // directions and correctives together, at most
#define JOINTS 256  // joints at most

struct Body {
    const float *base;              // 3 x V: the subject's vertices at rest, coordinate by coordinate
    const float *directions;        // E x 3 x V
    const float *correctives;       // F x 3 x V
    const float *base_joints;       // J x 3
    const float *joint_directions;  // E x J x 3
    const u32 *skin_starts, *skin_joints;  // joints of each vertex
    const float *skin_weights;
    const u32 *joint_starts, *joint_vertices;  // vertices of each joint
    const float *joint_weights;
    const u32 *regressor_starts, *regressor_joints;  // joints that a vertex takes part in placing
    const float *regressor_weights;
    const int *parents;             // -1 for the root
    const u32 *order;               // parents before children
    const u32 *forms;               // of each joint's rotation: 0 axis-angle, 1 two rows, 2 matrix
    const float *expression;        // P x E
    const float *rotations;         // P x J x 9, of which a form may use fewer
    const float *translations;      // P x 3
    float *matrices;                // P x J x 9
    float *rest_joints;             // P x J x 3
    float *chain;                   // P x J x 12: rotation and place
    float *transforms;              // P x J x 12: of vertices, without the translation
    float *joints;                  // P x J x 3: posed
    float *feature;                 // P x F
    float *shaped, *corrected;      // P x 3 x V
    float *posed;                   // P x V x 3
    // backward
    const float *by_posed;          // P x V x 3
    float *by_corrected, *by_shaped;  // P x 3 x V
    float *by_transforms;           // P x (J + 1) x 12; the last row holds the translation's
    float *by_feature;              // P x F
    float *by_expression;           // P x E
    float *by_joints;               // P x J x 3
    float *by_rotations;            // P x J x 9
    float *by_translations;         // P x 3
    u32 V, J, E, F, P;
    u32 pad;
};

__device__ __forceinline__ Mat3 skew(Vec3 d) {
    Mat3 m = {{{0, -d.z, d.y}, {d.z, 0, -d.x}, {-d.y, d.x, 0}}};
    return m;
}

// The formula of the SMPL family: 1e-8 is added to every component before the length is taken.
__device__ __forceinline__ Mat3 rodrigues(Vec3 r) {
    Vec3 shifted = r + vec(1e-8f, 1e-8f, 1e-8f);
    float a = sqrtf(dot(shifted, shifted));
    Mat3 k = skew(r * (1.0f / a));
    return identity3() + k * sinf(a) + product(k, k) * (1.0f - cosf(a));
}
__device__ __forceinline__ Vec3 rodrigues_backward(Vec3 r, const Mat3 &g) {
    Vec3 shifted = r + vec(1e-8f, 1e-8f, 1e-8f);
    float a = sqrtf(dot(shifted, shifted)), sine = sinf(a), cosine = cosf(a);
    Mat3 k = skew(r * (1.0f / a)), kt = transpose(k);
    Mat3 by_k = g * sine + (product(g, kt) + product(kt, g)) * (1.0f - cosine);
    Vec3 by_axis = axial(by_k);
    float by_angle = cosine * inner(g, k) + sine * inner(g, product(k, k)) - dot(by_axis, r) / (a * a);
    return (by_axis + shifted * by_angle) * (1.0f / a);
}

// Two rows, made orthonormal in order; the third is their cross product.
__device__ __forceinline__ Mat3 six_d(const float *v, float &first, float &rest) {
    Vec3 a = load3(v), b = load3(v + 3);
    first = fmaxf(sqrtf(dot(a, a)), 1e-12f);
    Mat3 m;
    m.r[0] = a * (1.0f / first);
    Vec3 left = b - m.r[0] * dot(m.r[0], b);
    rest = fmaxf(sqrtf(dot(left, left)), 1e-12f);
    m.r[1] = left * (1.0f / rest);
    m.r[2] = cross(m.r[0], m.r[1]);
    return m;
}
__device__ __forceinline__ void six_d_backward(const float *v, const Mat3 &g, float *out) {
    float first, rest;
    Mat3 m = six_d(v, first, rest);
    Vec3 second = load3(v + 3);
    Vec3 by_b2 = g.r[1] + cross(g.r[2], m.r[0]), by_b1 = g.r[0] + cross(m.r[1], g.r[2]);
    Vec3 by_rest = (by_b2 - m.r[1] * dot(by_b2, m.r[1])) * (1.0f / rest);
    float along = dot(m.r[0], second), by_along = -dot(by_rest, m.r[0]);
    by_b1 = by_b1 + second * by_along - by_rest * along;
    store3(out, (by_b1 - m.r[0] * dot(by_b1, m.r[0])) * (1.0f / first));
    store3(out + 3, by_rest + m.r[0] * by_along);
}

extern "C" __global__ void body_joints(const __grid_constant__ Body b) {
    u32 pose = blockIdx.x;
    __shared__ float chain[JOINTS * 12];
    float *matrices = b.matrices + 9 * (u64)pose * b.J, *rest = b.rest_joints + 3 * (u64)pose * b.J;
    for (u32 j = threadIdx.x; j < b.J; j += blockDim.x) {
        const float *r = b.rotations + 9 * ((u64)pose * b.J + j);
        float unused;
        Mat3 m = b.forms[j] == 0 ? rodrigues(load3(r)) : b.forms[j] == 1 ? six_d(r, unused, unused) : load_matrix(r);
        store_matrix(matrices + 9 * j, m);
        if (b.F > 0 && j > 0) {
            Mat3 one = identity3();
            float *feature = b.feature + (u64)pose * b.F + 9 * (j - 1);
            for (int k = 0; k < 3; k++) store3(feature + 3 * k, m.r[k] - one.r[k]);
        }
    }
    for (u32 k = threadIdx.x >> 5; k < 3 * b.J; k += blockDim.x >> 5) {
        float sum = 0.0f;
        for (u32 e = threadIdx.x & 31; e < b.E; e += 32)
            sum += b.expression[(u64)pose * b.E + e] * b.joint_directions[(u64)e * 3 * b.J + k];
#pragma unroll
        for (int step = 16; step > 0; step >>= 1) sum += __shfl_down_sync(FULL, sum, step);
        if ((threadIdx.x & 31) == 0) rest[k] = b.base_joints[k] + sum;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        for (u32 k = 0; k < b.J; k++) {
            u32 j = b.order[k];
            int parent = b.parents[j];
            Mat3 own = load_matrix(matrices + 9 * j);
            Vec3 here = load3(rest + 3 * j);
            if (parent >= 0) {
                const float *up = chain + 12 * parent;
                here = transform(linear(up), here - load3(rest + 3 * parent)) + translation(up);
                own = product(linear(up), own);
            }
            store_affine(chain + 12 * j, own, here);
        }
    }
    __syncthreads();
    Vec3 moved = load3(b.translations + 3 * (u64)pose);
    for (u32 j = threadIdx.x; j < b.J; j += blockDim.x) {
        u64 at = (u64)pose * b.J + j;
        Mat3 r = linear(chain + 12 * j);
        Vec3 t = translation(chain + 12 * j);
        store_affine(b.chain + 12 * at, r, t);
        store_affine(b.transforms + 12 * at, r, t - transform(r, load3(rest + 3 * j)));
        store3(b.joints + 3 * at, t + moved);
    }
}

extern "C" __global__ void body_vertices(const __grid_constant__ Body b) {
    __shared__ float coefficients[MOST * GROUP];
    u32 first = blockIdx.y * GROUP, poses = min(GROUP, b.P - first);
    for (u32 k = threadIdx.x; k < (b.E + b.F) * GROUP; k += blockDim.x) {
        u32 column = k / GROUP, p = k % GROUP, pose = first + p;
        coefficients[k] = p >= poses ? 0.0f
            : column < b.E ? b.expression[(u64)pose * b.E + column] : b.feature[(u64)pose * b.F + column - b.E];
    }
    __syncthreads();
    u32 v = blockIdx.x * blockDim.x + threadIdx.x;
    if (v >= b.V) return;
    float sum[3][GROUP];
#pragma unroll
    for (int c = 0; c < 3; c++) {
        float start = b.base[c * b.V + v];
#pragma unroll
        for (int p = 0; p < GROUP; p++) sum[c][p] = start;
    }
    const float *row = b.directions + v;
    const float *weights = coefficients;
#pragma unroll 8
    for (u32 k = 0; k < b.E; k++, row += 3 * (u64)b.V, weights += GROUP) {
        float d[3] = {row[0], row[b.V], row[2 * b.V]};
#pragma unroll
        for (int p = 0; p < GROUP; p++) {
            float w = weights[p];
#pragma unroll
            for (int c = 0; c < 3; c++) sum[c][p] += w * d[c];
        }
    }
#pragma unroll
    for (int p = 0; p < GROUP; p++)
        if (p < poses)
#pragma unroll
            for (int c = 0; c < 3; c++) b.shaped[((u64)(first + p) * 3 + c) * b.V + v] = sum[c][p];
    row = b.correctives + v;
#pragma unroll 8
    for (u32 k = 0; k < b.F; k++, row += 3 * (u64)b.V, weights += GROUP) {
        float d[3] = {row[0], row[b.V], row[2 * b.V]};
#pragma unroll
        for (int p = 0; p < GROUP; p++) {
            float w = weights[p];
#pragma unroll
            for (int c = 0; c < 3; c++) sum[c][p] += w * d[c];
        }
    }
    u32 start = b.skin_starts[v], end = b.skin_starts[v + 1];
#pragma unroll
    for (int p = 0; p < GROUP; p++) {
        if (p >= poses) break;
        u32 pose = first + p;
        float a[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
        for (u32 k = start; k < end; k++) {
            float w = b.skin_weights[k];
            const float4 *t = (const float4 *)(b.transforms + 12 * ((u64)pose * b.J + b.skin_joints[k]));
#pragma unroll
            for (int r = 0; r < 3; r++) {
                float4 q = t[r];
                a[4 * r] += w * q.x; a[4 * r + 1] += w * q.y; a[4 * r + 2] += w * q.z; a[4 * r + 3] += w * q.w;
            }
        }
        Vec3 from = vec(sum[0][p], sum[1][p], sum[2][p]);
        for (int c = 0; c < 3; c++) b.corrected[((u64)pose * 3 + c) * b.V + v] = entry(from, c);
        store3(b.posed + 3 * ((u64)pose * b.V + v),
               transform(linear(a), from) + translation(a) + load3(b.translations + 3 * (u64)pose));
    }
}

extern "C" __global__ void body_skin_backward(const __grid_constant__ Body b) {
    u32 v = blockIdx.x * blockDim.x + threadIdx.x, pose = blockIdx.y;
    if (v >= b.V) return;
    Vec3 g = load3(b.by_posed + 3 * ((u64)pose * b.V + v)), sum = vec(0, 0, 0);
    for (u32 k = b.skin_starts[v]; k < b.skin_starts[v + 1]; k++)
        sum = sum + transform_transposed(linear(b.transforms + 12 * ((u64)pose * b.J + b.skin_joints[k])), g * b.skin_weights[k]);
    for (int c = 0; c < 3; c++) b.by_corrected[((u64)pose * 3 + c) * b.V + v] = entry(sum, c);
}

extern "C" __global__ void body_transforms_backward(const __grid_constant__ Body b) {
    __shared__ float scratch[12 * 32];
    u32 j = blockIdx.x, pose = blockIdx.y;
    bool all = j == b.J;
    u32 start = all ? 0 : b.joint_starts[j], end = all ? b.V : b.joint_starts[j + 1];
    float sum[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    const float *corrected = b.corrected + (u64)pose * 3 * b.V;
    for (u32 k = start + threadIdx.x; k < end; k += blockDim.x) {
        u32 v = all ? k : b.joint_vertices[k];
        Vec3 g = load3(b.by_posed + 3 * ((u64)pose * b.V + v)) * (all ? 1.0f : b.joint_weights[k]);
        float from[4] = {corrected[v], corrected[b.V + v], corrected[2 * b.V + v], 1.0f};
#pragma unroll
        for (int r = 0; r < 3; r++)
#pragma unroll
            for (int c = 0; c < 4; c++) sum[4 * r + c] += entry(g, r) * from[c];
    }
    float total = block_sum<12>(sum, scratch);
    if (threadIdx.x < 12) b.by_transforms[12 * ((u64)pose * (b.J + 1) + j) + threadIdx.x] = total;
}

// Gradients of coefficients: dot products of columns with the gradients of the vertices. FEATURE: correctives, else directions.
template <bool FEATURE>
__device__ __forceinline__ void columns_backward(const Body &b) {
    __shared__ float scratch[COLUMNS * GROUP * 32];
    u32 count = FEATURE ? b.F : b.E, column = blockIdx.x * COLUMNS, first = blockIdx.y * GROUP;
    u32 poses = min(GROUP, b.P - first), rows = 3 * b.V;
    const float *matrix = FEATURE ? b.correctives : b.directions, *by = FEATURE ? b.by_corrected : b.by_shaped;
    float sum[COLUMNS * GROUP];
#pragma unroll
    for (int k = 0; k < COLUMNS * GROUP; k++) sum[k] = 0.0f;
    for (u32 i = threadIdx.x; i < rows; i += blockDim.x) {
        float g[GROUP];
#pragma unroll
        for (int p = 0; p < GROUP; p++) g[p] = p < poses ? by[(u64)(first + p) * rows + i] : 0.0f;
#pragma unroll
        for (int c = 0; c < COLUMNS; c++) {
            float d = column + c < count ? matrix[(u64)(column + c) * rows + i] : 0.0f;
#pragma unroll
            for (int p = 0; p < GROUP; p++) sum[c * GROUP + p] += d * g[p];
        }
    }
    float total = block_sum<COLUMNS * GROUP>(sum, scratch);
    u32 c = threadIdx.x / GROUP, p = threadIdx.x % GROUP;
    if (c < COLUMNS && column + c < count && p < poses)
        (FEATURE ? b.by_feature : b.by_expression)[(u64)(first + p) * count + column + c] = total;
}
extern "C" __global__ void body_feature_backward(const __grid_constant__ Body b) { columns_backward<true>(b); }
extern "C" __global__ void body_expression_backward(const __grid_constant__ Body b) { columns_backward<false>(b); }

extern "C" __global__ void body_chain_backward(const __grid_constant__ Body b) {
    __shared__ float by_chain[JOINTS * 12], by_joints[JOINTS * 3], by_matrices[JOINTS * 9];
    u32 pose = blockIdx.x;
    const float *chain = b.chain + 12 * (u64)pose * b.J, *rest = b.rest_joints + 3 * (u64)pose * b.J;
    const float *by_transforms = b.by_transforms + 12 * (u64)pose * (b.J + 1);
    // A.t = G.t - G.R J
    for (u32 j = threadIdx.x; j < b.J; j += blockDim.x) {
        Mat3 by_r = linear(by_transforms + 12 * j);
        Vec3 by_t = translation(by_transforms + 12 * j), place = load3(rest + 3 * j);
        store_affine(by_chain + 12 * j, by_r + outer(by_t, place) * -1.0f, by_t);
        store3(by_joints + 3 * j, transform_transposed(linear(chain + 12 * j), by_t) * -1.0f);
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        for (u32 k = b.J; k-- > 0;) {
            u32 j = b.order[k];
            int parent = b.parents[j];
            Mat3 by_r = linear(by_chain + 12 * j);
            Vec3 by_t = translation(by_chain + 12 * j);
            if (parent < 0) {
                store_matrix(by_matrices + 9 * j, by_r);
                store3(by_joints + 3 * j, load3(by_joints + 3 * j) + by_t);
                continue;
            }
            Mat3 up = linear(chain + 12 * parent), own = load_matrix(b.matrices + 9 * ((u64)pose * b.J + j));
            store_matrix(by_matrices + 9 * j, product(transpose(up), by_r));
            Vec3 bone = load3(rest + 3 * j) - load3(rest + 3 * parent), by_bone = transform_transposed(up, by_t);
            Mat3 more = linear(by_chain + 12 * parent) + product(by_r, transpose(own)) + outer(by_t, bone);
            store_affine(by_chain + 12 * parent, more, translation(by_chain + 12 * parent) + by_t);
            store3(by_joints + 3 * j, load3(by_joints + 3 * j) + by_bone);
            store3(by_joints + 3 * parent, load3(by_joints + 3 * parent) - by_bone);
        }
    }
    __syncthreads();
    for (u32 j = threadIdx.x; j < b.J; j += blockDim.x) {
        u64 at = (u64)pose * b.J + j;
        Mat3 g = load_matrix(by_matrices + 9 * j);
        if (b.F > 0 && j > 0) g = g + load_matrix(b.by_feature + (u64)pose * b.F + 9 * (j - 1));
        const float *r = b.rotations + 9 * at;
        float *out = b.by_rotations + 9 * at;
        if (b.forms[j] == 2) store_matrix(out, g);
        else {
            for (int k = 0; k < 9; k++) out[k] = 0.0f;
            if (b.forms[j] == 0) store3(out, rodrigues_backward(load3(r), g));
            else six_d_backward(r, g, out);
        }
        store3(b.by_joints + 3 * at, load3(by_joints + 3 * j));
    }
    if (threadIdx.x == 0) store3(b.by_translations + 3 * (u64)pose, translation(by_transforms + 12 * b.J));
}

// Joints are sums of shaped vertices.
extern "C" __global__ void body_shaped_backward(const __grid_constant__ Body b) {
    u32 v = blockIdx.x * blockDim.x + threadIdx.x, pose = blockIdx.y;
    if (v >= b.V) return;
    Vec3 sum = vec(0, 0, 0);
    for (u32 k = b.regressor_starts[v]; k < b.regressor_starts[v + 1]; k++)
        sum = sum + load3(b.by_joints + 3 * ((u64)pose * b.J + b.regressor_joints[k])) * b.regressor_weights[k];
    for (int c = 0; c < 3; c++) {
        u64 at = ((u64)pose * 3 + c) * b.V + v;
        b.by_shaped[at] = b.by_corrected[at] + entry(sum, c);
    }
}

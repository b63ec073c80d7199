// Linear blend skinning of splats, a batch of poses at a time; the same formulas as src/rig/skin.rs. COVARIANCE: 0 carries splats rigidly
// by the polar rotation of the blended matrix, 1 applies the whole matrix to the covariance.
//
// Threads: `skin` and `skin_backward` one for each (splat, pose) and one for each splat; `skin_joints_backward` a block for each (joint,
// pose), over the list of the joint's splats, so that nothing is added atomically.
// Floor: 40 bytes written a splat and pose (36 with covariances), 60 k splats and 32 poses 18 us. Measured on an H200, 55 joints, 4
// influences: skin 74 us, skin_backward 156, weights 121, joints 65.

struct Skin {
    const u32 *starts, *joints;     // influences of each splat
    const float *weights;
    const u32 *joint_starts, *joint_splats;  // splats of each joint
    const float *joint_weights;
    const float *matrices;          // P x J x 12
    const float *means, *rotations, *log_scales;  // at rest: N rows, or P x N
    float *out_means, *out_rotations, *out_covariances;  // P x N
    // backward
    const float *by_means, *by_rotations, *by_covariances;  // P x N
    float *by_affine;               // P x N x 12
    float *rest_means, *rest_rotations, *rest_log_scales;  // as the splats at rest
    float *by_weights;              // as the weights
    float *by_matrices;             // P x J x 12
    u32 splats, joint_count, poses;
    u32 own;
};

__device__ __forceinline__ void blended(const Skin &s, u32 i, u32 pose, float *a) {
    for (int k = 0; k < 12; k++) a[k] = 0.0f;
    for (u32 k = s.starts[i]; k < s.starts[i + 1]; k++) {
        float w = s.weights[k];
        const float4 *t = (const float4 *)(s.matrices + 12 * ((u64)pose * s.joint_count + s.joints[k]));
#pragma unroll
        for (int r = 0; r < 3; r++) {
            float4 q = t[r];
            a[4 * r] += w * q.x; a[4 * r + 1] += w * q.y; a[4 * r + 2] += w * q.z; a[4 * r + 3] += w * q.w;
        }
    }
}

// R(q) diag(exp(s)): columns of the matrix times the standard deviations.
__device__ __forceinline__ Mat3 spread(const Mat3 &turn, Vec3 s) {
    Mat3 m;
#pragma unroll
    for (int r = 0; r < 3; r++) m.r[r] = vec(turn.r[r].x * s.x, turn.r[r].y * s.y, turn.r[r].z * s.z);
    return m;
}

extern "C" __global__ void skin(const __grid_constant__ Skin s) {
    u32 i = blockIdx.x * blockDim.x + threadIdx.x, pose = blockIdx.y;
    if (i >= s.splats) return;
    u64 out = (u64)pose * s.splats + i;
    float a[12], inverse;
    blended(s, i, pose, a);
    Mat3 m = linear(a);
    store3(s.out_means + 3 * out, transform(m, load3(s.means + 3 * (s.own & OWN_MEANS ? out : i))) + translation(a));
    Quat unit = normalize4(load4(s.rotations + 4 * (s.own & OWN_ROTATIONS ? out : i)), inverse);
#if COVARIANCE
    Vec3 ln = load3(s.log_scales + 3 * (s.own & OWN_SCALES ? out : i));
    Mat3 q = product(m, spread(matrix(unit), vec(expf(ln.x), expf(ln.y), expf(ln.z))));
    float *c = s.out_covariances + 6 * out;
    c[0] = dot(q.r[0], q.r[0]); c[1] = dot(q.r[0], q.r[1]); c[2] = dot(q.r[0], q.r[2]);
    c[3] = dot(q.r[1], q.r[1]); c[4] = dot(q.r[1], q.r[2]); c[5] = dot(q.r[2], q.r[2]);
#else
    store4(s.out_rotations + 4 * out, multiply(quaternion(polar_rotation(m)), unit));
#endif
}

extern "C" __global__ void skin_backward(const __grid_constant__ Skin s) {
    u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= s.splats) return;
    u32 first = s.own ? blockIdx.y : 0, last = s.own ? first + 1 : s.poses;
    u64 local = s.own ? (u64)first * s.splats + i : i;
    float inverse;
    Quat unit = normalize4(load4(s.rotations + 4 * local), inverse);
    Vec3 mean = load3(s.means + 3 * local), by_mean = vec(0, 0, 0);
    Quat by_unit = {0, 0, 0, 0};
#if COVARIANCE
    Vec3 by_scale = vec(0, 0, 0), ln = load3(s.log_scales + 3 * local), size = vec(expf(ln.x), expf(ln.y), expf(ln.z));
    Mat3 own = spread(matrix(unit), size), by_turn = zero3();
#endif
    for (u32 pose = first; pose < last; pose++) {
        u64 at = (u64)pose * s.splats + i;
        float a[12];
        blended(s, i, pose, a);
        Mat3 m = linear(a), by_linear;
        Vec3 g = load3(s.by_means + 3 * at);
#if COVARIANCE
        // S = M M^T: dM = (G + G^T) M
        const float *c = s.by_covariances + 6 * at;
        Mat3 both = {{{2 * c[0], c[1], c[2]}, {c[1], 2 * c[3], c[4]}, {c[2], c[4], 2 * c[5]}}};
        Mat3 by_m = product(both, product(m, own));
        by_linear = product(by_m, transpose(own));
        Mat3 by_own = product(transpose(m), by_m);
        by_turn = by_turn + spread(by_own, size);
#pragma unroll
        for (int r = 0; r < 3; r++) {
            by_scale.x += by_own.r[r].x * own.r[r].x;
            by_scale.y += by_own.r[r].y * own.r[r].y;
            by_scale.z += by_own.r[r].z * own.r[r].z;
        }
#else
        Mat3 r = polar_rotation(m);
        Quat turn = quaternion(r), by = load4(s.by_rotations + 4 * at);
        Quat u = multiply(conjugate(turn), by);
        by_unit.w += u.w; by_unit.x += u.x; by_unit.y += u.y; by_unit.z += u.z;
        by_linear = polar_rotation_backward(m, r, quaternion_backward(r, multiply(by, conjugate(unit))));
#endif
        by_mean = by_mean + transform_transposed(m, g);
        store_affine(s.by_affine + 12 * at, by_linear + outer(g, mean), g);
    }
    store3(s.rest_means + 3 * local, by_mean);
#if COVARIANCE
    by_unit = matrix_backward(unit, by_turn);
    store3(s.rest_log_scales + 3 * local, by_scale);
#endif
    store4(s.rest_rotations + 4 * local, normalize4_backward(unit, inverse, by_unit));
}

extern "C" __global__ void skin_weights_backward(const __grid_constant__ Skin s) {
    u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= s.splats) return;
    for (u32 k = s.starts[i]; k < s.starts[i + 1]; k++) {
        float sum = 0.0f;
        for (u32 pose = 0; pose < s.poses; pose++) {
            const float *g = s.by_affine + 12 * ((u64)pose * s.splats + i);
            const float *t = s.matrices + 12 * ((u64)pose * s.joint_count + s.joints[k]);
            for (int c = 0; c < 12; c++) sum += g[c] * t[c];
        }
        s.by_weights[k] = sum;
    }
}

extern "C" __global__ void skin_joints_backward(const __grid_constant__ Skin s) {
    __shared__ float scratch[12 * 32];
    u32 j = blockIdx.x, pose = blockIdx.y;
    float sum[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    for (u32 k = s.joint_starts[j] + threadIdx.x; k < s.joint_starts[j + 1]; k += blockDim.x) {
        const float4 *g = (const float4 *)(s.by_affine + 12 * ((u64)pose * s.splats + s.joint_splats[k]));
        float w = s.joint_weights[k];
#pragma unroll
        for (int r = 0; r < 3; r++) {
            float4 q = g[r];
            sum[4 * r] += w * q.x; sum[4 * r + 1] += w * q.y; sum[4 * r + 2] += w * q.z; sum[4 * r + 3] += w * q.w;
        }
    }
    float total = block_sum<12>(sum, scratch);
    if (threadIdx.x < 12) s.by_matrices[12 * ((u64)pose * s.joint_count + j) + threadIdx.x] = total;
}

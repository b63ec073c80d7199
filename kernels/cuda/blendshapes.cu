// Gaussian blendshapes and the network that weighs them, a batch of poses at a time; the same formulas as src/rig/blendshapes.rs and
// src/rig/network.rs. An attribute that no basis changes has a null pointer.
//
// Threads: `blend` one for each splat and GROUP poses, so that the bases (K x N x 40 bytes) are read once for all of them;
// `blend_rotations_backward` one for each (splat, pose); `blend_backward` one for each (splat, basis), the base counting as basis K;
// `blend_weights_backward` a block for TILE_BASES bases, TILE_POSES poses and CHUNK splats, whose sums
// `blend_weights_sum` adds; `morph` a thread for each (splat, pose). `layer` a warp for each output and pose, `layer_backward` a thread for each
// input and pose, `layer_weights_backward` a thread for each weight.
// Floor of `blend`: K = 20, 60 k splats 48 MB read = 11 us a group of poses, 40 bytes written a splat and pose. Measured on an H200, 60 k
// splats, 20 bases, 32 poses: blend 104 us, rotations 100, base and deltas 182,
// weights 148 (824 with a block for each basis and pose, 1094 with eight poses a block).

#define GROUP 4
#define TILE_BASES 4   // of a block of `blend_weights_backward`
#define TILE_POSES 4
#define CHUNK 2048     // splats of such a block

struct Shapes {
    const float *means, *rotations, *sh0;                     // N
    const float *mean_deltas, *rotation_deltas, *sh0_deltas;  // K x N
    const float *weights;                                     // P x K
    float *out_means, *out_rotations, *out_sh0;               // P x N
    // backward
    const float *by_means, *by_rotations, *by_sh0;            // P x N
    float *by_raw;                                            // P x N x 4: before the division by the length
    float *base_means, *base_rotations, *base_sh0;            // N
    float *by_mean_deltas, *by_rotation_deltas, *by_sh0_deltas;  // K x N
    float *by_weights;                                        // P x K
    float *partial;                                           // chunks x P x K
    u32 splats, bases, poses;
    u32 pad;
};

template <int WIDTH>
__device__ __forceinline__ void add_bases(float sum[GROUP][4], const float *base, const float *deltas, const Shapes &s, u32 i, u32 first) {
    const float *row = base + WIDTH * (u64)i;
#pragma unroll
    for (int p = 0; p < GROUP; p++)
#pragma unroll
        for (int c = 0; c < WIDTH; c++) sum[p][c] = row[c];
    if (!deltas) return;
    for (u32 k = 0; k < s.bases; k++) {
        const float *d = deltas + WIDTH * ((u64)k * s.splats + i);
        float delta[WIDTH];
#pragma unroll
        for (int c = 0; c < WIDTH; c++) delta[c] = d[c];
#pragma unroll
        for (int p = 0; p < GROUP; p++) {
            float w = first + p < s.poses ? s.weights[(u64)(first + p) * s.bases + k] : 0.0f;
#pragma unroll
            for (int c = 0; c < WIDTH; c++) sum[p][c] += w * delta[c];
        }
    }
}

extern "C" __global__ void blend(const __grid_constant__ Shapes s) {
    u32 i = blockIdx.x * blockDim.x + threadIdx.x, first = blockIdx.y * GROUP;
    if (i >= s.splats) return;
    float sum[GROUP][4];
    add_bases<3>(sum, s.means, s.mean_deltas, s, i, first);
#pragma unroll
    for (int p = 0; p < GROUP; p++)
        if (first + p < s.poses) store3(s.out_means + 3 * ((u64)(first + p) * s.splats + i), vec(sum[p][0], sum[p][1], sum[p][2]));
    add_bases<3>(sum, s.sh0, s.sh0_deltas, s, i, first);
#pragma unroll
    for (int p = 0; p < GROUP; p++)
        if (first + p < s.poses) store3(s.out_sh0 + 3 * ((u64)(first + p) * s.splats + i), vec(sum[p][0], sum[p][1], sum[p][2]));
    add_bases<4>(sum, s.rotations, s.rotation_deltas, s, i, first);
#pragma unroll
    for (int p = 0; p < GROUP; p++)
        if (first + p < s.poses) {
            float inverse;
            Quat q = {sum[p][0], sum[p][1], sum[p][2], sum[p][3]};
            store4(s.out_rotations + 4 * ((u64)(first + p) * s.splats + i), normalize4(q, inverse));
        }
}

extern "C" __global__ void blend_rotations_backward(const __grid_constant__ Shapes s) {
    u32 i = blockIdx.x * blockDim.x + threadIdx.x, pose = blockIdx.y;
    if (i >= s.splats) return;
    Quat raw = load4(s.rotations + 4 * (u64)i);
    if (s.rotation_deltas)
        for (u32 k = 0; k < s.bases; k++) {
            Quat d = load4(s.rotation_deltas + 4 * ((u64)k * s.splats + i));
            float w = s.weights[(u64)pose * s.bases + k];
            raw.w += w * d.w; raw.x += w * d.x; raw.y += w * d.y; raw.z += w * d.z;
        }
    float inverse;
    Quat unit = normalize4(raw, inverse);
    u64 at = 4 * ((u64)pose * s.splats + i);
    store4(s.by_raw + at, normalize4_backward(unit, inverse, load4(s.by_rotations + at)));
}

extern "C" __global__ void blend_backward(const __grid_constant__ Shapes s) {
    u32 i = blockIdx.x * blockDim.x + threadIdx.x, k = blockIdx.y;
    if (i >= s.splats) return;
    bool base = k == s.bases;
    Vec3 mean = vec(0, 0, 0), color = vec(0, 0, 0);
    Quat turn = {0, 0, 0, 0};
    for (u32 pose = 0; pose < s.poses; pose++) {
        float w = base ? 1.0f : s.weights[(u64)pose * s.bases + k];
        u64 at = (u64)pose * s.splats + i;
        mean = mean + load3(s.by_means + 3 * at) * w;
        color = color + load3(s.by_sh0 + 3 * at) * w;
        Quat q = load4(s.by_raw + 4 * at);
        turn.w += w * q.w; turn.x += w * q.x; turn.y += w * q.y; turn.z += w * q.z;
    }
    u64 out = base ? i : (u64)k * s.splats + i;
    float *means = base ? s.base_means : s.by_mean_deltas, *rotations = base ? s.base_rotations : s.by_rotation_deltas;
    float *sh0 = base ? s.base_sh0 : s.by_sh0_deltas;
    if (means) store3(means + 3 * out, mean);
    if (rotations) store4(rotations + 4 * out, turn);
    if (sh0) store3(sh0 + 3 * out, color);
}

extern "C" __global__ void blend_weights_backward(const __grid_constant__ Shapes s) {
    __shared__ float scratch[TILE_BASES * TILE_POSES * 32];
    u32 tiles = (s.bases + TILE_BASES - 1) / TILE_BASES, chunk = blockIdx.x / tiles;
    u32 basis = blockIdx.x % tiles * TILE_BASES, pose = blockIdx.y * TILE_POSES;
    u64 low = (u64)chunk * CHUNK, high = min(low + CHUNK, (u64)s.splats);
    float sum[TILE_BASES * TILE_POSES];
#pragma unroll
    for (int t = 0; t < TILE_BASES * TILE_POSES; t++) sum[t] = 0.0f;
    for (u32 part = 0; part < 3; part++) {
        u32 width = part == 1 ? 4 : 3;
        const float *deltas = part == 0 ? s.mean_deltas : part == 1 ? s.rotation_deltas : s.sh0_deltas;
        const float *by = part == 0 ? s.by_means : part == 1 ? s.by_raw : s.by_sh0;
        if (!deltas) continue;
        u64 count = (u64)width * s.splats;
        for (u64 i = width * low + threadIdx.x; i < width * high; i += blockDim.x) {
            float d[TILE_BASES], g[TILE_POSES];
#pragma unroll
            for (int k = 0; k < TILE_BASES; k++) d[k] = basis + k < s.bases ? deltas[(basis + k) * count + i] : 0.0f;
#pragma unroll
            for (int p = 0; p < TILE_POSES; p++) g[p] = pose + p < s.poses ? by[(pose + p) * count + i] : 0.0f;
#pragma unroll
            for (int k = 0; k < TILE_BASES; k++)
#pragma unroll
                for (int p = 0; p < TILE_POSES; p++) sum[k * TILE_POSES + p] += d[k] * g[p];
        }
    }
    float total = block_sum<TILE_BASES * TILE_POSES>(sum, scratch);
    u32 k = basis + threadIdx.x / TILE_POSES, p = pose + threadIdx.x % TILE_POSES;
    if (threadIdx.x < TILE_BASES * TILE_POSES && k < s.bases && p < s.poses)
        s.partial[((u64)chunk * s.poses + p) * s.bases + k] = total;
}

extern "C" __global__ void blend_weights_sum(const __grid_constant__ Shapes s) {
    u32 i = blockIdx.x * blockDim.x + threadIdx.x, count = s.bases * s.poses;
    if (i >= count) return;
    float sum = 0.0f;
    for (u32 chunk = 0; chunk < (s.splats + CHUNK - 1) / CHUNK; chunk++) sum += s.partial[(u64)chunk * count + i];
    s.by_weights[i] = sum;
}

// Sparse position morphs of kind 7.
struct Morphs {
    const u32 *starts, *targets;  // entries of each splat
    const float *deltas;          // 3 an entry
    const float *values;          // P x K
    const float *means;           // N, or P x N
    float *out;                   // P x N
    u32 splats, bases, poses;
    u32 own;
};

extern "C" __global__ void morph(const __grid_constant__ Morphs m) {
    u32 i = blockIdx.x * blockDim.x + threadIdx.x, pose = blockIdx.y;
    if (i >= m.splats) return;
    u64 out = (u64)pose * m.splats + i;
    Vec3 sum = load3(m.means + 3 * (m.own & OWN_MEANS ? out : i));
    for (u32 k = m.starts[i]; k < m.starts[i + 1]; k++)
        sum = sum + load3(m.deltas + 3 * (u64)k) * m.values[(u64)pose * m.bases + m.targets[k]];
    store3(m.out + 3 * out, sum);
}

// One layer of the network.
struct Layer {
    const float *weight, *bias;  // outputs x inputs, outputs
    const float *in;             // P x inputs
    float *out;                  // P x outputs
    // backward
    float *by_out;               // P x outputs: by the result, then by what the activation was given
    float *by_in;                // P x inputs
    float *by_weight, *by_bias;
    u32 inputs, outputs, poses;
    u32 activation;              // 0 none, 1 relu, 2 sigmoid, 3 tanh
};

extern "C" __global__ void layer(const __grid_constant__ Layer l) {
    u32 o = (blockIdx.x * blockDim.x + threadIdx.x) >> 5, lane = threadIdx.x & 31, pose = blockIdx.y;
    if (o >= l.outputs) return;
    float sum = 0.0f;
    for (u32 i = lane; i < l.inputs; i += 32) sum += l.weight[(u64)o * l.inputs + i] * l.in[(u64)pose * l.inputs + i];
#pragma unroll
    for (int step = 16; step > 0; step >>= 1) sum += __shfl_down_sync(FULL, sum, step);
    if (lane != 0) return;
    sum += l.bias[o];
    if (l.activation == 1) sum = fmaxf(sum, 0.0f);
    else if (l.activation == 2) sum = 1.0f / (1.0f + expf(-sum));
    else if (l.activation == 3) sum = tanhf(sum);
    l.out[(u64)pose * l.outputs + o] = sum;
}

// By what the activation was given; in place.
extern "C" __global__ void layer_slope(const __grid_constant__ Layer l) {
    u32 k = blockIdx.x * blockDim.x + threadIdx.x;
    if (k >= l.outputs * l.poses) return;
    float y = l.out[k], slope = 1.0f;
    if (l.activation == 1) slope = y > 0.0f ? 1.0f : 0.0f;
    else if (l.activation == 2) slope = y * (1.0f - y);
    else if (l.activation == 3) slope = 1.0f - y * y;
    l.by_out[k] *= slope;
}

extern "C" __global__ void layer_backward(const __grid_constant__ Layer l) {
    u32 i = blockIdx.x * blockDim.x + threadIdx.x, pose = blockIdx.y;
    if (i >= l.inputs) return;
    float sum = 0.0f;
    for (u32 o = 0; o < l.outputs; o++) sum += l.weight[(u64)o * l.inputs + i] * l.by_out[(u64)pose * l.outputs + o];
    l.by_in[(u64)pose * l.inputs + i] = sum;
}

extern "C" __global__ void layer_weights_backward(const __grid_constant__ Layer l) {
    u32 k = blockIdx.x * blockDim.x + threadIdx.x;
    if (k >= l.outputs * (l.inputs + 1)) return;
    // the bias counts as the weight of a last input of 1
    u32 o = k / (l.inputs + 1), i = k % (l.inputs + 1);
    float sum = 0.0f;
    for (u32 pose = 0; pose < l.poses; pose++) {
        float x = i < l.inputs ? l.in[(u64)pose * l.inputs + i] : 1.0f;
        sum += l.by_out[(u64)pose * l.outputs + o] * x;
    }
    if (i < l.inputs) l.by_weight[(u64)o * l.inputs + i] = sum;
    else l.by_bias[o] = sum;
}

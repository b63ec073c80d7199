// What a training step does beside drawing, over the rows of splats that train: the picture it compares with, regularisers,
// the check of gradients, the verdict on the step, Adam. Nothing waits for the host: the verdict stays on the device.
//
// Mapping: `target` a thread for four values; `hinges` a thread for each row; `check` and `adam_rows` blocks of 1024 numbers of
// one tensor, neighbours in a row next to each other; `judge` and `take_rows` are one block.
// Expected from bytes at 4.3 TB/s: target 5 bytes a value, 1.3 M values 2 us; check 4 and adam_rows 28 bytes a number, 59
// numbers a splat: 60 k splats 3 and 23 us, a quarter of them 1 and 6; the others the latency of a launch.

struct Target {
    const unsigned char *bytes;  // of one picture, at a multiple of 4
    float *out;
    u32 count, pad;
};

extern "C" __global__ void target(const __grid_constant__ Target t) {
    u32 first = 4 * (blockIdx.x * blockDim.x + threadIdx.x);
    if (first >= t.count) return;
    if (first + 4 <= t.count) {
        uchar4 v = *(const uchar4 *)(t.bytes + first);
        *(float4 *)(t.out + first) = make_float4(v.x / 255.0f, v.y / 255.0f, v.z / 255.0f, v.w / 255.0f);
        return;
    }
    for (u32 i = first; i < t.count; i++) t.out[i] = t.bytes[i] / 255.0f;
}

// Weighted hinges on local means and scales: src/losses/hinge.rs.
struct Hinges {
    const float *means, *log_scales;  // local, N rows
    const u32 *rows;                  // of which these count
    const u32 *radii;                 // per splat; null: all of `rows`, else those that are not 0, `visible` of them
    const float *frames;              // of triangles, as `faces` leaves them
    const u32 *triangles;             // per splat
    float *by_means, *by_log_scales;  // added to
    Control *control;
    u32 count;
    float means_weight, means_threshold, scales_weight, scales_threshold;
    u32 metric_means, metric_scales, pad;
};
static_assert(sizeof(Hinges) == 104, "the size in hinge.rs");

// NaN stays NaN: parameters that are not finite have to be seen by `check`.
__device__ __forceinline__ float relu(float v) { return v <= 0.0f ? 0.0f : v; }

extern "C" __global__ void __launch_bounds__(256) hinges(const __grid_constant__ Hinges h) {
    __shared__ double sums[8][2];
    u32 k = blockIdx.x * 256 + threadIdx.x;
    float excess = 0.0f, large = 0.0f;
    bool counts = k < h.count;
    u32 row = counts ? h.rows[k] : 0;
    if (h.radii) counts = counts && h.radii[row] > 0;
    if (counts) {
        float over = 1.0f / (float)(h.radii ? h.control->visible : h.count);
        float size = h.metric_means || h.metric_scales ? h.frames[24 * (size_t)h.triangles[row] + 13] : 1.0f;
        Vec3 x = load3(h.means + 3 * (size_t)row), s = load3(h.log_scales + 3 * (size_t)row);
        if (h.metric_means) {
            Vec3 r = vec(relu(x.x * size - h.means_threshold), relu(x.y * size - h.means_threshold), relu(x.z * size - h.means_threshold));
            excess = sqrtf(dot(r, r));
            x = r * (size / excess);
        } else {
            float length = sqrtf(dot(x, x));
            excess = relu(length - h.means_threshold);
            x = x * (1.0f / length);
        }
        // the slope of a norm at 0 counts as 0
        if (!(excess <= 0.0f)) {
            float w = h.means_weight * over;
            float *to = h.by_means + 3 * (size_t)row;
            to[0] += w * x.x;
            to[1] += w * x.y;
            to[2] += w * x.z;
        }
        float factor = h.metric_scales ? size : 1.0f;
        Vec3 e = vec(expf(s.x) * factor, expf(s.y) * factor, expf(s.z) * factor);
        Vec3 r = vec(relu(e.x - h.scales_threshold), relu(e.y - h.scales_threshold), relu(e.z - h.scales_threshold));
        large = sqrtf(dot(r, r));
        if (!(large <= 0.0f)) {
            float w = h.scales_weight * over / large;
            float *to = h.by_log_scales + 3 * (size_t)row;
            to[0] += w * r.x * e.x;
            to[1] += w * r.y * e.y;
            to[2] += w * r.z * e.z;
        }
        excess *= over;
        large *= over;
    }
    for (int d = 16; d; d >>= 1) {
        excess += __shfl_xor_sync(FULL, excess, d);
        large += __shfl_xor_sync(FULL, large, d);
    }
    if ((threadIdx.x & 31) == 0) {
        sums[threadIdx.x >> 5][0] = h.means_weight * excess;
        sums[threadIdx.x >> 5][1] = h.scales_weight * large;
    }
    __syncthreads();
    if (threadIdx.x < 2) {
        double sum = 0.0;
        for (int w = 0; w < 8; w++) sum += sums[w][threadIdx.x];
        if (sum != 0.0) atomicAdd(threadIdx.x ? &h.control->scales : &h.control->means, sum);
    }
}

#define TENSORS 6

// Tensors with the same rows.
struct RowTensor {
    float *values, *means, *squares;
    const float *gradient;
    u32 width, columns;  // numbers per row, of which the first `columns` are meant
    u32 block;           // first block
    u32 spread;          // of a gradient of one row: three numbers of each so many are meant
    float rate;
    u32 pad;
};
static_assert(sizeof(RowTensor) == 56, "the size in rows.rs");

struct RowArgs {
    RowTensor tensors[TENSORS];
    const u32 *rows;   // rows that are meant; null: all of them
    const u32 *flags;  // per row, 0: its gradient counts as zero; null: none is
    Control *control;
    u32 count;         // rows that are meant
    u32 tensor_count;
    u32 only;          // FULL, or the one row that has a gradient, which is all that `gradient` holds
    float beta1, beta2, rest1, rest2, log_beta1, log_beta2, epsilon;
};
static_assert(sizeof(RowArgs) == 400, "the size in rows.rs");

// The tensor of this block, and the first of the thread's numbers.
__device__ __forceinline__ const RowTensor &tensor_of(const RowArgs &a, u32 &first) {
    u32 which = 0;
    for (u32 t = 1; t < a.tensor_count; t++)
        if (a.tensors[t].block <= blockIdx.x) which = t;
    first = (blockIdx.x - a.tensors[which].block) * 1024 + threadIdx.x;
    return a.tensors[which];
}

__device__ __forceinline__ float gradient_of(const RowArgs &a, const RowTensor &t, u32 row, u32 column) {
    if (a.only != FULL) return row == a.only ? t.gradient[column / 3 * t.spread + column % 3] : 0.0f;
    if (a.flags && a.flags[row] == 0) return 0.0f;
    return t.gradient[(size_t)row * t.width + column];
}

extern "C" __global__ void __launch_bounds__(256) check(const __grid_constant__ RowArgs a) {
    u32 first;
    const RowTensor &t = tensor_of(a, first);
    u32 total = a.count * t.columns;
    bool bad = false;
#pragma unroll
    for (int k = 0; k < 4; k++) {
        u32 i = first + k * 256;
        if (i >= total) continue;
        u32 row = i / t.columns, column = i % t.columns;
        if (a.rows) row = a.rows[row];
        bad = bad || !finite(gradient_of(a, t, row, column));
    }
    if (__syncthreads_or(bad) && threadIdx.x == 0) a.control->bad = 1;
}

struct Judge {
    Control *control;
    const Stats *stats;    // of the tile lists
    const double *losses;  // mean L1 and mean SSIM
    u64 capacity;          // entries that the lists have room for
};

// Whether the step counts: with lists that were cut off or gradients that are not finite, it must not change anything.
extern "C" __global__ void judge(const __grid_constant__ Judge j) {
    if (threadIdx.x != 0) return;
    Control &c = *j.control;
    u64 entries = j.stats->total;
    double values[4] = {j.losses[0], j.losses[1], c.means, c.scales};
    bool cut = entries > j.capacity, bad = c.bad != 0;
    // NaN and infinity minus themselves are NaN
    for (int k = 0; k < 4; k++) bad = bad || values[k] - values[k] != 0.0;
    if (entries > c.entries) c.entries = entries;
    c.skip = cut || bad;
    c.bad = c.visible = 0;
    c.means = c.scales = 0.0;
    if (cut) c.cut_steps++;
    else if (bad) c.bad_steps++;
    else {
        c.step++;
        c.counted++;
        for (int k = 0; k < 4; k++) c.sums[k] += values[k];
    }
}

// src/adam.rs over rows; nothing when the verdict is to skip.
extern "C" __global__ void __launch_bounds__(256) adam_rows(const __grid_constant__ RowArgs a) {
    if (a.control->skip) return;
    u32 first;
    const RowTensor &t = tensor_of(a, first);
    u32 total = a.count * t.columns;
    float step = (float)a.control->step;
    // 1 - beta^step, exact to rounding also when beta is near 1
    float rate = t.rate / -expm1f(step * a.log_beta1), over = rsqrtf(-expm1f(step * a.log_beta2));
#pragma unroll
    for (int k = 0; k < 4; k++) {
        u32 i = first + k * 256;
        if (i >= total) continue;
        u32 row = i / t.columns, column = i % t.columns;
        if (a.rows) row = a.rows[row];
        size_t at = (size_t)row * t.width + column;
        float g = gradient_of(a, t, row, column);
        float m = fmaf(a.beta1, t.means[at], a.rest1 * g);
        float v = fmaf(a.beta2, t.squares[at], a.rest2 * g * g);
        t.means[at] = m;
        t.squares[at] = v;
        t.values[at] -= rate * m / fmaf(sqrtf(v), over, a.epsilon);
    }
}

// Of one row of each of four tables, to where a body takes its parameters: three numbers of each `spread`.
struct TakeRows {
    const float *from[4];
    float *to[4];
    u32 widths[4], spreads[4];
    u32 row, pad;
};
static_assert(sizeof(TakeRows) == 104, "the size in tables.rs");

extern "C" __global__ void take_rows(const __grid_constant__ TakeRows t) {
    for (int k = 0; k < 4; k++)
        for (u32 i = threadIdx.x; i < t.widths[k]; i += blockDim.x)
            t.to[k][i / 3 * t.spreads[k] + i % 3] = t.from[k][(size_t)t.row * t.widths[k] + i];
}

// Rows of a tensor in another order, some of them more than once: what density control makes of the list of splats. A thread a
// number, 12 bytes each: 60 MB of a training of 90 k splats in 30 us.
struct GatherRows {
    const float *from;
    float *to;
    const u32 *rows;    // old row of each new one; the highest bit marks copies
    u32 count, width;   // new rows, numbers of each
    u32 forget, pad;    // copies become 0
};
static_assert(sizeof(GatherRows) == 40, "the size in gather.rs");

extern "C" __global__ void __launch_bounds__(256) gather_rows(const __grid_constant__ GatherRows g) {
    size_t i = (size_t)blockIdx.x * 256 + threadIdx.x;
    if (i >= (size_t)g.count * g.width) return;
    u32 from = g.rows[i / g.width], column = (u32)(i % g.width);
    float value = g.from[(size_t)(from & 0x7fffffffu) * g.width + column];
    g.to[i] = g.forget && from >> 31 ? 0.0f : value;
}

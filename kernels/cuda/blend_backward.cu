// Backward blending: from the gradients of a tile's pixels to what each splat of its list receives.
//
// The formulas are those of src/raster/blend_backward.rs. Mapping: as forward (blend.cuh), from the last splat to the first.
// The eight lanes of a group exchange halves of their first eight sums three times (7 shuffles), after which each lane holds
// one sum of the group and adds it to the splat's row in memory: one 32-byte request for each splat and 4 x 4 pixels.
// Floor: instructions: entries x blocks touched / 4 x about 110 over 1.045 M warp-instructions per us.
// Measured: kernels/NOTES.md.

struct BlendBackwardArgs {
    BlendArgs forward;
    // gradients of the image; null means zero
    const float *rgb, *alpha, *depth, *normal;
    float *sums;        // 8 per record: h, h dx, h dy, h dx^2, h dx dy, h dy^2, red, green
    float *extras;      // CHANNELS - 2 per record: blue, depth, normal
    float *background;  // 3 per picture; null when not wanted
};
static_assert(sizeof(BlendBackwardArgs) == 208, "the size in layout.rs");

// Sum over the eight lanes of a group; lane s of it gets that of v[s].
__device__ __forceinline__ float exchange(float (&v)[8], int lane) {
    bool upper = lane & 4;
    float w[4], q[2];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        float other = __shfl_xor_sync(FULL, upper ? v[i] : v[i + 4], 4);
        w[i] = (upper ? v[i + 4] : v[i]) + other;
    }
    upper = lane & 2;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        float other = __shfl_xor_sync(FULL, upper ? w[i] : w[i + 2], 2);
        q[i] = (upper ? w[i + 2] : w[i]) + other;
    }
    upper = lane & 1;
    float other = __shfl_xor_sync(FULL, upper ? q[0] : q[1], 1);
    return (upper ? q[1] : q[0]) + other;
}

__device__ __forceinline__ float group_sum(float v) {
    v += __shfl_xor_sync(FULL, v, 4);
    v += __shfl_xor_sync(FULL, v, 2);
    return v + __shfl_xor_sync(FULL, v, 1);
}

struct Behind {
    float light, behind;
    float g[CHANNELS];
    u32 last;
};

// One pixel on the way back; h is alpha dL/dalpha.
__device__ __forceinline__ void step(
    Behind &pixel, bool on, float power, const float *channel, float alpha_max, float &h, float &weight) {
    float uncut = on ? exp2_fast(power) : 0.0f;
    float alpha = fminf(uncut, alpha_max);
    float inverse = reciprocal_fast(1.0f - alpha);
    float light = pixel.light * inverse;
    weight = alpha * light;
    float along = 0.0f;
#pragma unroll
    for (int k = 0; k < CHANNELS; k++) along = fmaf(channel[k], pixel.g[k], along);
    float toward = fmaf(light, along, -pixel.behind * inverse);
    h = uncut * toward;
#if !PASSES
    h = uncut <= alpha_max ? h : 0.0f;
#endif
    pixel.behind = fmaf(weight, along, pixel.behind);
    pixel.light = light;
}

extern "C" __global__ void __launch_bounds__(128) blend_backward(const BlendBackwardArgs args) {
    __shared__ __align__(16) Batch batch;
    __shared__ u32 deepest_of[4];
    const BlendArgs &forward = args.forward;
    u32 tile = blockIdx.x;
    u32 picture_number = forward.tile_picture[tile];
    const Picture &picture = forward.pictures[picture_number];
    u32 inside = tile - picture.tiles;
    u32 left = inside % picture.columns * TILE, top = inside / picture.columns * TILE;
    u32 start = forward.starts[tile];
    u32 count = start >= forward.capacity ? 0 : min(forward.counts[tile], forward.capacity - start);
    Pixels p = pixels_of();
    int warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
    u32 x = left + p.x, y = top + p.y;
    float px = (float)x + 0.5f, py0 = (float)y + 0.5f, py1 = (float)(y + 2) + 0.5f;
    const float threshold = forward.rules.threshold, alpha_max = forward.rules.alpha_max;

    Behind two[2];
    float ground[3] = {0.0f, 0.0f, 0.0f};
#pragma unroll
    for (int half = 0; half < 2; half++) {
        Behind &b = two[half];
        u32 row = y + half * 2;
        b.light = b.behind = 0.0f;
        b.last = 0;
#pragma unroll
        for (int k = 0; k < CHANNELS; k++) b.g[k] = 0.0f;
        if (x >= picture.width || row >= picture.height) continue;
        size_t pixel = (size_t)picture.pixels + (size_t)row * picture.width + x;
        b.light = forward.light[pixel];
        b.last = count == 0 ? 0 : forward.last[pixel];
        float behind = args.alpha ? -args.alpha[pixel] : 0.0f;
#pragma unroll
        for (int k = 0; k < 3; k++) {
            b.g[k] = args.rgb ? args.rgb[pixel * 3 + k] : 0.0f;
            behind = fmaf(picture.background[k], b.g[k], behind);
            ground[k] = fmaf(b.light, b.g[k], ground[k]);
        }
        b.behind = b.light * behind;
#if CHANNELS >= 4
        if (args.depth) b.g[3] = args.depth[pixel];
#endif
#if CHANNELS == 7
#pragma unroll
        for (int k = 0; k < 3; k++)
            if (args.normal) b.g[4 + k] = args.normal[pixel * 3 + k];
#endif
    }
    if (args.background) {
#pragma unroll
        for (int k = 0; k < 3; k++) {
            float sum = ground[k];
            for (int d = 16; d; d >>= 1) sum += __shfl_xor_sync(FULL, sum, d);
            if (lane == 0) atomicAdd(&args.background[picture_number * 3 + k], sum);
        }
    }
    if (count == 0) return;

    // how deep each group of the warp, and the block, has to go
    u32 deep = max(two[0].last, two[1].last);
    deep = max(deep, __shfl_xor_sync(FULL, deep, 4));
    deep = max(deep, __shfl_xor_sync(FULL, deep, 2));
    deep = max(deep, __shfl_xor_sync(FULL, deep, 1));
    u32 depth_of[4];
#pragma unroll
    for (int group = 0; group < 4; group++) depth_of[group] = __shfl_sync(FULL, deep, group * 8);
    if (lane == 0) deepest_of[warp] = max(max(depth_of[0], depth_of[1]), max(depth_of[2], depth_of[3]));
    nothing(batch);
    __syncthreads();
    u32 deepest = max(max(deepest_of[0], deepest_of[1]), max(deepest_of[2], deepest_of[3]));
    if (deepest == 0) return;
    count = min(count, deepest);

    u32 base = (count - 1) / BATCH * BATCH;
    Fetched next = fetch(forward, picture, start, base + threadIdx.x, count);
    while (true) {
        __syncthreads();
        store(batch, next, left, top, base + threadIdx.x + 1);
        if (base) next = fetch(forward, picture, start, base - BATCH + threadIdx.x, count);
        __syncthreads();

        // lists of the warp's four groups, last splat first
        int counts[4] = {0, 0, 0, 0};
#pragma unroll
        for (int part = BATCH / 32 - 1; part >= 0; part--) {
            u32 entry = part * 32 + lane;
            u32 reach = batch.reach[entry];
#pragma unroll
            for (int group = 0; group < 4; group++) {
                int block = ((warp >> 1) * 2 + (group >> 1)) * 4 + (warp & 1) * 2 + (group & 1);
                bool hit = (reach >> block & 1) && base + entry < depth_of[group];
                u32 hits = __ballot_sync(FULL, hit);
                if (hit) batch.lists[warp][group][counts[group] + __popc((hits >> lane) >> 1)] = (u16)(entry * WORDS);
                counts[group] += __popc(hits);
            }
        }
        int most = max(max(counts[0], counts[1]), max(counts[2], counts[3]));
        int mine = p.group == 0 ? counts[0] : p.group == 1 ? counts[1] : p.group == 2 ? counts[2] : counts[3];
        __syncwarp();
        const u16 *list = batch.lists[warp][p.group];
        for (int i = 0; i < most; i += 2) {
            u16 pair[2];
            *(u32 *)pair = *(const u32 *)(list + i);
#pragma unroll
            for (int u = 0; u < 2; u++) {
                bool listed = i + u < mine;
                const float *r = batch.records + (listed ? pair[u] : NOTHING * WORDS);
                float4 r0 = *(const float4 *)r, r1 = *(const float4 *)(r + 4), r2 = *(const float4 *)(r + 8);
                float dx = px - r0.x, dy0 = py0 - r0.y, dy1 = py1 - r0.y;
                float2 power = powers(r0, r1.x, r1.y, dx, dy0, dy1);
                u32 number = __float_as_uint(r2.y);
                bool s0 = power.x >= threshold && number <= two[0].last;
                bool s1 = power.y >= threshold && number <= two[1].last;
#if CLIP
                u32 columns = __float_as_uint(r[12]), rows = __float_as_uint(r[13]);
                bool column = x >= (columns & 0xffff) && x <= columns >> 16;
                s0 = s0 && column && y >= (rows & 0xffff) && y <= rows >> 16;
                s1 = s1 && column && y + 2 >= (rows & 0xffff) && y + 2 <= rows >> 16;
#endif
                // a splat of which nothing is seen here receives nothing
                if (!__any_sync(FULL, listed && (s0 || s1))) continue;
                float channel[CHANNELS];
                channel[0] = r1.z; channel[1] = r1.w; channel[2] = r2.x;
#if CHANNELS >= 4
                channel[3] = r2.w;
#endif
#if CHANNELS == 7
                channel[4] = r[12 + EXTRA]; channel[5] = r[13 + EXTRA]; channel[6] = r[14 + EXTRA];
#endif
                float h0, h1, w0, w1;
                step(two[0], listed && s0, power.x, channel, alpha_max, h0, w0);
                step(two[1], listed && s1, power.y, channel, alpha_max, h1, w1);
                float v[8];
                float hy0 = h0 * dy0, hy1 = h1 * dy1;
                v[0] = h0 + h1;
                v[1] = v[0] * dx;
                v[2] = hy0 + hy1;
                v[3] = v[1] * dx;
                v[4] = v[2] * dx;
                v[5] = fmaf(hy0, dy0, hy1 * dy1);
                v[6] = fmaf(w0, two[0].g[0], w1 * two[1].g[0]);
                v[7] = fmaf(w0, two[0].g[1], w1 * two[1].g[1]);
                size_t record = __float_as_uint(r2.z);
                float sum = exchange(v, lane);
                if (listed) atomicAdd(&args.sums[record * 8 + (lane & 7)], sum);
#pragma unroll
                for (int k = 2; k < CHANNELS; k++) {
                    float extra = group_sum(fmaf(w0, two[0].g[k], w1 * two[1].g[k]));
                    if (listed && (lane & 7) == 0) atomicAdd(&args.extras[record * (CHANNELS - 2) + k - 2], extra);
                }
            }
        }
        if (base == 0) break;
        base -= BATCH;
    }
}

// Forward blending.
//
// Mapping: see blend.cuh. Per splat and group: 3 shared loads, 4 instructions for the column, 13 for each of two pixels; 34
// for 64 pixels of a warp. Records of the next batch are on their way while one is blended.
// Floor: instructions: entries x blocks touched / 4 x 34 over 1.045 M warp-instructions per us.
// Measured (H200, 150 k splats, 512 x 512): 43 us, 24.8 a view of 32 at 72 % of the issue rate.

#ifndef BLEND_BLOCKS
#define BLEND_BLOCKS (CHANNELS > 3 ? 4 : 5)  // per multiprocessor
#endif

extern "C" __global__ void __launch_bounds__(128, BLEND_BLOCKS) blend(const BlendArgs args) {
    __shared__ Batch batch;
    Work work = load_work(args.works, blockIdx.x);
    const Picture &picture = args.pictures[work.picture];
    u32 inside = work.tile - picture.tiles;
    u32 left = inside % picture.columns * TILE, top = inside / picture.columns * TILE;
    u32 start = work.start, count = work.count;
    Pixels p = pixels_of();
    int warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
    u32 x = left + p.x, y = top + p.y;
    float px = (float)x + 0.5f, py0 = (float)y + 0.5f, py1 = (float)(y + 2) + 0.5f;
    const float threshold = args.rules.threshold, alpha_max = args.rules.alpha_max, stop = args.rules.stop;

    float t0 = 1.0f, t1 = 1.0f;
    u32 last0 = 0, last1 = 0;
    float c0[CHANNELS], c1[CHANNELS];
#pragma unroll
    for (int k = 0; k < CHANNELS; k++) c0[k] = c1[k] = 0.0f;
    // pixels beyond the border are finished from the start
    if (x >= picture.width || y >= picture.height) t0 = -1.0f;
    if (x >= picture.width || y + 2 >= picture.height) t1 = -1.0f;

    nothing(batch);
    const u32 records_address = shared_address(batch.records);
    // records of the next batch, and entries of the one after it
    Fetched next[EACH];
    u32 ahead[EACH];
#pragma unroll
    for (int e = 0; e < EACH; e++) {
        u32 entry = e * 128 + threadIdx.x;
        next[e] = fetch(args, entry < count ? args.order[start + entry] : 0, entry < count);
        ahead[e] = entry + BATCH < count ? args.order[start + entry + BATCH] : 0;
    }
    for (u32 base = 0; base < count; base += BATCH) {
        // also: everyone is done with the batch before
        if (__syncthreads_and(t0 < stop && t1 < stop)) break;
#pragma unroll
        for (int e = 0; e < EACH; e++) {
            u32 entry = e * 128 + threadIdx.x, touched = touched_by(next[e], left, top, threshold);
            store(batch, next[e], entry, touched, base + entry + 1);
            if (next[e].valid) args.touched[start + base + entry] = (u16)touched;
            u32 after = base + BATCH + entry;
            next[e] = fetch(args, ahead[e], after < count);
            ahead[e] = after + BATCH < count ? args.order[start + after + BATCH] : 0;
        }
        __syncthreads();
        if (__all_sync(FULL, t0 < stop && t1 < stop)) continue;

        // lists of the warp's four groups
        int counts[4] = {0, 0, 0, 0};
#pragma unroll
        for (int part = 0; part < BATCH / 32; part++) {
            u32 entry = part * 32 + lane;
            if (base + part * 32 >= count) break;
            u32 touched = batch.touched[entry];
#pragma unroll
            for (int group = 0; group < 4; group++) {
                int block = ((warp >> 1) * 2 + (group >> 1)) * 4 + (warp & 1) * 2 + (group & 1);
                u32 hit = touched >> block & 1;
                u32 hits = __ballot_sync(FULL, hit);
                if (hit) batch.lists[warp][group][counts[group] + __popc(hits & ((1u << lane) - 1))] = (u16)(records_address + entry * WORDS * 4);
                counts[group] += __popc(hits);
            }
        }
        int most = max(max(counts[0], counts[1]), max(counts[2], counts[3]));
        int mine = p.group == 0 ? counts[0] : p.group == 1 ? counts[1] : p.group == 2 ? counts[2] : counts[3];
        u16 *list = batch.lists[warp][p.group];
        fill_up(batch, list, mine, most);
        __syncwarp();
        for (int i = 0; i < most; i += 4) {
            u16 four[4];
            *(u64 *)four = *(const u64 *)(list + i);
#pragma unroll
            for (int u = 0; u < 4; u++) {
                u32 r = four[u];
                float4 r0 = shared4(r), r1 = shared4(r + 16), r2 = shared4(r + 32);
                float dx = px - r0.x;
                float2 power = powers(r0, r1.x, r1.y, dx, py0 - r0.y, py1 - r0.y);
                bool s0 = power.x >= threshold && t0 >= stop, s1 = power.y >= threshold && t1 >= stop;
#if CLIP
                u32 columns = __float_as_uint(shared1(r + 48)), rows = __float_as_uint(shared1(r + 52));
                bool column = x >= (columns & 0xffff) && x <= columns >> 16;
                s0 = s0 && column && y >= (rows & 0xffff) && y <= rows >> 16;
                s1 = s1 && column && y + 2 >= (rows & 0xffff) && y + 2 <= rows >> 16;
#endif
                float a0 = fminf(exp2_fast(power.x), alpha_max), a1 = fminf(exp2_fast(power.y), alpha_max);
                float w0 = s0 ? a0 * t0 : 0.0f, w1 = s1 ? a1 * t1 : 0.0f;
                float n0 = t0 - w0, n1 = t1 - w1;
                u32 number = __float_as_uint(r2.y);
#if DROP
                // the splat that saturates a pixel is left out, and the pixel is marked by its sign
                if (s0 && n0 < stop) { w0 = 0.0f; n0 = -t0; s0 = false; }
                if (s1 && n1 < stop) { w1 = 0.0f; n1 = -t1; s1 = false; }
#endif
                t0 = n0;
                t1 = n1;
                last0 = s0 ? number : last0;
                last1 = s1 ? number : last1;
                float channel[CHANNELS];
                channel[0] = r1.z; channel[1] = r1.w; channel[2] = r2.x;
#if CHANNELS >= 4
                channel[3] = r2.w;
#endif
#if CHANNELS == 7
                channel[4] = shared1(r + 48 + EXTRA * 4); channel[5] = shared1(r + 52 + EXTRA * 4); channel[6] = shared1(r + 56 + EXTRA * 4);
#endif
#pragma unroll
                for (int k = 0; k < CHANNELS; k++) {
                    c0[k] = fmaf(w0, channel[k], c0[k]);
                    c1[k] = fmaf(w1, channel[k], c1[k]);
                }
            }
            if (__all_sync(FULL, t0 < stop && t1 < stop)) break;
        }
    }
    // where the way back begins
    u32 deep = __reduce_max_sync(FULL, max(last0, last1));
    if (count != 0) {
        __syncthreads();
        u32 *deepest = (u32 *)batch.records;
        if (lane == 0) deepest[warp] = deep;
        __syncthreads();
        deep = max(max(deepest[0], deepest[1]), max(deepest[2], deepest[3]));
    }
    if (threadIdx.x == 0) args.deepest[blockIdx.x] = deep;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        u32 row = y + half * 2;
        if (x >= picture.width || row >= picture.height) continue;
        size_t pixel = (size_t)picture.pixels + (size_t)row * picture.width + x;
        float light = fabsf(half ? t1 : t0);
        const float *c = half ? c1 : c0;
        args.rgb[pixel * 3] = fmaf(light, picture.background[0], c[0]);
        args.rgb[pixel * 3 + 1] = fmaf(light, picture.background[1], c[1]);
        args.rgb[pixel * 3 + 2] = fmaf(light, picture.background[2], c[2]);
        args.alpha[pixel] = 1.0f - light;
        args.light[pixel] = light;
        args.last[pixel] = half ? last1 : last0;
#if CHANNELS >= 4
        if (args.depth) args.depth[pixel] = c[3];
#endif
#if CHANNELS == 7
        args.normal[pixel * 3] = c[4];
        args.normal[pixel * 3 + 1] = c[5];
        args.normal[pixel * 3 + 2] = c[6];
#endif
    }
}

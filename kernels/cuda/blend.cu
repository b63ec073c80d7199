// Forward blending.
//
// Mapping: see blend.cuh. Per splat and group: 3 shared loads, 4 instructions for the column, 13 for each of two pixels; 34
// for 64 pixels of a warp. Records of the next batch are on their way while one is blended.
// Floor: instructions: entries x blocks touched / 4 x 34 over 1.045 M warp-instructions per us.
// Measured: kernels/NOTES.md.

extern "C" __global__ void __launch_bounds__(128) blend(const BlendArgs args) {
    __shared__ __align__(16) Batch batch;
    u32 tile = blockIdx.x;
    const Picture &picture = args.pictures[args.tile_picture[tile]];
    u32 inside = tile - picture.tiles;
    u32 left = inside % picture.columns * TILE, top = inside / picture.columns * TILE;
    u32 start = args.starts[tile];
    u32 count = start >= args.capacity ? 0 : min(args.counts[tile], args.capacity - start);
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
    Fetched next = fetch(args, picture, start, threadIdx.x, count);
    for (u32 base = 0; base < count; base += BATCH) {
        // also: everyone is done with the batch before
        if (__syncthreads_and(t0 < stop && t1 < stop)) break;
        store(batch, next, left, top, base + threadIdx.x + 1);
        next = fetch(args, picture, start, base + BATCH + threadIdx.x, count);
        __syncthreads();
        if (__all_sync(FULL, t0 < stop && t1 < stop)) continue;

        // lists of the warp's four groups
        int counts[4] = {0, 0, 0, 0};
#pragma unroll
        for (int part = 0; part < BATCH / 32; part++) {
            u32 entry = part * 32 + lane;
            u32 reach = batch.reach[entry];
#pragma unroll
            for (int group = 0; group < 4; group++) {
                int block = ((warp >> 1) * 2 + (group >> 1)) * 4 + (warp & 1) * 2 + (group & 1);
                u32 hit = reach >> block & 1;
                u32 hits = __ballot_sync(FULL, hit);
                if (hit) batch.lists[warp][group][counts[group] + __popc(hits & ((1u << lane) - 1))] = (u16)(entry * WORDS);
                counts[group] += __popc(hits);
            }
        }
        int most = max(max(counts[0], counts[1]), max(counts[2], counts[3]));
        int mine = p.group == 0 ? counts[0] : p.group == 1 ? counts[1] : p.group == 2 ? counts[2] : counts[3];
        __syncwarp();
        const u16 *list = batch.lists[warp][p.group];
        for (int i = 0; i < most; i += 4) {
            u16 four[4];
            *(u64 *)four = *(const u64 *)(list + i);
#pragma unroll
            for (int u = 0; u < 4; u++) {
                const float *r = batch.records + (i + u < mine ? four[u] : NOTHING * WORDS);
                float4 r0 = *(const float4 *)r, r1 = *(const float4 *)(r + 4), r2 = *(const float4 *)(r + 8);
                float dx = px - r0.x;
                float2 power = powers(r0, r1.x, r1.y, dx, py0 - r0.y, py1 - r0.y);
                bool s0 = power.x >= threshold && t0 >= stop, s1 = power.y >= threshold && t1 >= stop;
#if CLIP
                u32 columns = __float_as_uint(r[12]), rows = __float_as_uint(r[13]);
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
                channel[4] = r[12 + EXTRA]; channel[5] = r[13 + EXTRA]; channel[6] = r[14 + EXTRA];
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

// Backward blending: from the gradients of a tile's pixels to what each splat of its list receives.
//
// The formulas are those of src/raster/blend_backward.rs. Mapping: as forward (blend.cuh), from the last splat to the first.
// The lanes of a group work on eight splats with a lane per column of pixels, leave what each pixel gives to each splat in
// shared memory, and then take one splat each: its sums over 16 pixels need no exchange between lanes, and moments are taken
// about the block, where coordinates are constants. A lane adds nine numbers to its splat's row, two times four at once.
// Floor: instructions: entries x blocks touched / 4 x about 85 over 1.045 M warp-instructions per us.
// Measured (H200, 150 k splats, 512 x 512): 70 us, 51.2 a view of 32 at 48 % of the issue rate.
//
// SELECT: only splats with a flag receive anything. A tile without one ends after a look through its list, 4 x 4 pixels are
// walked up to the first such splat that touches them and no further to the front; others are passed through without sums
// and additions to memory. Expected where a quarter of a head trains: 0.3 to 0.5 of the time above.

#ifndef SHARED_AROUND
#define SHARED_AROUND 0
#endif
#ifndef BLOCKS
#define BLOCKS (CHANNELS > 3 ? 3 : 4)  // per multiprocessor: the limit of registers
#endif

struct BlendBackwardArgs {
    BlendArgs forward;
    // gradients of the image; null means zero
    const float *rgb, *alpha, *depth, *normal;
    float *sums;        // 8 per record: h, h dx, h dy, h dx^2, h dx dy, h dy^2, red, green
    float *extras;      // CHANNELS - 2 per record: blue, depth, normal
    float *background;  // 3 per picture; null when not wanted
    const u32 *flags;   // per splat, 0 or 1; used when SELECT
};
static_assert(sizeof(BlendBackwardArgs) == 208, "the size in layout.rs");

struct Behind {
    float light, behind;
    float g[CHANNELS];
    u32 last;
};

__device__ __forceinline__ void add4(float *to, float a, float b, float c, float d) {
#if __CUDA_ARCH__ >= 900
    asm volatile("red.global.add.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(to), "f"(a), "f"(b), "f"(c), "f"(d) : "memory");
#else
    atomicAdd(to, a);
    atomicAdd(to + 1, b);
    atomicAdd(to + 2, c);
    atomicAdd(to + 3, d);
#endif
}

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

extern "C" __global__ void __launch_bounds__(128, BLOCKS) blend_backward(const BlendBackwardArgs args) {
    __shared__ Batch batch;
    // alpha dL/dalpha and weight of a lane's two pixels for eight splats of its group; the odd rows keep both ways of
    // reading them free of bank conflicts
    __shared__ float4 stage[4][8][33];
#if SHARED_AROUND
    __shared__ float4 around_of[16][17];
#endif
#if CHANNELS > 3
    __shared__ float above[CHANNELS - 3][TILE * TILE];
#endif
#if SELECT
    __shared__ u32 fronts[16];
#endif
    const BlendArgs &forward = args.forward;
    Work work = load_work(forward.works, blockIdx.x);
    u32 picture_number = work.picture;
    const Picture &picture = forward.pictures[picture_number];
    u32 inside = work.tile - picture.tiles;
    u32 left = inside % picture.columns * TILE, top = inside / picture.columns * TILE;
    u32 start = work.start, count = min(work.count, forward.deepest[blockIdx.x]);
    Pixels p = pixels_of();
    int warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
    u32 x = left + p.x, y = top + p.y;
    float px = (float)x + 0.5f, py0 = (float)y + 0.5f, py1 = (float)(y + 2) + 0.5f;
    float block_x = (float)(left + (p.block & 3) * 4) + 0.5f, block_y = (float)(top + (p.block >> 2) * 4) + 0.5f;
    const float threshold = forward.rules.threshold, alpha_max = forward.rules.alpha_max;

#if SELECT
    // for each block of 4 x 4 pixels, the first place in the list of a splat that trains and touches it
    const u32 *flags = args.flags + picture.splats;
    const u32 first_record = picture.records;
    if (threadIdx.x < 16) fronts[threadIdx.x] = FULL;
    __syncthreads();
    {
        u32 mine = FULL;  // of the warp's share, in lane b for block b
        for (u32 part = warp * 32; part < count; part += 128) {
            u32 at = part + lane, blocks = 0;
            if (at < count && flags[forward.order[start + at] - first_record]) blocks = forward.touched[start + at];
            if (!__any_sync(FULL, blocks != 0)) continue;
#pragma unroll
            for (int b = 0; b < 16; b++) {
                u32 hits = __ballot_sync(FULL, blocks >> b & 1);
                if (lane == b && hits && mine == FULL) mine = part + __ffs(hits) - 1;
            }
        }
        if (mine != FULL) atomicMin(&fronts[lane], mine);
    }
    __syncthreads();
    u32 lowest = FULL, front_of[4];
#pragma unroll
    for (int b = 0; b < 16; b++) lowest = min(lowest, fronts[b]);
#pragma unroll
    for (int group = 0; group < 4; group++)
        front_of[group] = fronts[((warp >> 1) * 2 + (group >> 1)) * 4 + (warp & 1) * 2 + (group & 1)];
    if (lowest == FULL) count = 0;
#endif
    if (count == 0 && !args.background) return;
    // the loads of the first batch are on their way while the pixels are read
    u32 base = count ? (count - 1) / BATCH * BATCH : 0;
    // records of the next batch, and entries of the one after it
    Fetched next[EACH];
    u32 touched[EACH], ahead[EACH];
#if SELECT
    u32 trains[EACH];
#endif
    const u32 records_address = shared_address(batch.records);
#pragma unroll
    for (int e = 0; e < EACH; e++) {
        u32 position = base + e * 128 + threadIdx.x;
        next[e] = fetch(forward, position < count ? forward.order[start + position] : 0, position < count);
#if SELECT
        trains[e] = position < count ? flags[next[e].record - first_record] : 0;
#endif
        ahead[e] = base ? forward.order[start + position - BATCH] : 0;
        touched[e] = position < count ? forward.touched[start + position] : 0;
    }
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

    // how deep each group of the warp has to go
    u32 deep = max(two[0].last, two[1].last);
    deep = max(deep, __shfl_xor_sync(FULL, deep, 4));
    deep = max(deep, __shfl_xor_sync(FULL, deep, 2));
    deep = max(deep, __shfl_xor_sync(FULL, deep, 1));
    u32 depth_of[4];
#pragma unroll
    for (int group = 0; group < 4; group++) depth_of[group] = __shfl_sync(FULL, deep, group * 8);
    nothing(batch);
    // gradients of the 16 pixels of the group's block: a lane will need all of them
#if SHARED_AROUND
    around_of[p.block][(lane & 7) * 2] = make_float4(two[0].g[0], two[0].g[1], two[0].g[2], 0.0f);
    around_of[p.block][(lane & 7) * 2 + 1] = make_float4(two[1].g[0], two[1].g[1], two[1].g[2], 0.0f);
#else
    float around[TILE][3];
#pragma unroll
    for (int j = 0; j < 8; j++)
#pragma unroll
        for (int k = 0; k < 3; k++) {
            around[j * 2][k] = __shfl_sync(FULL, two[0].g[k], (lane & 24) + j);
            around[j * 2 + 1][k] = __shfl_sync(FULL, two[1].g[k], (lane & 24) + j);
        }
#endif
#if CHANNELS > 3
#pragma unroll
    for (int k = 3; k < CHANNELS; k++) {
        above[k - 3][p.block * 16 + (lane & 7) * 2] = two[0].g[k];
        above[k - 3][p.block * 16 + (lane & 7) * 2 + 1] = two[1].g[k];
    }
#endif
    while (true) {
        __syncthreads();
#pragma unroll
        for (int e = 0; e < EACH; e++) {
            u32 entry = e * 128 + threadIdx.x;
#if SELECT
            // records are numbered below 2^31: the host sees to that
            next[e].record |= trains[e] ? 0x80000000u : 0;
#endif
            store(batch, next[e], entry, touched[e], base + entry + 1);
            if (base) {
                next[e] = fetch(forward, ahead[e], true);
#if SELECT
                trains[e] = flags[ahead[e] - first_record];
#endif
                if (base > BATCH) ahead[e] = forward.order[start + base - 2 * BATCH + entry];
                touched[e] = forward.touched[start + base - BATCH + entry];
            }
        }
        __syncthreads();

        // lists of the warp's four groups, last splat first
        int counts[4] = {0, 0, 0, 0};
#pragma unroll
        for (int part = BATCH / 32 - 1; part >= 0; part--) {
            u32 entry = part * 32 + lane;
            if (base + part * 32 >= count) continue;
            u32 touched_blocks = batch.touched[entry];
#pragma unroll
            for (int group = 0; group < 4; group++) {
                int block = ((warp >> 1) * 2 + (group >> 1)) * 4 + (warp & 1) * 2 + (group & 1);
                bool hit = (touched_blocks >> block & 1) && base + entry < depth_of[group];
#if SELECT
                hit = hit && base + entry >= front_of[group];
#endif
                u32 hits = __ballot_sync(FULL, hit);
                if (hit) batch.lists[warp][group][counts[group] + __popc((hits >> lane) >> 1)] = (u16)(records_address + entry * WORDS * 4);
                counts[group] += __popc(hits);
            }
        }
        int most = max(max(counts[0], counts[1]), max(counts[2], counts[3]));
        int mine = p.group == 0 ? counts[0] : p.group == 1 ? counts[1] : p.group == 2 ? counts[2] : counts[3];
        u16 *list = batch.lists[warp][p.group];
        fill_up(batch, list, mine, most);
        __syncwarp();
        for (int i = 0; i < most; i += 8) {
            u16 eight[8];
            *(uint4 *)eight = *(const uint4 *)(list + i);
#pragma unroll
            for (int u = 0; u < 8; u++) {
                // two at a time, so that one does not wait for the other
                if ((u & 1) == 0 && i + u >= most) break;
                u32 r = eight[u];
                float4 r0 = shared4(r), r1 = shared4(r + 16), r2 = shared4(r + 32);
                float dx = px - r0.x;
                float2 power = powers(r0, r1.x, r1.y, dx, py0 - r0.y, py1 - r0.y);
                u32 number = __float_as_uint(r2.y);
                bool s0 = power.x >= threshold && number <= two[0].last;
                bool s1 = power.y >= threshold && number <= two[1].last;
#if CLIP
                u32 columns = __float_as_uint(shared1(r + 48)), rows = __float_as_uint(shared1(r + 52));
                bool column = x >= (columns & 0xffff) && x <= columns >> 16;
                s0 = s0 && column && y >= (rows & 0xffff) && y <= rows >> 16;
                s1 = s1 && column && y + 2 >= (rows & 0xffff) && y + 2 <= rows >> 16;
#endif
                float channel[CHANNELS];
                channel[0] = r1.z; channel[1] = r1.w; channel[2] = r2.x;
#if CHANNELS >= 4
                channel[3] = r2.w;
#endif
#if CHANNELS == 7
                channel[4] = shared1(r + 48 + EXTRA * 4); channel[5] = shared1(r + 52 + EXTRA * 4); channel[6] = shared1(r + 56 + EXTRA * 4);
#endif
                float4 out;
                step(two[0], s0, power.x, channel, alpha_max, out.x, out.z);
                step(two[1], s1, power.y, channel, alpha_max, out.y, out.w);
                stage[warp][u][lane] = out;
            }
            __syncwarp();
            // now each lane has one splat of its group, and all 16 pixels
            int own = lane & 7;
#if SELECT
            if (i + own < mine && __float_as_uint(shared1(list[i + own] + 40)) >> 31) {
#else
            if (i + own < mine) {
#endif
                float4 column[8];
#pragma unroll
                for (int j = 0; j < 8; j++) column[j] = stage[warp][own][(lane & 24) + j];
                float m0 = 0.0f, mx = 0.0f, my = 0.0f, mxx = 0.0f, mxy = 0.0f, myy = 0.0f;
                float red = 0.0f, green = 0.0f, blue = 0.0f;
#pragma unroll
                for (int c = 0; c < 4; c++) {
                    // rows 0 and 2 of the column lie in lane c, rows 1 and 3 in lane c + 4
                    float h0 = column[c].x, h1 = column[c + 4].x, h2 = column[c].y, h3 = column[c + 4].y;
                    float sum = (h0 + h1) + (h2 + h3), first = fmaf(3.0f, h3, fmaf(2.0f, h2, h1));
                    float second = fmaf(9.0f, h3, fmaf(4.0f, h2, h1));
                    m0 += sum;
                    mx = fmaf((float)c, sum, mx);
                    mxx = fmaf((float)(c * c), sum, mxx);
                    my += first;
                    mxy = fmaf((float)c, first, mxy);
                    myy += second;
                }
#if SHARED_AROUND
#pragma unroll
                for (int j = 0; j < 8; j++) {
                    float4 a = around_of[p.block][j * 2], b = around_of[p.block][j * 2 + 1];
                    red = fmaf(column[j].z, a.x, fmaf(column[j].w, b.x, red));
                    green = fmaf(column[j].z, a.y, fmaf(column[j].w, b.y, green));
                    blue = fmaf(column[j].z, a.z, fmaf(column[j].w, b.z, blue));
                }
#else
#pragma unroll
                for (int j = 0; j < 8; j++) {
                    red = fmaf(column[j].z, around[j * 2][0], fmaf(column[j].w, around[j * 2 + 1][0], red));
                    green = fmaf(column[j].z, around[j * 2][1], fmaf(column[j].w, around[j * 2 + 1][1], green));
                    blue = fmaf(column[j].z, around[j * 2][2], fmaf(column[j].w, around[j * 2 + 1][2], blue));
                }
#endif
                u32 r = list[i + own];
                // moments about the block's first pixel become moments about the splat's centre
                float ox = block_x - shared1(r), oy = block_y - shared1(r + 4);
                float sx = fmaf(ox, m0, mx), sy = fmaf(oy, m0, my);
                float sxx = fmaf(ox, mx + sx, mxx), syy = fmaf(oy, my + sy, myy), sxy = fmaf(ox, sy, fmaf(oy, mx, mxy));
                size_t record = __float_as_uint(shared1(r + 40));
#if SELECT
                record &= 0x7fffffffu;
#endif
                float *to = args.sums + record * 8;
                add4(to, m0, sx, sy, sxx);
                add4(to + 4, sxy, syy, red, green);
                float *extra = args.extras + record * (CHANNELS - 2);
                atomicAdd(extra, blue);
#if CHANNELS > 3
#pragma unroll
                for (int k = 0; k < CHANNELS - 3; k++) {
                    float sum = 0.0f;
#pragma unroll
                    for (int j = 0; j < 8; j++) {
                        sum = fmaf(column[j].z, above[k][p.block * 16 + j * 2], sum);
                        sum = fmaf(column[j].w, above[k][p.block * 16 + j * 2 + 1], sum);
                    }
                    atomicAdd(extra + 1 + k, sum);
                }
#endif
            }
            __syncwarp();
        }
        if (base == 0) break;
#if SELECT
        if (base <= lowest) break;
#endif
        base -= BATCH;
    }
}

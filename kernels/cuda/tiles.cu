// Tile lists: places for them, their entries, and their order.
//
// An entry is (depth, splat) as one 64-bit number, so that sorting has one answer whatever order atomics left the entries
// in. Lists are short (300 on average at 150 k splats and 512 x 512): each is sorted by one block in registers and shared
// memory, with no pass over all entries of all tiles.

struct TilesArgs {
    const Picture *pictures;
    Rules rules;
    const float4 *records;
    const Reach *reaches;
    const u32 *counts;   // per tile, SPREAD words apart
    const u32 *tile_picture;  // picture of each tile
    u32 *cursors;        // per tile, SPREAD words apart: where the next entry goes
    u32 tiles;           // of all pictures
    u32 picture_count;
    u32 capacity, pad;   // entries that `keys`, `spare` and `order` hold
    Stats *stats;
    u32 *bins;           // BINS: tiles by the length of their lists, longest first
    uint4 *queue;        // BINS x tiles of Work
    uint4 *works;        // the queue as one list: `sort` leaves it for the kernels that follow
    u64 *keys, *spare;
    u32 *order;          // records of each list in depth order
};
static_assert(sizeof(TilesArgs) == 160, "the size in layout.rs");

// A place for each tile's list. Which comes where does not matter: one addition per warp to a common total.
// Mapping: one thread per tile. Floor: latency. Measured: 5 us.
extern "C" __global__ void __launch_bounds__(256) allocate(const TilesArgs args) {
    u32 tile = blockIdx.x * 256 + threadIdx.x;
    int lane = threadIdx.x & 31;
    u32 count = tile < args.tiles ? args.counts[tile * SPREAD] : 0;
    u32 sum = count;
    for (int d = 1; d < 32; d <<= 1) {
        u32 other = __shfl_up_sync(FULL, sum, d);
        if (lane >= d) sum += other;
    }
    u64 base = 0;
    u32 longest = __reduce_max_sync(FULL, count);
    if (lane == 31) {
        base = atomicAdd(&args.stats->total, (u64)sum);
        atomicMax(&args.stats->longest, longest);
    }
    base = __shfl_sync(FULL, base, 31);
    u32 active = __ballot_sync(FULL, tile < args.tiles);
    if (tile < args.tiles) {
        u32 bin = bin_of(count);
        u32 peers = __match_any_sync(active, bin);
        u32 leader = __ffs(peers) - 1, before = 0;
        if (lane == (int)leader) before = atomicAdd(&args.bins[bin], __popc(peers));
        before = __shfl_sync(peers, before, leader);
        u64 start = base + sum - count;
        // beyond any capacity, with room for a picture's splats before 32 bits overflow
        u32 place = start < 0xc0000000ull ? (u32)start : 0xc0000000u;
        args.cursors[tile * SPREAD] = place;
        // what does not fit is cut off here, and told by `stats`
        u32 room = place < args.capacity ? min(count, args.capacity - place) : 0;
        size_t at = (size_t)bin * args.tiles + before + __popc(peers & ((1u << lane) - 1));
        args.queue[at] = make_uint4(tile, args.tile_picture[tile], place, room);
    }
}

// Mapping: one thread per record, blocks as in project.cu. Up to four places are asked for before the first is waited
// for. Floor: 16 bytes a record, 8 and an atomic an entry: 3 us for 150 k splats.
// Measured (H200, 512 x 512): 14 us, 8.9 a view of 32.
extern "C" __global__ void __launch_bounds__(128) scatter(const TilesArgs args) {
    const Picture &picture = args.pictures[blockIdx.x % args.picture_count];
    u32 first = blockIdx.x / args.picture_count * 128;
    if (first >= picture.count) return;
    u32 local = first + threadIdx.x;
    Reach reach;
    reach.columns = reach.rows = reach.tiles = reach.depth = 0;
    if (local < picture.count) {
        uint4 r = ((const uint4 *)args.reaches)[(size_t)picture.records + local];
        reach.columns = r.x; reach.rows = r.y; reach.tiles = r.z; reach.depth = r.w;
    }
    if (reach.tiles != MANY) {
        u32 c0 = reach.columns & 0xffffu, wide = (reach.columns >> 16) - c0 + 1;
        u32 row = picture.tiles + (reach.rows & 0xffffu) * picture.columns + c0;
        u32 rest = reach.tiles, line = rest & low_bits(wide);
        u64 key = (u64)reach.depth << 32 | local;
        while (rest) {
            u32 place[4];
#pragma unroll
            for (int i = 0; i < 4; i++) {
                while (line == 0 && rest) {
                    rest >>= wide;
                    row += picture.columns;
                    line = rest & low_bits(wide);
                }
                place[i] = FULL;
                if (line) {
                    place[i] = atomicAdd(&args.cursors[(row + __ffs(line) - 1) * SPREAD], 1u);
                    line &= line - 1;
                }
            }
#pragma unroll
            for (int i = 0; i < 4; i++)
                if (place[i] < args.capacity) args.keys[place[i]] = key;
        }
    }
    wide_tiles(
        picture, args.rules.threshold, reach,
        [&](int from, float4 &r0, float &yy, float &o) {
            size_t record = (size_t)picture.records + local - (threadIdx.x & 31) + from;
            float4 r1 = args.records[record * 3 + 1];
            r0 = args.records[record * 3];
            yy = r1.x;
            o = r1.y;
        },
        [&](u32 tile, int from, u32 depth) {
            u32 place = atomicAdd(&args.cursors[tile * SPREAD], 1u);
            if (place < args.capacity) args.keys[place] = (u64)depth << 32 | (local - (threadIdx.x & 31) + from);
        });
}

#define SORT 128  // threads that sort one list

// Bitonic sort of E numbers in each of SORT threads; element i lies in thread i / E. Partners are in the same thread, the
// same warp or, for the few largest distances, reached through shared memory.
template <int E>
__device__ __forceinline__ void bitonic(u32 (&key)[E], u32 *exchange) {
    u32 thread = threadIdx.x;
    for (u32 k = 2; k <= SORT * E; k <<= 1) {
        u32 j = k >> 1;
        for (; j >= 32 * E; j >>= 1) {
            __syncthreads();
#pragma unroll
            for (int e = 0; e < E; e++) exchange[e * SORT + thread] = key[e];
            __syncthreads();
            u32 partner = thread ^ (j / E);
            bool least = ((thread * E & k) == 0) == (thread < partner);
#pragma unroll
            for (int e = 0; e < E; e++) {
                u32 other = exchange[e * SORT + partner];
                key[e] = least ? min(key[e], other) : max(key[e], other);
            }
        }
        for (; j >= E; j >>= 1) {
            bool least = ((thread * E & k) == 0) == ((thread & (j / E)) == 0);
#pragma unroll
            for (int e = 0; e < E; e++) {
                u32 other = __shfl_xor_sync(FULL, key[e], j / E);
                key[e] = least ? min(key[e], other) : max(key[e], other);
            }
        }
#pragma unroll
        for (int step = E / 2; step > 0; step >>= 1) {
            if (step > (int)j) continue;
#pragma unroll
            for (int e = 0; e < E; e++) {
                if (e & step) continue;
                bool up = ((thread * E + e) & k) == 0;
                u32 a = key[e], b = key[e | step];
                key[e] = up ? min(a, b) : max(a, b);
                key[e | step] = up ? max(a, b) : min(a, b);
            }
        }
    }
}

// Shared memory of a sort.
struct Sorting {
    u64 keys[SORT * 16];
    u32 exchange[SORT * 16];
    u32 bounds[2];
};

// Sorts `count` keys of memory. The depths are cut to as many leading bits as leave room for the place in the list; the
// cut numbers are sorted, and where neighbours were cut to the same (3 lists of 100 have a pair), a thread puts them right.
template <int E>
__device__ __forceinline__ void sort_part(const u64 *keys, u32 count, Sorting &s, u64 *sorted, u32 *order, u32 records) {
    const u32 place_bits = E == 1 ? 7 : E == 2 ? 8 : E == 4 ? 9 : E == 8 ? 10 : 11;
    u32 key[E], low = FULL, high = 0;
    if (threadIdx.x == 0) { s.bounds[0] = FULL; s.bounds[1] = 0; }
#pragma unroll
    for (int e = 0; e < E; e++) {
        u32 i = e * SORT + threadIdx.x;
        if (i < count) {
            u64 whole = keys[i];
            s.keys[i] = whole;
            key[e] = (u32)(whole >> 32);
            low = min(low, key[e]);
            high = max(high, key[e]);
        }
    }
    low = __reduce_min_sync(FULL, low);
    high = __reduce_max_sync(FULL, high);
    __syncthreads();
    if ((threadIdx.x & 31) == 0) {
        atomicMin(&s.bounds[0], low);
        atomicMax(&s.bounds[1], high);
    }
    __syncthreads();
    low = s.bounds[0];
    u32 used = 32 - __clz((s.bounds[1] - low) | 1), room = 31 - place_bits;
    u32 shift = used > room ? used - room : 0;
#pragma unroll
    for (int e = 0; e < E; e++) {
        u32 i = e * SORT + threadIdx.x;
        key[e] = i < count ? (key[e] - low) >> shift << place_bits | i : FULL;
    }
    bitonic<E>(key, s.exchange);
    __syncthreads();
#pragma unroll
    for (int e = 0; e < E; e++) s.exchange[threadIdx.x * E + e] = key[e];
    __syncthreads();
    const u32 place = (1u << place_bits) - 1;
    // where a thread's places are the first of several that were cut to the same, the end of those; all are found before any
    // is moved, so that nobody reads what another writes
    u32 ends[E];
#pragma unroll
    for (int e = 0; e < E; e++) {
        u32 i = e * SORT + threadIdx.x;
        ends[e] = 0;
        if (i + 1 >= count) continue;
        u32 cut = s.exchange[i] >> place_bits;
        if (s.exchange[i + 1] >> place_bits != cut || (i > 0 && s.exchange[i - 1] >> place_bits == cut)) continue;
        u32 end = i + 2;
        while (end < count && s.exchange[end] >> place_bits == cut) end++;
        ends[e] = end;
    }
    __syncthreads();
#pragma unroll
    for (int e = 0; e < E; e++) {
        u32 i = e * SORT + threadIdx.x;
        // insertion by the whole keys
        for (u32 next = i + 1; next < ends[e]; next++) {
            u32 moving = s.exchange[next], at = next;
            while (at > i && s.keys[s.exchange[at - 1] & place] > s.keys[moving & place]) {
                s.exchange[at] = s.exchange[at - 1];
                at--;
            }
            s.exchange[at] = moving;
        }
    }
    __syncthreads();
    for (u32 i = threadIdx.x; i < count; i += SORT) {
        u64 whole = s.keys[s.exchange[i] & place];
        if (order) order[i] = records + (u32)whole;
        else sorted[i] = whole;
    }
}

#define LARGEST (SORT * 16)

// Mapping: one block per list. Floor: 12 bytes an entry; 4 M instructions for 300 k entries: 4 us.
// Measured (H200, 512 x 512): 14 us, 5.6 a view of 32.
// A list beyond 2048 entries is sorted in parts, which are then merged in global memory: slower, and never cut short.
extern "C" __global__ void __launch_bounds__(SORT) sort(const TilesArgs args) {
    __shared__ Sorting s;
    Work work = queued(args.bins, args.queue, args.tiles, blockIdx.x);
    u32 start = work.start, count = work.count;
    if (threadIdx.x == 0) args.works[blockIdx.x] = make_uint4(work.tile, work.picture, start, count);
    if (count == 0) return;
    u32 records = args.pictures[work.picture].records;
    u64 *keys = args.keys + start;
    u32 *order = args.order + start;
    if (count <= SORT) return sort_part<1>(keys, count, s, 0, order, records);
    if (count <= SORT * 2) return sort_part<2>(keys, count, s, 0, order, records);
    if (count <= SORT * 4) return sort_part<4>(keys, count, s, 0, order, records);
    if (count <= SORT * 8) return sort_part<8>(keys, count, s, 0, order, records);
    if (count <= LARGEST) return sort_part<16>(keys, count, s, 0, order, records);

    for (u32 part = 0; part < count; part += LARGEST) {
        // all keys of a part are in shared memory before any is written
        sort_part<16>(keys + part, min(count - part, (u32)LARGEST), s, keys + part, 0, 0);
        __syncthreads();
    }
    u64 *from = keys, *to = args.spare + start;
    for (u32 run = LARGEST; run < count; run *= 2) {
        // each thread merges an equal share of the output: where its share begins in both runs is found by bisection
        u32 share = (count + SORT - 1) / SORT;
        u32 at = min(threadIdx.x * share, count), end = min(at + share, count);
        while (at < end) {
            u32 pair = at / (2 * run) * (2 * run);
            u32 middle = min(pair + run, count), last = min(pair + 2 * run, count);
            u32 done = at - pair, na = middle - pair, nb = last - middle;
            u32 low = done > nb ? done - nb : 0, high = min(done, na);
            while (low < high) {
                u32 half = (low + high) / 2;
                if (from[pair + half] < from[middle + done - half - 1]) low = half + 1;
                else high = half;
            }
            u32 a = pair + low, b = middle + done - low, stop = min(end, last);
            for (; at < stop; at++) {
                bool first = b >= last || (a < middle && from[a] < from[b]);
                to[at] = first ? from[a++] : from[b++];
            }
        }
        __syncthreads();
        u64 *swap = from;
        from = to;
        to = swap;
    }
    for (u32 i = threadIdx.x; i < count; i += SORT) order[i] = records + (u32)from[i];
}

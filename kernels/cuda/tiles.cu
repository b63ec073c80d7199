// Tile lists: places for them, their entries, and their order.
//
// An entry is (depth, splat) as one 64-bit number, so that sorting has one answer whatever order atomics left the entries
// in. Lists are short (300 on average at 150 k splats and 512 x 512): each is sorted by one block in registers and shared
// memory, with no pass over all entries of all tiles.

struct TilesArgs {
    const Picture *pictures;
    Rules rules;
    const float4 *records;
    const u32 *counts;   // per tile
    u32 *starts;         // per tile
    u32 *cursors;        // per tile
    u32 tiles;           // of all pictures
    u32 capacity;        // entries that `keys`, `spare` and `order` hold
    Stats *stats;
    u64 *keys, *spare;
    u32 *order;          // splats of each list in depth order
};
static_assert(sizeof(TilesArgs) == 120, "the size in layout.rs");

// Entries that a list has room for.
__device__ __forceinline__ u32 listed(u32 start, u32 count, u32 capacity) {
    return start >= capacity ? 0 : min(count, capacity - start);
}

// A place for each tile's list. Which comes where does not matter: one addition per warp to a common total.
// Mapping: one thread per tile. Floor: latency.
extern "C" __global__ void __launch_bounds__(256) allocate(const TilesArgs args) {
    u32 tile = blockIdx.x * 256 + threadIdx.x;
    int lane = threadIdx.x & 31;
    u32 count = tile < args.tiles ? args.counts[tile] : 0;
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
    if (tile < args.tiles) {
        u64 start = base + sum - count;
        args.starts[tile] = start < 0xffffffffull ? (u32)start : 0xffffffffu;
        args.cursors[tile] = 0;
    }
}

// An integer that orders like the number.
__device__ __forceinline__ u32 order_bits(float depth) {
    u32 bits = __float_as_uint(depth);
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}

// Mapping: one thread per record, blockIdx.y is the picture. Floor: 48 bytes a record, 8 and an atomic an entry.
extern "C" __global__ void __launch_bounds__(128) scatter(const TilesArgs args) {
    const Picture &picture = args.pictures[blockIdx.y];
    u32 first = blockIdx.x * 128;
    if (first >= picture.count) return;
    u32 local = first + threadIdx.x;
    bool valid = local < picture.count;
    size_t record = (size_t)picture.records + (valid ? local : first);
    float4 r0 = args.records[record * 3], r1 = args.records[record * 3 + 1], r2 = args.records[record * 3 + 2];
    u32 columns = valid ? __float_as_uint(r2.y) : HIDDEN;
    u32 depth = order_bits(r2.w);
    for_each_tile(picture, args.rules.threshold, r0, r1.x, r1.y, columns, __float_as_uint(r2.z), [&](u32 tile, int from) {
        // the lane that visits may not be the one whose splat it is
        u32 lane = threadIdx.x & 31;
        u32 splat = local - lane + from;
        u32 bits = from == (int)lane ? depth : order_bits(args.records[((size_t)picture.records + splat) * 3 + 2].w);
        u32 place = args.starts[tile] + atomicAdd(&args.cursors[tile], 1u);
        if (place < args.capacity && place >= args.starts[tile]) args.keys[place] = (u64)bits << 32 | splat;
    });
}

#define SORT 128  // threads that sort one list

__device__ __forceinline__ u64 smaller(u64 a, u64 b) { return a < b ? a : b; }
__device__ __forceinline__ u64 larger(u64 a, u64 b) { return a < b ? b : a; }

// Bitonic sort of E keys in each of SORT threads; element i lies in thread i / E. Partners are in the same thread, the same
// warp or, for the few largest distances, reached through shared memory.
template <int E>
__device__ __forceinline__ void bitonic(u64 (&key)[E], u64 *exchange) {
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
                u64 other = exchange[e * SORT + partner];
                key[e] = least ? smaller(key[e], other) : larger(key[e], other);
            }
        }
        for (; j >= E; j >>= 1) {
            bool least = ((thread * E & k) == 0) == ((thread & (j / E)) == 0);
#pragma unroll
            for (int e = 0; e < E; e++) {
                u64 other = __shfl_xor_sync(FULL, key[e], j / E);
                key[e] = least ? smaller(key[e], other) : larger(key[e], other);
            }
        }
#pragma unroll
        for (int step = E / 2; step > 0; step >>= 1) {
            if (step > (int)j) continue;
#pragma unroll
            for (int e = 0; e < E; e++) {
                if (e & step) continue;
                bool up = ((thread * E + e) & k) == 0;
                u64 a = key[e], b = key[e | step];
                key[e] = up ? smaller(a, b) : larger(a, b);
                key[e | step] = up ? larger(a, b) : smaller(a, b);
            }
        }
    }
}

template <int E>
__device__ __forceinline__ void sort_part(const u64 *keys, u32 count, u64 *exchange, u64 *sorted, u32 *order) {
    u64 key[E];
#pragma unroll
    for (int e = 0; e < E; e++) {
        u32 i = e * SORT + threadIdx.x;
        key[e] = i < count ? keys[i] : ~0ull;
    }
    bitonic<E>(key, exchange);
#pragma unroll
    for (int e = 0; e < E; e++) {
        u32 i = threadIdx.x * E + e;
        if (i < count) {
            if (order) order[i] = (u32)key[e];
            else sorted[i] = key[e];
        }
    }
}

#define LARGEST (SORT * 16)

// Mapping: one block per list. Floor: 12 bytes an entry.
// A list beyond 2048 entries is sorted in parts, which are then merged in global memory: slower, and never cut short.
extern "C" __global__ void __launch_bounds__(SORT) sort(const TilesArgs args) {
    __shared__ u64 exchange[LARGEST];
    u32 tile = blockIdx.x;
    u32 start = args.starts[tile];
    u32 count = listed(start, args.counts[tile], args.capacity);
    if (count == 0) return;
    u64 *keys = args.keys + start;
    u32 *order = args.order + start;
    if (count <= SORT) return sort_part<1>(keys, count, exchange, 0, order);
    if (count <= SORT * 2) return sort_part<2>(keys, count, exchange, 0, order);
    if (count <= SORT * 4) return sort_part<4>(keys, count, exchange, 0, order);
    if (count <= SORT * 8) return sort_part<8>(keys, count, exchange, 0, order);
    if (count <= LARGEST) return sort_part<16>(keys, count, exchange, 0, order);

    for (u32 part = 0; part < count; part += LARGEST) {
        // all keys of a part are in registers before any is written
        sort_part<16>(keys + part, min(count - part, (u32)LARGEST), exchange, keys + part, 0);
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
    for (u32 i = threadIdx.x; i < count; i += SORT) order[i] = (u32)from[i];
}

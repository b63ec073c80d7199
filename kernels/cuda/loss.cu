// Weighted sum of L1 and SSIM with its gradient: the formulas of src/losses/ssim.rs.
//
// Two kernels. `ssim_slopes` filters the moments of a piece of one channel, first along rows and then along columns,
// and leaves the slopes of the map by mean, variance and covariance; `ssim_gradient` filters those and writes the gradient.
// Mapping: blocks of 256 threads for 32 columns and 54 rows of one channel, 64 rows with the window's reach, so that rows are
// 4 x 64 pieces of 8 pixels and columns 32 x 8 pieces of 7: every thread has one piece, and reads a value once for all its
// sums.
// Floor: 52 bytes per pixel and channel when the slopes go through memory, 20 when they stay in L2 (the host calls both
// kernels for a few pictures at a time for that); about 290 instructions.
// Measured (H200, 8 pictures of 512 x 512 x 3): 133 us.

typedef unsigned int u32;

#define WIDE 32
#define HIGH 54
#define RADIUS 5
#define ROWS (HIGH + 2 * RADIUS)
#define COLUMNS (WIDE + 2 * RADIUS)
#define PITCH (COLUMNS + 1)      // odd: lanes of a warp work on rows below each other
#define ACROSS 8                 // pixels of a piece of a row
#define DOWN 7                   // pixels of a piece of a column
#define FILTERED (WIDE + 1)
#define MOMENTS (CLAMP ? 5 : 4)  // a, b, ab, and a^2 + b^2 together unless each variance is clamped by itself
#define MAIN (ROWS / 8)          // loads of a thread for the first 32 columns: a warp to a row
#define REST ((ROWS * 2 * RADIUS + 255) / 256)  // and for the columns after them
// beyond the last filtered plane, shared memory has two rows more: the last piece of a column reads them for pixels that are
// not there

// blocks per multiprocessor
#ifndef SLOPES_BLOCKS
#define SLOPES_BLOCKS 4
#endif
#ifndef GRADIENT_BLOCKS
#define GRADIENT_BLOCKS 4
#endif

struct LossArgs {
    const float *a, *b;      // pictures, height x width x channels
    float *slopes;           // 3 planes per picture and channel
    float *gradient;         // as `a`
    double *values;          // 2 per picture: mean |a - b|, mean SSIM; zero before
    u32 width, height, channels, first;  // first: number of the first picture of this call
    float l1, ssim;          // weights of the two means in the gradient
    u32 valid, pad0;
    float window[11];
    u32 pad;
};
static_assert(sizeof(LossArgs) == 120, "the size in loss.rs");

struct Place {
    u32 picture, channel;
    int left, top;
    size_t pixels;           // of a picture
    size_t base;             // first value of the channel
};

__device__ __forceinline__ Place place_of(const LossArgs &args, u32 plane) {
    Place p;
    p.picture = plane / args.channels;
    p.channel = plane % args.channels;
    u32 across = (args.width + WIDE - 1) / WIDE;
    p.left = blockIdx.x % across * WIDE;
    p.top = blockIdx.x / across * HIGH;
    p.pixels = (size_t)args.width * args.height;
    p.base = (size_t)(args.first + p.picture) * p.pixels * args.channels + p.channel;
    return p;
}

// Offsets in bytes fit in 32 bits: the host sees to that. One addition to a uniform address is what the hardware does for
// nothing.
__device__ __forceinline__ float read(const float *plane, u32 bytes) { return *(const float *)((const char *)plane + bytes); }
__device__ __forceinline__ void write(float *plane, u32 bytes, float v) { *(float *)((char *)plane + bytes) = v; }

// The block's part of a plane with the window's reach around it, zeros beyond the border. `stride` is the distance between
// neighbours of a row. All loads are on their way before the first is waited for.
struct Part {
    float main[MAIN], rest[REST];
};

__device__ __forceinline__ Part load(const float *plane, const Place &p, int width, int height, int stride) {
    Part v;
    int x = p.left - RADIUS + (int)(threadIdx.x & 31), y = p.top - RADIUS + (int)(threadIdx.x >> 5);
    bool column = (u32)x < (u32)width;
    u32 at = (u32)((y * width + x) * stride * 4), step = (u32)(8 * width * stride * 4);
#pragma unroll
    for (int n = 0; n < MAIN; n++) {
        v.main[n] = 0.0f;
        if (column && (u32)(y + 8 * n) < (u32)height) v.main[n] = read(plane, at + n * step);
    }
#pragma unroll
    for (int n = 0; n < REST; n++) {
        int i = n * 256 + threadIdx.x, row = p.top - RADIUS + i / (2 * RADIUS), beside = p.left - RADIUS + 32 + i % (2 * RADIUS);
        v.rest[n] = 0.0f;
        if ((u32)beside < (u32)width && (u32)row < (u32)height && i < ROWS * 2 * RADIUS)
            v.rest[n] = read(plane, (u32)((row * width + beside) * stride * 4));
    }
    return v;
}

__device__ __forceinline__ void store(float *to, const Part &v) {
    float *main = to + (threadIdx.x >> 5) * PITCH + (threadIdx.x & 31);
#pragma unroll
    for (int n = 0; n < MAIN; n++) main[n * 8 * PITCH] = v.main[n];
#pragma unroll
    for (int n = 0; n < REST; n++) {
        int i = n * 256 + threadIdx.x;
        if (i < ROWS * 2 * RADIUS) to[i / (2 * RADIUS) * PITCH + 32 + i % (2 * RADIUS)] = v.rest[n];
    }
}

// Sum of |a - b| over the block's own pixels: what lies around them belongs to others, and beyond the border it is zero.
__device__ __forceinline__ float difference(const Part &a, const Part &b) {
    float sum = 0.0f;
    int column = threadIdx.x & 31, row = threadIdx.x >> 5;
#pragma unroll
    for (int n = 0; n < MAIN; n++)
        if (column >= RADIUS && row + 8 * n >= RADIUS && row + 8 * n < HIGH + RADIUS) sum += fabsf(a.main[n] - b.main[n]);
#pragma unroll
    for (int n = 0; n < REST; n++) {
        int i = n * 256 + threadIdx.x, at = i / (2 * RADIUS);
        if (at >= RADIUS && at < HIGH + RADIUS && i % (2 * RADIUS) < RADIUS) sum += fabsf(a.rest[n] - b.rest[n]);
    }
    return sum;
}

__device__ __forceinline__ float reciprocal(float x) {
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

extern "C" __global__ void __launch_bounds__(256, SLOPES_BLOCKS) ssim_slopes(const LossArgs args) {
    extern __shared__ float memory[];
    // MOMENTS x ROWS x FILTERED, in the place of the pictures once those have been read
    float *in_a = memory, *in_b = in_a + ROWS * PITCH, *filtered = memory;
    __shared__ float sums[8][2];
    Place p = place_of(args, blockIdx.y);
    const int width = args.width, height = args.height;
    float w[11];
#pragma unroll
    for (int k = 0; k < 11; k++) w[k] = args.window[k];
    float total_l1;
    {
        Part a = load(args.a + p.base, p, width, height, args.channels);
        Part b = load(args.b + p.base, p, width, height, args.channels);
        store(in_a, a);
        store(in_b, b);
        total_l1 = difference(a, b);
    }
    __syncthreads();
    {
        int row = threadIdx.x % ROWS, piece = threadIdx.x / ROWS * ACROSS;
        const float *ra = in_a + row * PITCH + piece, *rb = in_b + row * PITCH + piece;
        float out[MOMENTS][ACROSS];
#pragma unroll
        for (int m = 0; m < MOMENTS; m++)
#pragma unroll
            for (int k = 0; k < ACROSS; k++) out[m][k] = 0.0f;
#pragma unroll
        for (int i = 0; i < ACROSS + 10; i++) {
            float a = ra[i], b = rb[i], v[MOMENTS];
            v[0] = a;
            v[1] = b;
            v[2] = a * b;
#if CLAMP
            v[3] = a * a;
            v[4] = b * b;
#else
            v[3] = fmaf(a, a, b * b);
#endif
#pragma unroll
            for (int m = 0; m < MOMENTS; m++)
#pragma unroll
                for (int k = 0; k < ACROSS; k++)
                    if (i >= k && i <= k + 10) out[m][k] = fmaf(w[i - k], v[m], out[m][k]);
        }
        __syncthreads();
#pragma unroll
        for (int m = 0; m < MOMENTS; m++)
#pragma unroll
            for (int k = 0; k < ACROSS; k++) filtered[(m * ROWS + row) * FILTERED + piece + k] = out[m][k];
    }
    __syncthreads();
    int column = threadIdx.x % WIDE, piece = threadIdx.x / WIDE * DOWN;
    float out[MOMENTS][DOWN];
#pragma unroll
    for (int m = 0; m < MOMENTS; m++)
#pragma unroll
        for (int k = 0; k < DOWN; k++) out[m][k] = 0.0f;
#pragma unroll
    for (int i = 0; i < DOWN + 10; i++) {
#pragma unroll
        for (int m = 0; m < MOMENTS; m++) {
            float v = filtered[(m * ROWS + piece + i) * FILTERED + column];
#pragma unroll
            for (int k = 0; k < DOWN; k++)
                if (i >= k && i <= k + 10) out[m][k] = fmaf(w[i - k], v, out[m][k]);
        }
    }
    const int margin = args.valid ? RADIUS : 0;
    const float count = (float)(width - 2 * margin) * (float)(height - 2 * margin) * (float)args.channels;
    const float scale = args.ssim / count;
    float total_ssim = 0.0f;
    int x = p.left + column, first_y = p.top + piece;
    float *to = args.slopes + ((size_t)p.picture * args.channels + p.channel) * 3 * p.pixels;
    u32 at = (u32)((first_y * width + x) * 4), down = (u32)(width * 4), next_plane = (u32)(p.pixels * 4);
#pragma unroll
    for (int k = 0; k < DOWN; k++) {
        float m1 = out[0][k], m2 = out[1][k];
        float s12 = out[2][k] - m1 * m2, both = m1 * m1 + m2 * m2, follows = 1.0f;
#if CLAMP
        float s11 = out[3][k] - m1 * m1, s22 = out[4][k] - m2 * m2;
        // the slope through the variance ends where it is clamped
        if (s11 < 0.0f) s11 = follows = 0.0f;
        if (s22 < 0.0f) s22 = 0.0f;
        float variances = s11 + s22;
#else
        float variances = out[3][k] - both;
#endif
        float A = both + 1e-4f, B = variances + 9e-4f, C = 2.0f * m1 * m2 + 1e-4f, D = 2.0f * s12 + 9e-4f;
        float over_a = reciprocal(A), over_b = reciprocal(B), inverse = over_a * over_b, value = C * D * inverse;
        float by_variance = -follows * value * over_b;
        float by_mean = 2.0f * m2 * (D - C) * inverse - 2.0f * m1 * (value * over_a + by_variance);
        float by_covariance = 2.0f * C * inverse;
#if CLAMP
        if (!(value >= -1.0f && value <= 1.0f)) {
            value = value > 1.0f ? 1.0f : value < -1.0f ? -1.0f : value;
            by_mean = by_variance = by_covariance = 0.0f;
        }
#endif
        int y = first_y + k;
        bool inside = piece + k < HIGH && y < height && x < width;
        bool counted = inside && x >= margin && x < width - margin && y >= margin && y < height - margin;
        float weight = counted ? scale : 0.0f;
        if (inside) {
            write(to, at + k * down, weight * by_mean);
            write(to, at + k * down + next_plane, weight * by_variance);
            write(to, at + k * down + 2 * next_plane, weight * by_covariance);
        }
        if (counted) total_ssim += value;
    }
    for (int d = 16; d; d >>= 1) {
        total_l1 += __shfl_xor_sync(0xffffffffu, total_l1, d);
        total_ssim += __shfl_xor_sync(0xffffffffu, total_ssim, d);
    }
    if ((threadIdx.x & 31) == 0) {
        sums[threadIdx.x >> 5][0] = total_l1;
        sums[threadIdx.x >> 5][1] = total_ssim;
    }
    __syncthreads();
    if (threadIdx.x < 2) {
        double sum = 0.0;
        for (int i = 0; i < 8; i++) sum += sums[i][threadIdx.x];
        double pixels = threadIdx.x ? (double)count : (double)p.pixels * args.channels;
        atomicAdd(&args.values[(args.first + p.picture) * 2 + threadIdx.x], sum / pixels);
    }
}

extern "C" __global__ void __launch_bounds__(256, GRADIENT_BLOCKS) ssim_gradient(const LossArgs args) {
    extern __shared__ float memory[];
    float *slopes = memory, *filtered = memory;  // 3 x ROWS x FILTERED, in the place of the slopes once those are read
    // the slopes that were written last are the likeliest to be in L2 still
    Place p = place_of(args, gridDim.y - 1 - blockIdx.y);
    const int width = args.width, height = args.height;
    float w[11];
#pragma unroll
    for (int k = 0; k < 11; k++) w[k] = args.window[k];
    size_t plane = ((size_t)p.picture * args.channels + p.channel) * 3 * p.pixels;
    {
        Part by_mean = load(args.slopes + plane, p, width, height, 1);
        Part by_variance = load(args.slopes + plane + p.pixels, p, width, height, 1);
        Part by_covariance = load(args.slopes + plane + 2 * p.pixels, p, width, height, 1);
        store(slopes, by_mean);
        store(slopes + ROWS * PITCH, by_variance);
        store(slopes + 2 * ROWS * PITCH, by_covariance);
    }
    __syncthreads();
    {
        int row = threadIdx.x % ROWS, piece = threadIdx.x / ROWS * ACROSS;
        float out[3][ACROSS];
#pragma unroll
        for (int m = 0; m < 3; m++) {
            const float *from = slopes + (m * ROWS + row) * PITCH + piece;
#pragma unroll
            for (int k = 0; k < ACROSS; k++) out[m][k] = 0.0f;
#pragma unroll
            for (int i = 0; i < ACROSS + 10; i++) {
                float v = from[i];
#pragma unroll
                for (int k = 0; k < ACROSS; k++)
                    if (i >= k && i <= k + 10) out[m][k] = fmaf(w[i - k], v, out[m][k]);
            }
        }
        __syncthreads();
#pragma unroll
        for (int m = 0; m < 3; m++)
#pragma unroll
            for (int k = 0; k < ACROSS; k++) filtered[(m * ROWS + row) * FILTERED + piece + k] = out[m][k];
    }
    __syncthreads();
    int column = threadIdx.x % WIDE, piece = threadIdx.x / WIDE * DOWN;
    int x = p.left + column, first_y = p.top + piece, stride = args.channels;
    u32 at = (u32)((first_y * width + x) * stride * 4), down = (u32)(width * stride * 4);
    const float *plane_a = args.a + p.base, *plane_b = args.b + p.base;
    float a[DOWN], b[DOWN];
#pragma unroll
    for (int k = 0; k < DOWN; k++) {
        bool inside = piece + k < HIGH && first_y + k < height && x < width;
        a[k] = b[k] = 0.0f;
        if (inside) {
            a[k] = read(plane_a, at + k * down);
            b[k] = read(plane_b, at + k * down);
        }
    }
    float out[3][DOWN];
#pragma unroll
    for (int k = 0; k < DOWN; k++) out[0][k] = out[1][k] = out[2][k] = 0.0f;
#pragma unroll
    for (int i = 0; i < DOWN + 10; i++) {
#pragma unroll
        for (int m = 0; m < 3; m++) {
            float v = filtered[(m * ROWS + piece + i) * FILTERED + column];
#pragma unroll
            for (int k = 0; k < DOWN; k++)
                if (i >= k && i <= k + 10) out[m][k] = fmaf(w[i - k], v, out[m][k]);
        }
    }
    const float scale = args.l1 / ((float)width * (float)height * (float)args.channels);
    float *to = args.gradient + p.base;
#pragma unroll
    for (int k = 0; k < DOWN; k++) {
        float d = a[k] - b[k];
        // 0 and NaN stay what they are
        float sign = d > 0.0f ? 1.0f : d < 0.0f ? -1.0f : d;
        float gradient = fmaf(scale, sign, fmaf(2.0f * a[k], out[1][k], fmaf(b[k], out[2][k], out[0][k])));
        if (piece + k < HIGH && first_y + k < height && x < width) write(to, at + k * down, gradient);
    }
}

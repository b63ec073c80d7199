// Weighted sum of L1 and SSIM with its gradient: the formulas of src/losses/ssim.rs.
//
// Two kernels. `ssim_slopes` filters the five moments of a piece of one channel, first along rows and then along columns,
// and leaves the slopes of the map by mean, variance and covariance; `ssim_gradient` filters those and writes the gradient.
// Mapping: blocks of 256 threads for 32 columns and 54 rows of one channel, 64 rows with the window's reach, so that rows are
// 4 x 64 pieces of 8 pixels and columns 32 x 8 pieces of 7: every thread has one piece, and reads a value once for all its
// sums.
// Floor: 52 bytes per pixel and channel when the slopes go through memory, 20 when they stay in L2 (the host calls both
// kernels for a few pictures at a time for that); about 290 instructions.
// Measured: kernels/NOTES.md.

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
#define LOADS ((ROWS * COLUMNS + 255) / 256)
// beyond the last filtered plane, shared memory has two rows more: the last piece of a column reads them for pixels that are
// not there

struct LossArgs {
    const float *a, *b;      // pictures, height x width x channels
    float *slopes;           // 3 planes per picture and channel
    float *gradient;         // as `a`
    double *values;          // 2 per picture: mean |a - b|, mean SSIM; zero before
    u32 width, height, channels, first;  // first: number of the first picture of this call
    float l1, ssim;          // weights of the two means in the gradient
    u32 valid, clamp;
    float window[11];
    u32 pad;
};
static_assert(sizeof(LossArgs) == 120, "the size in loss.rs");

struct Place {
    u32 picture, channel;
    int left, top;
    size_t pixels, base;     // of a picture; first value of the picture
};

__device__ __forceinline__ Place place_of(const LossArgs &args) {
    Place p;
    p.picture = blockIdx.y / args.channels;
    p.channel = blockIdx.y % args.channels;
    u32 across = (args.width + WIDE - 1) / WIDE;
    p.left = blockIdx.x % across * WIDE;
    p.top = blockIdx.x / across * HIGH;
    p.pixels = (size_t)args.width * args.height;
    p.base = (size_t)(args.first + p.picture) * p.pixels * args.channels;
    return p;
}

extern "C" __global__ void __launch_bounds__(256) ssim_slopes(const LossArgs args) {
    extern __shared__ float memory[];
    float *in_a = memory, *in_b = in_a + ROWS * PITCH, *filtered = in_b + ROWS * PITCH;  // 5 x ROWS x FILTERED
    __shared__ float sums[8][2];
    Place p = place_of(args);
    const int width = args.width, height = args.height;
    float w[11];
#pragma unroll
    for (int k = 0; k < 11; k++) w[k] = args.window[k];

    {
        // all loads are on their way before the first is waited for
        float a[LOADS], b[LOADS];
#pragma unroll
        for (int n = 0; n < LOADS; n++) {
            int i = n * 256 + threadIdx.x, y = p.top + i / COLUMNS - RADIUS, x = p.left + i % COLUMNS - RADIUS;
            bool inside = x >= 0 && x < width && y >= 0 && y < height && i < ROWS * COLUMNS;
            size_t at = p.base + ((size_t)y * width + x) * args.channels + p.channel;
            a[n] = inside ? args.a[at] : 0.0f;
            b[n] = inside ? args.b[at] : 0.0f;
        }
#pragma unroll
        for (int n = 0; n < LOADS; n++) {
            int i = n * 256 + threadIdx.x, to = i / COLUMNS * PITCH + i % COLUMNS;
            if (i < ROWS * COLUMNS) {
                in_a[to] = a[n];
                in_b[to] = b[n];
            }
        }
    }
    __syncthreads();
    {
        int row = threadIdx.x % ROWS, piece = threadIdx.x / ROWS * ACROSS;
        const float *ra = in_a + row * PITCH + piece, *rb = in_b + row * PITCH + piece;
        float out[5][ACROSS];
#pragma unroll
        for (int k = 0; k < ACROSS; k++) out[0][k] = out[1][k] = out[2][k] = out[3][k] = out[4][k] = 0.0f;
#pragma unroll
        for (int i = 0; i < ACROSS + 10; i++) {
            float a = ra[i], b = rb[i], aa = a * a, bb = b * b, ab = a * b;
#pragma unroll
            for (int k = 0; k < ACROSS; k++) {
                if (i < k || i > k + 10) continue;
                out[0][k] = fmaf(w[i - k], a, out[0][k]);
                out[1][k] = fmaf(w[i - k], b, out[1][k]);
                out[2][k] = fmaf(w[i - k], aa, out[2][k]);
                out[3][k] = fmaf(w[i - k], bb, out[3][k]);
                out[4][k] = fmaf(w[i - k], ab, out[4][k]);
            }
        }
#pragma unroll
        for (int m = 0; m < 5; m++)
#pragma unroll
            for (int k = 0; k < ACROSS; k++) filtered[(m * ROWS + row) * FILTERED + piece + k] = out[m][k];
    }
    __syncthreads();
    int column = threadIdx.x % WIDE, piece = threadIdx.x / WIDE * DOWN;
    float out[5][DOWN];
#pragma unroll
    for (int k = 0; k < DOWN; k++) out[0][k] = out[1][k] = out[2][k] = out[3][k] = out[4][k] = 0.0f;
#pragma unroll
    for (int i = 0; i < DOWN + 10; i++) {
#pragma unroll
        for (int m = 0; m < 5; m++) {
            float v = filtered[(m * ROWS + piece + i) * FILTERED + column];
#pragma unroll
            for (int k = 0; k < DOWN; k++)
                if (i >= k && i <= k + 10) out[m][k] = fmaf(w[i - k], v, out[m][k]);
        }
    }
    const int margin = args.valid ? RADIUS : 0;
    const float count = (float)(width - 2 * margin) * (float)(height - 2 * margin) * (float)args.channels;
    const float scale = args.ssim / count;
    float total_ssim = 0.0f, total_l1 = 0.0f;
    int x = p.left + column;
    size_t plane = ((size_t)p.picture * args.channels + p.channel) * 3 * p.pixels;
#pragma unroll
    for (int k = 0; k < DOWN; k++) {
        int row = piece + k, y = p.top + row;
        if (row >= HIGH || y >= height || x >= width) continue;
        float m1 = out[0][k], m2 = out[1][k];
        float s11 = out[2][k] - m1 * m1, s22 = out[3][k] - m2 * m2, s12 = out[4][k] - m1 * m2;
        // the slope through the variance ends where it is clamped
        float follows = 1.0f;
        if (args.clamp) {
            if (s11 < 0.0f) s11 = follows = 0.0f;
            if (s22 < 0.0f) s22 = 0.0f;
        }
        float A = m1 * m1 + m2 * m2 + 1e-4f, B = s11 + s22 + 9e-4f, C = 2.0f * m1 * m2 + 1e-4f, D = 2.0f * s12 + 9e-4f;
        float over_a = 1.0f / A, over_b = 1.0f / B, inverse = over_a * over_b, value = C * D * inverse;
        float by_variance = -follows * value * over_b;
        float by_mean = 2.0f * m2 * (D - C) * inverse - 2.0f * m1 * (value * over_a + by_variance);
        float by_covariance = 2.0f * C * inverse;
        if (args.clamp && !(value >= -1.0f && value <= 1.0f)) {
            value = value > 1.0f ? 1.0f : value < -1.0f ? -1.0f : value;
            by_mean = by_variance = by_covariance = 0.0f;
        }
        bool counted = x >= margin && x < width - margin && y >= margin && y < height - margin;
        size_t at = plane + (size_t)y * width + x;
        args.slopes[at] = counted ? scale * by_mean : 0.0f;
        args.slopes[at + p.pixels] = counted ? scale * by_variance : 0.0f;
        args.slopes[at + 2 * p.pixels] = counted ? scale * by_covariance : 0.0f;
        if (counted) total_ssim += value;
        int own = (row + RADIUS) * PITCH + column + RADIUS;
        total_l1 += fabsf(in_a[own] - in_b[own]);
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

extern "C" __global__ void __launch_bounds__(256) ssim_gradient(const LossArgs args) {
    extern __shared__ float memory[];
    float *slopes = memory, *filtered = memory + 3 * ROWS * PITCH;  // 3 x ROWS x FILTERED
    Place p = place_of(args);
    const int width = args.width, height = args.height;
    float w[11];
#pragma unroll
    for (int k = 0; k < 11; k++) w[k] = args.window[k];
    size_t plane = ((size_t)p.picture * args.channels + p.channel) * 3 * p.pixels;
    {
        float v[3][LOADS];
#pragma unroll
        for (int n = 0; n < LOADS; n++) {
            int i = n * 256 + threadIdx.x, y = p.top + i / COLUMNS - RADIUS, x = p.left + i % COLUMNS - RADIUS;
            bool inside = x >= 0 && x < width && y >= 0 && y < height && i < ROWS * COLUMNS;
            size_t at = plane + (size_t)y * width + x;
#pragma unroll
            for (int m = 0; m < 3; m++) v[m][n] = inside ? args.slopes[at + m * p.pixels] : 0.0f;
        }
#pragma unroll
        for (int n = 0; n < LOADS; n++) {
            int i = n * 256 + threadIdx.x, to = i / COLUMNS * PITCH + i % COLUMNS;
#pragma unroll
            for (int m = 0; m < 3; m++)
                if (i < ROWS * COLUMNS) slopes[m * ROWS * PITCH + to] = v[m][n];
        }
    }
    __syncthreads();
    {
        int row = threadIdx.x % ROWS, piece = threadIdx.x / ROWS * ACROSS;
#pragma unroll
        for (int m = 0; m < 3; m++) {
            const float *from = slopes + (m * ROWS + row) * PITCH + piece;
            float out[ACROSS];
#pragma unroll
            for (int k = 0; k < ACROSS; k++) out[k] = 0.0f;
#pragma unroll
            for (int i = 0; i < ACROSS + 10; i++) {
                float v = from[i];
#pragma unroll
                for (int k = 0; k < ACROSS; k++)
                    if (i >= k && i <= k + 10) out[k] = fmaf(w[i - k], v, out[k]);
            }
#pragma unroll
            for (int k = 0; k < ACROSS; k++) filtered[(m * ROWS + row) * FILTERED + piece + k] = out[k];
        }
    }
    __syncthreads();
    int column = threadIdx.x % WIDE, piece = threadIdx.x / WIDE * DOWN;
    int x = p.left + column;
    float a[DOWN], b[DOWN];
#pragma unroll
    for (int k = 0; k < DOWN; k++) {
        int y = p.top + piece + k;
        bool inside = piece + k < HIGH && y < height && x < width;
        size_t at = p.base + ((size_t)y * width + x) * args.channels + p.channel;
        a[k] = inside ? args.a[at] : 0.0f;
        b[k] = inside ? args.b[at] : 0.0f;
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
#pragma unroll
    for (int k = 0; k < DOWN; k++) {
        int row = piece + k, y = p.top + row;
        if (row >= HIGH || y >= height || x >= width) continue;
        size_t at = p.base + ((size_t)y * width + x) * args.channels + p.channel;
        float d = a[k] - b[k];
        // 0 and NaN stay what they are
        float sign = d > 0.0f ? 1.0f : d < 0.0f ? -1.0f : d;
        args.gradient[at] = fmaf(scale, sign, fmaf(2.0f * a[k], out[1][k], fmaf(b[k], out[2][k], out[0][k])));
    }
}

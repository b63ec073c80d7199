// Errors and structural similarity of two pictures in f64, the same sums as src/metrics/pointwise.rs and src/metrics/ssim.rs take on the
// host but for their order. Pictures are interleaved RGB.
//
// Threads: `errors` a block for 4096 pixels; `similarity` a block for 16 x 16 values of the map of one channel, whose surroundings pass
// through shared memory once. Each block leaves its sums; the host adds them in order, so results repeat bit for bit.
// Floor: both pictures read once, 512 x 512 6 MB = 1.5 us; 60 f64 operations a tap and value.

#define PIXELS 4096
#define SIDE 16
#define MOST 5  // largest radius

struct Compare {
    const float *a, *b;
    double *partial;
    u32 width, height;
    u32 columns, lines;  // of the map
    u32 radius, border;  // border: 0 zeros, 1 left out, 2 reflected
    u32 clamp;           // variances not below 0
    u32 pad;
    double factor;       // of the variances
    double taps[2 * MOST + 1];
};

template <int COUNT>
__device__ __forceinline__ void leave(double *values, double *scratch, double *out) {
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
#pragma unroll
    for (int k = 0; k < COUNT; k++) {
#pragma unroll
        for (int step = 16; step > 0; step >>= 1) values[k] += __shfl_down_sync(FULL, values[k], step);
        if (lane == 0) scratch[warp * COUNT + k] = values[k];
    }
    __syncthreads();
    if (threadIdx.x < COUNT) {
        double sum = 0;
        for (int w = 0; w < warps; w++) sum += scratch[w * COUNT + threadIdx.x];
        out[threadIdx.x] = sum;
    }
}

// Sums of the squared differences of each channel, then of all absolute ones.
extern "C" __global__ void errors(const __grid_constant__ Compare c) {
    __shared__ double scratch[4 * 32];
    u64 first = (u64)blockIdx.x * PIXELS, last = min(first + PIXELS, (u64)c.width * c.height);
    double sum[4] = {0, 0, 0, 0};
    for (u64 i = first + threadIdx.x; i < last; i += blockDim.x)
#pragma unroll
        for (int k = 0; k < 3; k++) {
            double d = (double)c.a[3 * i + k] - (double)c.b[3 * i + k];
            sum[k] += d * d;
            sum[3] += fabs(d);
        }
    leave<4>(sum, scratch, c.partial + 4 * blockIdx.x);
}

__device__ __forceinline__ double value(const float *picture, const Compare &c, int x, int y, u32 channel) {
    int w = (int)c.width, h = (int)c.height;
    if (c.border == 2) {
        // the pixel at the border is not repeated
        if (x < 0) x = -x;
        if (y < 0) y = -y;
        if (x >= w) x = 2 * w - 2 - x;
        if (y >= h) y = 2 * h - 2 - y;
    }
    if (x < 0 || y < 0 || x >= w || y >= h) return 0.0;
    return (double)picture[3 * ((u64)y * w + x) + channel];
}

extern "C" __global__ void __launch_bounds__(SIDE * SIDE) similarity(const __grid_constant__ Compare c) {
    __shared__ double tiles[2][SIDE + 2 * MOST][SIDE + 2 * MOST];
    __shared__ double rows[5][SIDE + 2 * MOST][SIDE];
    u32 across = (c.columns + SIDE - 1) / SIDE, channel = blockIdx.y;
    int left = (int)(blockIdx.x % across * SIDE), top = (int)(blockIdx.x / across * SIDE);
    int r = (int)c.radius, side = SIDE + 2 * r, shift = c.border == 1 ? 0 : r;
    for (int i = threadIdx.x; i < side * side; i += SIDE * SIDE) {
        int x = i % side, y = i / side;
        tiles[0][y][x] = value(c.a, c, left + x - shift, top + y - shift, channel);
        tiles[1][y][x] = value(c.b, c, left + x - shift, top + y - shift, channel);
    }
    __syncthreads();
    for (int i = threadIdx.x; i < side * SIDE; i += SIDE * SIDE) {
        int x = i % SIDE, y = i / SIDE;
        double sum[5] = {0, 0, 0, 0, 0};
        for (int t = 0; t <= 2 * r; t++) {
            double a = tiles[0][y][x + t], b = tiles[1][y][x + t], w = c.taps[t];
            sum[0] += w * a;
            sum[1] += w * b;
            sum[2] += w * (a * a);
            sum[3] += w * (b * b);
            sum[4] += w * (a * b);
        }
        for (int k = 0; k < 5; k++) rows[k][y][x] = sum[k];
    }
    __syncthreads();
    int x = threadIdx.x % SIDE, y = threadIdx.x / SIDE;
    double m[5] = {0, 0, 0, 0, 0}, result[1] = {0};
    for (int t = 0; t <= 2 * r; t++)
        for (int k = 0; k < 5; k++) m[k] += c.taps[t] * rows[k][y + t][x];
    if (left + x < (int)c.columns && top + y < (int)c.lines) {
        double aa = (m[2] - m[0] * m[0]) * c.factor, bb = (m[3] - m[1] * m[1]) * c.factor, ab = (m[4] - m[0] * m[1]) * c.factor;
        if (c.clamp) { aa = fmax(aa, 0.0); bb = fmax(bb, 0.0); }
        result[0] = (2 * m[0] * m[1] + 1e-4) / (m[0] * m[0] + m[1] * m[1] + 1e-4) * ((2 * ab + 9e-4) / (aa + bb + 9e-4));
    }
    __syncthreads();
    leave<1>(result, &rows[0][0][0], c.partial + (u64)blockIdx.y * gridDim.x + blockIdx.x);
}

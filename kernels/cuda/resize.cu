// Pictures for networks: bilinear resizing and affine warps, as src/resize.rs does them on the host. A thread for each value of the
// result; floor 4 bytes written a value, and the picture read once.

struct Resize {
    const float *in;            // planes, or interleaved RGB pictures
    float *out;                 // planes
    const u32 *rows, *columns;  // two input positions of each output row and column
    const float *down, *across; // weight of the second
    u32 width, height, out_width, out_height;
    u64 planes;
    u32 interleaved;
    u32 pad;
};

extern "C" __global__ void resize(const __grid_constant__ Resize r) {
    u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x, size = (u64)r.out_width * r.out_height;
    if (i >= r.planes * size) return;
    u64 plane = i / size;
    u32 row = (u32)(i % size / r.out_width), column = (u32)(i % r.out_width);
    u32 step = r.interleaved ? 3 : 1;
    u64 pixels = (u64)r.width * r.height;
    const float *in = r.interleaved ? r.in + plane / 3 * 3 * pixels + plane % 3 : r.in + plane * pixels;
    u64 top = (u64)r.rows[2 * row] * r.width, bottom = (u64)r.rows[2 * row + 1] * r.width;
    u32 left = r.columns[2 * column], right = r.columns[2 * column + 1];
    float across = r.across[column];
    float a = in[step * (top + left)], b = in[step * (bottom + left)];
    float upper = a + (in[step * (top + right)] - a) * across, lower = b + (in[step * (bottom + right)] - b) * across;
    r.out[i] = upper + (lower - upper) * r.down[row];
}

struct Warp {
    const float *in;       // B interleaved RGB pictures
    float *out;            // B x 3 planes
    const double *maps;    // B x 2 x 3: picture from output
    u32 width, height, out_width, out_height;
    u32 pictures;
    u32 pad;
};

extern "C" __global__ void warp(const __grid_constant__ Warp w) {
    u32 column = blockIdx.x * blockDim.x + threadIdx.x, size = w.out_width * w.out_height, picture = blockIdx.y;
    if (column >= size) return;
    u32 row = column / w.out_width;
    column %= w.out_width;
    // in f64, as on the host: a thousand pixels leave f32 too few digits for the weights
    const double *m = w.maps + 6 * picture;
    double x = m[0] * column + m[1] * row + m[2], y = m[3] * column + m[4] * row + m[5];
    double left = floor(x), top = floor(y), across = x - left, down = y - top;
    const float *in = w.in + 3 * (u64)picture * w.width * w.height;
    float sum[3] = {0, 0, 0};
    for (int k = 0; k < 4; k++) {
        double px = left + (k & 1), py = top + (k >> 1);
        if (!(px >= 0 && px < w.width && py >= 0 && py < w.height)) continue;
        float weight = (float)((k & 1 ? across : 1 - across) * (k >> 1 ? down : 1 - down));
        const float *color = in + 3 * ((u64)py * w.width + (u64)px);
        for (int c = 0; c < 3; c++) sum[c] += weight * color[c];
    }
    for (int c = 0; c < 3; c++) w.out[((u64)picture * 3 + c) * size + (u64)row * w.out_width + column] = sum[c];
}

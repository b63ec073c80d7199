// Colours as 8-bit values, rounded: a thread for four of them, floor 5 bytes a value.

struct Pixels {
    const float *in;
    unsigned char *out;  // room for a multiple of four
    u64 count;
};

extern "C" __global__ void to_rgb8(const __grid_constant__ Pixels p) {
    u64 first = 4 * ((u64)blockIdx.x * blockDim.x + threadIdx.x);
    if (first >= p.count) return;
    unsigned char v[4] = {0, 0, 0, 0};
#pragma unroll
    for (int k = 0; k < 4; k++)
        // NaN becomes 0
        if (first + k < p.count) v[k] = (unsigned char)(fminf(fmaxf(p.in[first + k], 0.0f), 1.0f) * 255.0f + 0.5f);
    *(uchar4 *)(p.out + first) = make_uchar4(v[0], v[1], v[2], v[3]);
}

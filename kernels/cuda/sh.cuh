// Spherical harmonics of degree 1 to 4 and the gradient by the direction: the terms of src/raster/sh.rs.

#define SH0 0.2820948f
#if DEGREE > 0
#define BANDS ((DEGREE + 1) * (DEGREE + 1) - 1)
#else
#define BANDS 0
#endif
// rows in memory may have room for a higher degree than is used; what is beyond stays as it is and has no gradient
#ifndef STORED
#define STORED DEGREE
#endif
#if DEGREE > 0
#define REST (((STORED + 1) * (STORED + 1) - 1) * 3)
#else
#define REST 0
#endif
// words between rows in shared memory: odd, so that a column of rows lies in 32 banks
#define ROW (REST | 1)

#if DEGREE > 0
__device__ __forceinline__ void basis(Vec3 d, float *out) {
    const float l1 = 0.4886025f;
    float x = d.x, y = d.y, z = d.z;
    out[0] = -l1 * y; out[1] = l1 * z; out[2] = -l1 * x;
#if DEGREE > 1
    const float a2 = 1.0925484f, b2 = 0.31539157f, c2 = 0.5462742f;
    float xx = x * x, yy = y * y, zz = z * z;
    out[3] = a2 * x * y; out[4] = -a2 * y * z; out[5] = b2 * (2.0f * zz - xx - yy);
    out[6] = -a2 * x * z; out[7] = c2 * (xx - yy);
#endif
#if DEGREE > 2
    const float a3 = 0.5900436f, b3 = 2.8906114f, c3 = 0.4570458f, d3 = 0.37317634f, e3 = 1.4453057f;
    out[8] = -a3 * y * (3.0f * xx - yy);
    out[9] = b3 * x * y * z;
    out[10] = -c3 * y * (4.0f * zz - xx - yy);
    out[11] = d3 * z * (2.0f * zz - 3.0f * xx - 3.0f * yy);
    out[12] = -c3 * x * (4.0f * zz - xx - yy);
    out[13] = e3 * z * (xx - yy);
    out[14] = -a3 * x * (xx - 3.0f * yy);
#endif
#if DEGREE > 3
    const float a4 = 2.503343f, b4 = 1.7701308f, c4 = 0.9461747f, d4 = 0.66904654f, e4 = 0.10578555f, f4 = 0.47308735f,
                g4 = 0.62583574f;
    out[15] = a4 * x * y * (xx - yy);
    out[16] = -b4 * y * z * (3.0f * xx - yy);
    out[17] = c4 * x * y * (7.0f * zz - 1.0f);
    out[18] = -d4 * y * z * (7.0f * zz - 3.0f);
    out[19] = e4 * (zz * (35.0f * zz - 30.0f) + 3.0f);
    out[20] = -d4 * x * z * (7.0f * zz - 3.0f);
    out[21] = f4 * (xx - yy) * (7.0f * zz - 1.0f);
    out[22] = -b4 * x * z * (xx - 3.0f * yy);
    out[23] = g4 * (xx * (xx - 3.0f * yy) - yy * (3.0f * xx - yy));
#endif
}

// Gradient of sum v[k] basis[k] by the direction, the basis taken as polynomials.
__device__ __forceinline__ Vec3 direction_gradient(Vec3 d, const float *v) {
    const float l1 = 0.4886025f;
    float x = d.x, y = d.y, z = d.z;
    Vec3 g = vec(-l1 * v[2], -l1 * v[0], l1 * v[1]);
#if DEGREE > 1
    const float a2 = 1.0925484f, b2 = 0.31539157f, c2 = 0.5462742f;
    g.x += a2 * (v[3] * y - v[6] * z) - 2.0f * b2 * v[5] * x + 2.0f * c2 * v[7] * x;
    g.y += a2 * (v[3] * x - v[4] * z) - 2.0f * b2 * v[5] * y - 2.0f * c2 * v[7] * y;
    g.z += -a2 * (v[4] * y + v[6] * x) + 4.0f * b2 * v[5] * z;
#endif
#if DEGREE > 2
    const float a3 = 0.5900436f, b3 = 2.8906114f, c3 = 0.4570458f, d3 = 0.37317634f, e3 = 1.4453057f;
    float xx = x * x, yy = y * y, zz = z * z;
    g.x += -6.0f * a3 * v[8] * x * y + b3 * v[9] * y * z + 2.0f * c3 * v[10] * x * y - 6.0f * d3 * v[11] * x * z
         - c3 * v[12] * (4.0f * zz - 3.0f * xx - yy) + 2.0f * e3 * v[13] * x * z - 3.0f * a3 * v[14] * (xx - yy);
    g.y += -3.0f * a3 * v[8] * (xx - yy) + b3 * v[9] * x * z - c3 * v[10] * (4.0f * zz - xx - 3.0f * yy)
         - 6.0f * d3 * v[11] * y * z + 2.0f * c3 * v[12] * x * y - 2.0f * e3 * v[13] * y * z + 6.0f * a3 * v[14] * x * y;
    g.z += b3 * v[9] * x * y - 8.0f * c3 * v[10] * y * z + d3 * v[11] * (6.0f * zz - 3.0f * xx - 3.0f * yy)
         - 8.0f * c3 * v[12] * x * z + e3 * v[13] * (xx - yy);
#endif
#if DEGREE > 3
    const float a4 = 2.503343f, b4 = 1.7701308f, c4 = 0.9461747f, d4 = 0.66904654f, e4 = 0.10578555f, f4 = 0.47308735f,
                g4 = 0.62583574f;
    float h1 = 7.0f * zz - 1.0f, h3 = 7.0f * zz - 3.0f;
    g.x += a4 * v[15] * y * (3.0f * xx - yy) - 6.0f * b4 * v[16] * x * y * z + c4 * v[17] * y * h1 - d4 * v[20] * z * h3
         + 2.0f * f4 * v[21] * x * h1 - 3.0f * b4 * v[22] * z * (xx - yy) + 4.0f * g4 * v[23] * x * (xx - 3.0f * yy);
    g.y += a4 * v[15] * x * (xx - 3.0f * yy) - 3.0f * b4 * v[16] * z * (xx - yy) + c4 * v[17] * x * h1
         - d4 * v[18] * z * h3 - 2.0f * f4 * v[21] * y * h1 + 6.0f * b4 * v[22] * x * y * z
         + 4.0f * g4 * v[23] * y * (yy - 3.0f * xx);
    g.z += -b4 * v[16] * y * (3.0f * xx - yy) + 14.0f * c4 * v[17] * x * y * z - d4 * v[18] * y * (21.0f * zz - 3.0f)
         + e4 * v[19] * z * (140.0f * zz - 60.0f) - d4 * v[20] * x * (21.0f * zz - 3.0f)
         + 14.0f * f4 * v[21] * z * (xx - yy) - b4 * v[22] * x * (xx - 3.0f * yy);
#endif
    return g;
}

// Brings the coefficients of the block's splats to shared memory, rows of ROW words; the caller waits with `arrived`.
// `first` is the block's first row, `count` its rows; all threads come here.
__device__ __forceinline__ void fetch_rest(float *rows, const float *rest, u32 first, u32 count) {
    const float *from = rest + (size_t)first * REST;
    u32 words = count * REST;
    if (ROW == REST && ((size_t)from & 15) == 0) {
        for (u32 i = threadIdx.x; i < words / 4; i += blockDim.x) {
            u32 to = (u32)__cvta_generic_to_shared(rows + i * 4);
            asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from + i * 4));
        }
        for (u32 i = (words & ~3u) + threadIdx.x; i < words; i += blockDim.x) rows[i] = from[i];
    } else {
        for (u32 i = threadIdx.x; i < words; i += blockDim.x) {
            u32 to = (u32)__cvta_generic_to_shared(rows + i / REST * ROW + i % REST);
            asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(to), "l"(from + i));
        }
    }
}

__device__ __forceinline__ void arrived() {
    asm volatile("cp.async.wait_all;" ::: "memory");
    __syncthreads();
}
#endif

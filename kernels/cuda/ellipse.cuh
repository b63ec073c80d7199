// From a splat to its ellipse on the screen: src/raster/projection.rs, step by step and under the same names.

struct Shape {
    Vec3 axes[3];  // rows of A: axes times scales, or the Cholesky factor
    Vec3 scale;
    float turn[9];  // rotation matrix, rows; unused for covariances
    float quaternion[4];  // as the rules use it
    float length;         // of the stored quaternion
    bool valid;
};

struct Ellipse {
    Vec3 t, offset;
    float slope[2];
    bool free[2];
    Vec3 screen_from_world[2], screen_axes[2];
    float xx, xy, yy, sharp_determinant, determinant;
    float opacity;  // after the antialiasing factor
    bool valid;
};

__device__ __forceinline__ float opacity_from_logit(float logit) { return 1.0f / (1.0f + expf(-logit)); }

#if COVARIANCE
__device__ __forceinline__ Shape load_shape(const Scene &scene, const Rules &rules, u32 row) {
    Shape s;
    float v[6];
    s.valid = true;
    for (int k = 0; k < 6; k++) {
        v[k] = scene.shape[(size_t)row * 6 + k];
        s.valid &= finite(v[k]);
    }
    double a = sqrt(fmax((double)v[0], 0.0));
    double b = a > 0.0 ? v[1] / a : 0.0, c = a > 0.0 ? v[2] / a : 0.0;
    double d = sqrt(fmax((double)v[3] - b * b, 0.0));
    double e = d > 0.0 ? (v[4] - b * c) / d : 0.0;
    double f = sqrt(fmax((double)v[5] - c * c - e * e, 0.0));
    s.axes[0] = vec((float)a, 0.0f, 0.0f);
    s.axes[1] = vec((float)b, (float)d, 0.0f);
    s.axes[2] = vec((float)c, (float)e, (float)f);
    s.scale = vec(1.0f, 1.0f, 1.0f);
    return s;
}
#else
__device__ __forceinline__ Shape load_shape(const Scene &scene, const Rules &rules, u32 row) {
    Shape s;
    float4 q = ((const float4 *)scene.shape)[row];
    Vec3 logs = load3(scene.scales + (size_t)row * 3);
    float squared = q.x * q.x + q.y * q.y + q.z * q.z + q.w * q.w;
    s.valid = true;
    s.length = sqrtf(squared);
    if (!rules.normalize) {
        s.valid = finite(squared);
    } else if (squared >= 1e-30f && squared < 1e30f) {
        float inverse = 1.0f / s.length;
        q.x *= inverse; q.y *= inverse; q.z *= inverse; q.w *= inverse;
    } else {
        // squares that vanish or overflow
        float largest = fmaxf(fmaxf(fabsf(q.x), fabsf(q.y)), fmaxf(fabsf(q.z), fabsf(q.w)));
        s.valid = finite(q.x) && finite(q.y) && finite(q.z) && finite(q.w);
        if (largest == 0.0f) {
            q.x = 1.0f; q.y = q.z = q.w = 0.0f;
        } else {
            q.x /= largest; q.y /= largest; q.z /= largest; q.w /= largest;
            float inverse = 1.0f / sqrtf(q.x * q.x + q.y * q.y + q.z * q.z + q.w * q.w);
            q.x *= inverse; q.y *= inverse; q.z *= inverse; q.w *= inverse;
        }
    }
    float w = q.x, x = q.y, y = q.z, z = q.w;
    s.quaternion[0] = w; s.quaternion[1] = x; s.quaternion[2] = y; s.quaternion[3] = z;
    s.turn[0] = 1.0f - 2.0f * (y * y + z * z); s.turn[1] = 2.0f * (x * y - w * z); s.turn[2] = 2.0f * (x * z + w * y);
    s.turn[3] = 2.0f * (x * y + w * z); s.turn[4] = 1.0f - 2.0f * (x * x + z * z); s.turn[5] = 2.0f * (y * z - w * x);
    s.turn[6] = 2.0f * (x * z - w * y); s.turn[7] = 2.0f * (y * z + w * x); s.turn[8] = 1.0f - 2.0f * (x * x + y * y);
    s.scale = vec(expf(logs.x), expf(logs.y), rules.model == 2 ? 0.0f : expf(logs.z));
    for (int r = 0; r < 3; r++)
        s.axes[r] = vec(s.turn[r * 3] * s.scale.x, s.turn[r * 3 + 1] * s.scale.y, s.turn[r * 3 + 2] * s.scale.z);
    return s;
}

// Order of floats in which NaN has a place, as f32::total_cmp.
__device__ __forceinline__ int total(float v) {
    int bits = __float_as_int(v);
    return bits ^ ((u32)(bits >> 31) >> 1);
}

// Number of the shortest axis: the last of equals.
__device__ __forceinline__ int shortest_axis(const Scene &scene, const Rules &rules, u32 row) {
    if (rules.model == 2) return 2;
    const float *s = scene.scales + (size_t)row * 3;
    int best = 2;
    if (total(s[1]) < total(s[best])) best = 1;
    if (total(s[0]) < total(s[best])) best = 0;
    return best;
}
#endif

__device__ __forceinline__ Vec3 row_of(const float *m, int r) { return vec(m[r * 3], m[r * 3 + 1], m[r * 3 + 2]); }

__device__ __forceinline__ Ellipse ellipse_of(
    const Picture &picture, const Rules &rules, Vec3 mean, float opacity, const Shape &shape) {
    Ellipse e;
    e.offset = mean - vec(picture.center[0], picture.center[1], picture.center[2]);
    Vec3 front = row_of(picture.rotation, 2);
    e.screen_from_world[0] = row_of(picture.rotation, 0);
    e.screen_from_world[1] = row_of(picture.rotation, 1);
    e.t = vec(dot(e.screen_from_world[0], e.offset), dot(e.screen_from_world[1], e.offset), dot(front, e.offset));
    // written so that NaN fails every test
    e.valid = shape.valid && finite(e.t.x) && finite(e.t.y) && e.t.z >= rules.near && e.t.z <= rules.far;
    float inverse_depth = 1.0f / e.t.z;
    for (int k = 0; k < 2; k++) {
        float along = picture.focal[k];
        e.slope[k] = 0.0f;
        e.free[k] = true;
        if (!picture.orthographic) {
            float raw = (k ? e.t.y : e.t.x) * inverse_depth;
            e.slope[k] = fmaxf(fminf(raw, picture.slopes[k * 2 + 1]), picture.slopes[k * 2]);
            e.free[k] = e.slope[k] == raw;
            e.screen_from_world[k] = e.screen_from_world[k] + front * -e.slope[k];
            along *= inverse_depth;
        }
        Vec3 m = e.screen_from_world[k] * along;
        e.screen_from_world[k] = m;
        e.screen_axes[k] = vec(m.x * shape.axes[0].x + m.y * shape.axes[1].x + m.z * shape.axes[2].x,
                               m.x * shape.axes[0].y + m.y * shape.axes[1].y + m.z * shape.axes[2].y,
                               m.x * shape.axes[0].z + m.y * shape.axes[1].z + m.z * shape.axes[2].z);
    }
    // det(P P^T) = |p0 x p1|^2 keeps needles and discs exact where xx yy - xy^2 would cancel
    Vec3 area = cross(e.screen_axes[0], e.screen_axes[1]);
    e.sharp_determinant = dot(area, area);
    float sharp_xx = dot(e.screen_axes[0], e.screen_axes[0]), sharp_yy = dot(e.screen_axes[1], e.screen_axes[1]);
    e.xx = sharp_xx + rules.dilation;
    e.xy = dot(e.screen_axes[0], e.screen_axes[1]);
    e.yy = sharp_yy + rules.dilation;
    e.determinant = e.sharp_determinant + rules.dilation * (sharp_xx + sharp_yy + rules.dilation);
    e.valid = e.valid && e.determinant > 0.0f && finite(e.determinant);
    e.opacity = rules.model == 1 ? opacity * sqrtf(e.sharp_determinant / e.determinant) : opacity;
    return e;
}

__device__ __forceinline__ Vec3 direction_of(const Picture &picture, Vec3 offset, float &length) {
    if (picture.orthographic) {
        length = 1.0f;
        return row_of(picture.rotation, 2);
    }
    length = sqrtf(dot(offset, offset));
    return offset * (1.0f / length);
}

// First and last pixel that the footprint allows along one axis; false when it misses the image.
__device__ __forceinline__ bool pixel_range(float center, float radius, u32 size, int footprint, u32 &first, u32 &last) {
    double low, high, p = center, r = radius;
    if (size == 0) return false;
    first = 0;
    last = size - 1;
    if (footprint == 0) return true;
    if (footprint == 1) {
        low = p - r;
        high = p + r;
    } else {
        double tiles = (double)((size + 15) / 16);
        p -= 0.5;
        double a = trunc((p - r) / 16.0), b = trunc((p + r + 15.0) / 16.0);
        a = a < 0.0 ? 0.0 : a > tiles ? tiles : a;
        b = b < 0.0 ? 0.0 : b > tiles ? tiles : b;
        if (a >= b) return false;
        low = a * 16.0;
        high = b * 16.0 - 1.0;
    }
    if (!(high >= 0.0 && low < (double)size)) return false;
    first = (u32)fmax(low, 0.0);
    last = (u32)fmin(high, (double)last);
    return true;
}

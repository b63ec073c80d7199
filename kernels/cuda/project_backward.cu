// From what each record received to the gradients of the splats: src/raster/projection_backward.rs.
//
// Mapping: one thread per splat, blocks of 128, blockIdx.y is the group: a scene with the pictures whose gradients are
// added up. A thread walks over its pictures and writes each gradient once, so nothing is filled with zeros before. SH
// coefficients come, and their gradients go, through shared memory, 16 bytes a thread.
// Floor: 236 bytes read, 36 received, 236 written per splat (SH degree 3, one picture): 150 k splats 18 us at 4.3 TB/s.
// Measured (H200, 150 k splats, SH degree 3): 29 us, 7.5 a view of 32.
//
// SELECT: only rows with a flag; what is written to other rows (nothing, or zeros) means nothing. A block of 128 splats
// without a flag costs one load, so neighbours in memory should be neighbours on the mesh.

struct Group {
    u32 splats, count;    // rows of the scene
    u32 out;              // first row of the gradients
    u32 first, pictures;  // its pictures in `members`
};

struct ProjectBackwardArgs {
    Scene scene;
    const Picture *pictures;
    const Group *groups;
    const u32 *members;
    Rules rules;
    const float4 *records;
    const float *sums, *extras;
    // gradients, laid out as the scene's arrays
    float *means, *shape, *scales, *logits, *color, *rest;
    float *centers;   // 2 per record; null when not wanted
    double *cameras;  // 12 per picture, zero before; used when CAMERA
    const u32 *flags; // per splat, 0 or 1; used when SELECT
};
static_assert(sizeof(ProjectBackwardArgs) == 208, "the size in layout.rs");

#if SINGLE
#define ACCUMULATE(to, value) to = value
#else
#define ACCUMULATE(to, value) to += value
#endif

extern "C" __global__ void __launch_bounds__(128) project_backward(const ProjectBackwardArgs args) {
    const Group group = args.groups[blockIdx.y];
    const Rules &rules = args.rules;
    u32 first = blockIdx.x * 128;
    if (first >= group.count) return;
    u32 here = min(128u, group.count - first);
    bool inside = threadIdx.x < here;
#if SELECT
    inside = inside && args.flags[group.splats + first + threadIdx.x];
    if (!__syncthreads_or(inside)) return;
#endif
#if DEGREE > 0
    __shared__ __align__(16) float rows[128 * ROW];
    fetch_rest(rows, args.scene.rest, group.splats + first, here);
#endif
    u32 local = first + (inside ? threadIdx.x : 0);
    u32 row = group.splats + local;
    size_t out = (size_t)group.out + local;

    Vec3 mean = load3(args.scene.means + (size_t)row * 3);
    float opacity = opacity_from_logit(args.scene.logits[row]);
    Shape shape = load_shape(args.scene, rules, row);
#if CHANNELS == 7 && !COVARIANCE
    int axis = shortest_axis(args.scene, rules, row);
    Vec3 normal_axis = axis == 0   ? vec(shape.turn[0], shape.turn[3], shape.turn[6])
                       : axis == 1 ? vec(shape.turn[1], shape.turn[4], shape.turn[7])
                                   : vec(shape.turn[2], shape.turn[5], shape.turn[8]);
    Vec3 d_axis = vec(0.0f, 0.0f, 0.0f);
#endif
    Vec3 d_mean = vec(0.0f, 0.0f, 0.0f), d_color = d_mean;
    float d_logit = 0.0f;
#if COVARIANCE
    float d_shape[6] = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
#else
    Vec3 d_axes[3] = {d_mean, d_mean, d_mean};
#endif
#if DEGREE > 0
    const float *mine = rows + threadIdx.x * ROW;
#if !SINGLE
    float d_rest[REST];
#pragma unroll
    for (int k = 0; k < REST; k++) d_rest[k] = 0.0f;
#endif
    if (group.pictures == 0) arrived();
#endif
    bool lit = false;

    for (u32 member = 0; member < group.pictures; member++) {
        u32 number = args.members[group.first + member];
        const Picture &picture = args.pictures[number];
        size_t record = (size_t)picture.records + local;
        float4 r1 = args.records[record * 3 + 1], r2 = args.records[record * 3 + 2];
        float4 sa = ((const float4 *)args.sums)[record * 2], sb = ((const float4 *)args.sums)[record * 2 + 1];
        float extra[CHANNELS - 2];
#pragma unroll
        for (int k = 0; k < CHANNELS - 2; k++) extra[k] = args.extras[record * (CHANNELS - 2) + k];
#if DEGREE > 0
        // everything that comes from memory is on its way by now
        if (member == 0) arrived();
#endif
        bool drawn = inside && seen(__float_as_uint(r2.y));
        Vec3 d_w[3] = {vec(0.0f, 0.0f, 0.0f), vec(0.0f, 0.0f, 0.0f), vec(0.0f, 0.0f, 0.0f)};
        Vec3 d_t = d_w[0], d_offset = d_w[0];
        float center_x = 0.0f, center_y = 0.0f;
        if (drawn) {
            lit = true;
            Ellipse e = ellipse_of(picture, rules, mean, opacity, shape);
            float s0 = sa.x, sx = sa.y, sy = sa.z, sxx = sa.w, sxy = sb.x, syy = sb.y;
            // h sums to the gradient of ln o
            d_logit += s0 * (1.0f - opacity);
            // inverse covariance K; d power / d centre = K (dx, dy)
            float inverse = 1.0f / e.determinant;
            float ka = e.yy * inverse, kb = -e.xy * inverse, kc = e.xx * inverse;
            center_x = ka * sx + kb * sy;
            center_y = kb * sx + kc * sy;
            // d covariance = 1/2 K (sum h d d^T) K
            float ga = 0.5f * sxx, gb = 0.5f * sxy, gc = 0.5f * syy;
            float pa = ka * ga + kb * gb, pb = ka * gb + kb * gc, qa = kb * ga + kc * gb, qb = kb * gb + kc * gc;
            float d_xx = pa * ka + pb * kb, d_xy = (pa * kb + pb * kc) + (qa * ka + qb * kb), d_yy = qa * kb + qb * kc;
            // an ellipse seen edge on has no area to differentiate
            if (rules.model == 1 && e.sharp_determinant > 1.17549435e-38f) {
                float sharp = 1.0f / e.sharp_determinant;
                d_xx += 0.5f * s0 * ((e.yy - rules.dilation) * sharp - e.yy * inverse);
                d_yy += 0.5f * s0 * ((e.xx - rules.dilation) * sharp - e.xx * inverse);
                d_xy += s0 * e.xy * (inverse - sharp);
            }
            Vec3 p0 = e.screen_axes[0], p1 = e.screen_axes[1];
            Vec3 d_p0 = p0 * (2.0f * d_xx) + p1 * d_xy, d_p1 = p1 * (2.0f * d_yy) + p0 * d_xy;
            Vec3 m0 = e.screen_from_world[0], m1 = e.screen_from_world[1];
            Vec3 d_m[2] = {vec(dot(shape.axes[0], d_p0), dot(shape.axes[1], d_p0), dot(shape.axes[2], d_p0)),
                           vec(dot(shape.axes[0], d_p1), dot(shape.axes[1], d_p1), dot(shape.axes[2], d_p1))};
#if COVARIANCE
            d_shape[0] += d_xx * m0.x * m0.x + d_xy * m0.x * m1.x + d_yy * m1.x * m1.x;
            d_shape[1] += 2.0f * d_xx * m0.x * m0.y + d_xy * (m0.x * m1.y + m1.x * m0.y) + 2.0f * d_yy * m1.x * m1.y;
            d_shape[2] += 2.0f * d_xx * m0.x * m0.z + d_xy * (m0.x * m1.z + m1.x * m0.z) + 2.0f * d_yy * m1.x * m1.z;
            d_shape[3] += d_xx * m0.y * m0.y + d_xy * m0.y * m1.y + d_yy * m1.y * m1.y;
            d_shape[4] += 2.0f * d_xx * m0.y * m0.z + d_xy * (m0.y * m1.z + m1.y * m0.z) + 2.0f * d_yy * m1.y * m1.z;
            d_shape[5] += d_xx * m0.z * m0.z + d_xy * m0.z * m1.z + d_yy * m1.z * m1.z;
#else
            d_axes[0] = d_axes[0] + d_p0 * m0.x + d_p1 * m1.x;
            d_axes[1] = d_axes[1] + d_p0 * m0.y + d_p1 * m1.y;
            d_axes[2] = d_axes[2] + d_p0 * m0.z + d_p1 * m1.z;
#if CHANNELS == 7
            {
                Vec3 d_normal = vec(extra[2], extra[3], extra[4]);
                Vec3 w0 = row_of(picture.rotation, 0), w1 = row_of(picture.rotation, 1), w2 = row_of(picture.rotation, 2);
                Vec3 n = vec(dot(w0, normal_axis), dot(w1, normal_axis), dot(w2, normal_axis));
                float facing = picture.orthographic ? n.z : dot(n, e.t);
                d_normal = d_normal * (facing > 0.0f ? -1.0f : 1.0f);
                d_axis = d_axis + w0 * d_normal.x + w1 * d_normal.y + w2 * d_normal.z;
                d_w[0] = d_w[0] + normal_axis * d_normal.x;
                d_w[1] = d_w[1] + normal_axis * d_normal.y;
                d_w[2] = d_w[2] + normal_axis * d_normal.z;
            }
#endif
#endif
            // position in camera coordinates, through centre and Jacobian
            if (picture.orthographic) {
                d_t.x = picture.focal[0] * center_x;
                d_t.y = picture.focal[1] * center_y;
                d_w[0] = d_w[0] + d_m[0] * picture.focal[0];
                d_w[1] = d_w[1] + d_m[1] * picture.focal[1];
            } else {
                float inverse_depth = 1.0f / e.t.z;
                Vec3 front = row_of(picture.rotation, 2);
#pragma unroll
                for (int k = 0; k < 2; k++) {
                    float along = picture.focal[k] * inverse_depth, center = k ? center_y : center_x;
                    float tk = k ? e.t.y : e.t.x, d_tk = along * center;
                    d_t.z -= along * tk * inverse_depth * center;
                    // M = f/z (W_k - slope W_z)
                    d_t.z -= dot(e.screen_from_world[k], d_m[k]) * inverse_depth;
                    float d_slope = -along * dot(front, d_m[k]);
                    if (e.free[k]) {
                        d_tk += d_slope * inverse_depth;
                        d_t.z -= d_slope * e.slope[k] * inverse_depth;
                    }
                    if (k) d_t.y = d_tk;
                    else d_t.x = d_tk;
                    d_w[k] = d_w[k] + d_m[k] * along;
                    d_w[2] = d_w[2] + d_m[k] * (-along * e.slope[k]);
                }
            }
#if CHANNELS >= 4
            d_t.z += extra[1];
#endif
            Vec3 g = vec(sb.z, sb.w, extra[0]);
#if DEGREE < 0
            d_color = d_color + g;
#else
            // cut at zero
            if (r1.z <= 0.0f) g.x = 0.0f;
            if (r1.w <= 0.0f) g.y = 0.0f;
            if (r2.x <= 0.0f) g.z = 0.0f;
            d_color = d_color + g * SH0;
#endif
#if DEGREE > 0
            float length, b[BANDS], v[BANDS];
            Vec3 direction = direction_of(picture, e.offset, length);
            basis(direction, b);
#pragma unroll
            for (int k = 0; k < BANDS; k++) {
                v[k] = mine[k * 3] * g.x + mine[k * 3 + 1] * g.y + mine[k * 3 + 2] * g.z;
#if SINGLE
                rows[threadIdx.x * ROW + k * 3] = b[k] * g.x;
                rows[threadIdx.x * ROW + k * 3 + 1] = b[k] * g.y;
                rows[threadIdx.x * ROW + k * 3 + 2] = b[k] * g.z;
#else
                d_rest[k * 3] += b[k] * g.x;
                d_rest[k * 3 + 1] += b[k] * g.y;
                d_rest[k * 3 + 2] += b[k] * g.z;
#endif
            }
            Vec3 d_direction = direction_gradient(direction, v);
            // the direction has unit length
            Vec3 across = d_direction + direction * -dot(direction, d_direction);
            if (picture.orthographic) d_w[2] = d_w[2] + across;
            else d_offset = across * (1.0f / length);
#endif
            Vec3 w0 = row_of(picture.rotation, 0), w1 = row_of(picture.rotation, 1), w2 = row_of(picture.rotation, 2);
            d_mean = d_mean + d_offset + w0 * d_t.x + w1 * d_t.y + w2 * d_t.z;
        }
        if (args.centers && inside) {
            args.centers[record * 2] = center_x;
            args.centers[record * 2 + 1] = center_y;
        }
#if CAMERA
        // t = W mean + tau, and the view direction is along mean - c with c = -W^-1 tau
        const float *inverse = picture.world_from_camera;
        for (int r = 0; r < 3; r++) {
            float through = inverse[r] * d_offset.x + inverse[3 + r] * d_offset.y + inverse[6 + r] * d_offset.z;
            float d_tr = r == 0 ? d_t.x : r == 1 ? d_t.y : d_t.z;
            float entries[4];
            entries[0] = d_w[r].x + d_tr * mean.x + through * picture.center[0];
            entries[1] = d_w[r].y + d_tr * mean.y + through * picture.center[1];
            entries[2] = d_w[r].z + d_tr * mean.z + through * picture.center[2];
            entries[3] = d_tr + through;
            for (int c = 0; c < 4; c++) {
                double sum = drawn ? entries[c] : 0.0f;
                for (int d = 16; d; d >>= 1) sum += __shfl_xor_sync(FULL, sum, d);
                if ((threadIdx.x & 31) == 0) atomicAdd(&args.cameras[(size_t)number * 12 + r * 4 + c], sum);
            }
        }
#endif
    }

    if (inside) {
        args.means[out * 3] = d_mean.x;
        args.means[out * 3 + 1] = d_mean.y;
        args.means[out * 3 + 2] = d_mean.z;
        args.logits[out] = d_logit;
        args.color[out * 3] = d_color.x;
        args.color[out * 3 + 1] = d_color.y;
        args.color[out * 3 + 2] = d_color.z;
#if COVARIANCE
        for (int k = 0; k < 6; k++) args.shape[out * 6 + k] = d_shape[k];
#else
        Vec3 a0 = shape.axes[0], a1 = shape.axes[1], a2 = shape.axes[2];
        // what was never drawn may have scales that are not finite
        bool known = lit;
        args.scales[out * 3] = known ? d_axes[0].x * a0.x + d_axes[1].x * a1.x + d_axes[2].x * a2.x : 0.0f;
        args.scales[out * 3 + 1] = known ? d_axes[0].y * a0.y + d_axes[1].y * a1.y + d_axes[2].y * a2.y : 0.0f;
        args.scales[out * 3 + 2] = known ? d_axes[0].z * a0.z + d_axes[1].z * a1.z + d_axes[2].z * a2.z : 0.0f;
        float d[3][3];
#pragma unroll
        for (int r = 0; r < 3; r++) {
            d[r][0] = d_axes[r].x * shape.scale.x;
            d[r][1] = d_axes[r].y * shape.scale.y;
            d[r][2] = d_axes[r].z * shape.scale.z;
        }
#if CHANNELS == 7
        d[0][0] += axis == 0 ? d_axis.x : 0.0f; d[1][0] += axis == 0 ? d_axis.y : 0.0f; d[2][0] += axis == 0 ? d_axis.z : 0.0f;
        d[0][1] += axis == 1 ? d_axis.x : 0.0f; d[1][1] += axis == 1 ? d_axis.y : 0.0f; d[2][1] += axis == 1 ? d_axis.z : 0.0f;
        d[0][2] += axis == 2 ? d_axis.x : 0.0f; d[1][2] += axis == 2 ? d_axis.y : 0.0f; d[2][2] += axis == 2 ? d_axis.z : 0.0f;
#endif
        float w = shape.quaternion[0], x = shape.quaternion[1], y = shape.quaternion[2], z = shape.quaternion[3];
        float q[4];
        q[0] = 2.0f * (z * (d[1][0] - d[0][1]) + y * (d[0][2] - d[2][0]) + x * (d[2][1] - d[1][2]));
        q[1] = 2.0f * (y * (d[0][1] + d[1][0]) + z * (d[0][2] + d[2][0]) + w * (d[2][1] - d[1][2]) - 2.0f * x * (d[1][1] + d[2][2]));
        q[2] = 2.0f * (x * (d[0][1] + d[1][0]) + z * (d[1][2] + d[2][1]) + w * (d[0][2] - d[2][0]) - 2.0f * y * (d[0][0] + d[2][2]));
        q[3] = 2.0f * (x * (d[0][2] + d[2][0]) + y * (d[1][2] + d[2][1]) + w * (d[1][0] - d[0][1]) - 2.0f * z * (d[0][0] + d[1][1]));
        if (rules.normalize) {
            float radial = w * q[0] + x * q[1] + y * q[2] + z * q[3];
            float over = shape.length > 0.0f ? 1.0f / shape.length : 0.0f;
            q[0] = (q[0] - w * radial) * over;
            q[1] = (q[1] - x * radial) * over;
            q[2] = (q[2] - y * radial) * over;
            q[3] = (q[3] - z * radial) * over;
        }
        if (!known) q[0] = q[1] = q[2] = q[3] = 0.0f;
        ((float4 *)args.shape)[out] = make_float4(q[0], q[1], q[2], q[3]);
#endif
    }
#if DEGREE > 0
#if SINGLE
    if (!lit)
        for (int k = 0; k < REST; k++) rows[threadIdx.x * ROW + k] = 0.0f;
#else
#pragma unroll
    for (int k = 0; k < REST; k++) rows[threadIdx.x * ROW + k] = d_rest[k];
#endif
    __syncthreads();
    float *to = args.rest + ((size_t)group.out + first) * REST;
    u32 words = here * REST;
    if (ROW == REST && ((size_t)to & 15) == 0) {
        for (u32 i = threadIdx.x; i < words / 4; i += 128) ((float4 *)to)[i] = ((const float4 *)rows)[i];
        for (u32 i = (words & ~3u) + threadIdx.x; i < words; i += 128) to[i] = rows[i];
    } else {
        for (u32 i = threadIdx.x; i < words; i += 128) to[i] = rows[i / REST * ROW + i % REST];
    }
#endif
}

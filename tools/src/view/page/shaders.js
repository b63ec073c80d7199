// The programs of the graphics card. They follow kernels/src/raster.rs step by step, in the same order of operations and in
// f32, so that the pictures agree.

// A triangle that covers the picture.
export const whole = `#version 300 es
void main() {
  gl_Position = vec4(vec2(gl_VertexID & 1, gl_VertexID >> 1) * 4.0 - 1.0, 0.0, 1.0);
}`;

// Places every splat on the screen once: one pixel of three pictures is one splat, in the order of drawing. Floats travel as
// their bits, since every graphics card can draw integers.
export const place = `#version 300 es
precision highp float;
precision highp sampler2D;
precision highp usampler2D;
precision highp int;

uniform usampler2D order;
uniform int count;
uniform sampler2D means, rotations, scales, colors, harmonics;
uniform mat3 camera_from_avatar;   // rows as columns: see renderer.js
uniform vec3 camera_center;
uniform vec2 focal, principal, size;
uniform vec4 slopes;               // x low, x high, y low, y high
uniform float near, splat_scale;
uniform int degree;
uniform bool antialiased, surfel, points;

// centre (pixels, y down), half of the long axis of the quad (pixels)
layout(location = 0) out uvec4 placed_bits;
// log2 of alpha = shape.w + x² shape.x + x y shape.y + y² shape.z
layout(location = 1) out uvec4 shape_bits;
// half of the short axis; half width of the square that the footprint allows; colour as three 16-bit floats
layout(location = 2) out uvec4 paint_bits;

const float ALPHA_MIN = 1.0 / 255.0;
const float DILATION = 0.3;
const float LOG2_E = 1.4426950408889634;

vec4 texel(sampler2D columns, uint index) {
  uint width = uint(textureSize(columns, 0).x);
  return texelFetch(columns, ivec2(index % width, index / width), 0);
}

vec3 coefficient(uint k) { return texel(harmonics, k).rgb; }

// spec/conventions.md, section 3
vec3 harmonic(uint splat, vec3 d) {
  uint k = splat * uint((degree + 1) * (degree + 1) - 1);
  float x = d.x, y = d.y, z = d.z;
  vec3 sum = 0.4886025119029199 * (-y * coefficient(k) + z * coefficient(k + 1u) - x * coefficient(k + 2u));
  if (degree < 2) return sum;
  float xx = x * x, yy = y * y, zz = z * z;
  sum += 1.0925484305920792 * (x * y * coefficient(k + 3u) - y * z * coefficient(k + 4u) - x * z * coefficient(k + 6u));
  sum += 0.31539156525252005 * (2.0 * zz - xx - yy) * coefficient(k + 5u);
  sum += 0.5462742152960396 * (xx - yy) * coefficient(k + 7u);
  if (degree < 3) return sum;
  sum -= 0.5900435899266435 * (y * (3.0 * xx - yy) * coefficient(k + 8u) + x * (xx - 3.0 * yy) * coefficient(k + 14u));
  sum += 2.890611442640554 * x * y * z * coefficient(k + 9u);
  sum -= 0.4570457994644658 * (4.0 * zz - xx - yy) * (y * coefficient(k + 10u) + x * coefficient(k + 12u));
  sum += 0.3731763325901154 * z * (2.0 * zz - 3.0 * xx - 3.0 * yy) * coefficient(k + 11u);
  sum += 1.445305721320277 * z * (xx - yy) * coefficient(k + 13u);
  if (degree < 4) return sum;
  sum += 2.5033429417967047 * x * y * (xx - yy) * coefficient(k + 15u);
  sum -= 1.7701307697799305 * z * (y * (3.0 * xx - yy) * coefficient(k + 16u) + x * (xx - 3.0 * yy) * coefficient(k + 22u));
  sum += 0.9461746957575601 * x * y * (7.0 * zz - 1.0) * coefficient(k + 17u);
  sum -= 0.6690465435572892 * z * (7.0 * zz - 3.0) * (y * coefficient(k + 18u) + x * coefficient(k + 20u));
  sum += 0.10578554691520431 * (zz * (35.0 * zz - 30.0) + 3.0) * coefficient(k + 19u);
  sum += 0.47308734787878004 * (xx - yy) * (7.0 * zz - 1.0) * coefficient(k + 21u);
  sum += 0.6258357354491761 * (xx * (xx - 3.0 * yy) - yy * (3.0 * xx - yy)) * coefficient(k + 23u);
  return sum;
}

struct Placed {
  vec4 place, shape;
  vec3 rgb;
  float across, reach;
};

// What is drawn of a splat; false when it cannot be seen.
bool draw(uint splat, out Placed drawn) {
  vec4 color = texel(colors, splat);
  vec3 offset = texel(means, splat).xyz - camera_center;
  vec3 right = camera_from_avatar[0], down = camera_from_avatar[1], front = camera_from_avatar[2];
  vec3 t = vec3(dot(right, offset), dot(down, offset), dot(front, offset));
  if (!(t.z >= near)) return false;

  float inverse_depth = 1.0 / t.z;
  vec2 raw = t.xy * inverse_depth;
  vec2 center = focal * raw + principal;
  drawn.rgb = color.rgb;
  if (degree > 0) drawn.rgb += harmonic(splat, normalize(offset));

  if (points) {
    // a disc of constant size that hides what is behind it, with a rim of one pixel
    float radius = 1.25 * splat_scale;
    drawn.place = vec4(center, radius + 1.0, 0.0);
    drawn.shape = vec4(-1.0, 0.0, -1.0, radius);
    drawn.across = radius + 1.0;
    drawn.reach = 1e6;
    return color.a >= 0.05;
  }
  vec2 slope = clamp(raw, slopes.xz, slopes.yw);
  vec3 across = (right - slope.x * front) * (focal.x * inverse_depth);
  vec3 along = (down - slope.y * front) * (focal.y * inverse_depth);
  vec4 q = texel(rotations, splat);
  vec3 s = texel(scales, splat).xyz * splat_scale;
  if (surfel) s.z = 0.0;
  float w = q.x, x = q.y, y = q.z, z = q.w;
  mat3 axes = mat3(
    vec3(1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y + w * z), 2.0 * (x * z - w * y)) * s.x,
    vec3(2.0 * (x * y - w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z + w * x)) * s.y,
    vec3(2.0 * (x * z + w * y), 2.0 * (y * z - w * x), 1.0 - 2.0 * (x * x + y * y)) * s.z);
  vec3 a = across * axes, b = along * axes;
  // the determinant from a cross product: exact for needles, where xx·yy − xy² would cancel
  vec3 area = cross(a, b);
  float sharp_determinant = dot(area, area);
  float sharp_xx = dot(a, a), sharp_yy = dot(b, b), xy = dot(a, b);
  float xx = sharp_xx + DILATION, yy = sharp_yy + DILATION;
  float determinant = sharp_determinant + DILATION * (sharp_xx + sharp_yy + DILATION);
  if (!(determinant > 0.0)) return false;
  float opacity = antialiased ? color.a * sqrt(sharp_determinant / determinant) : color.a;
  if (!(opacity >= ALPHA_MIN)) return false;

  float middle = 0.5 * (xx + yy);
  drawn.reach = ceil(3.0 * sqrt(middle + sqrt(max(middle * middle - determinant, 0.1))));
  // the quad: the ellipse on which alpha is ALPHA_MIN, along its axes
  float level = 2.0 * log(opacity / ALPHA_MIN);
  float spread = length(vec2(0.5 * (xx - yy), xy));
  float longest = middle + spread, shortest = determinant / longest;
  vec2 direction = xx >= yy ? vec2(0.5 * (xx - yy) + spread, xy) : vec2(xy, 0.5 * (yy - xx) + spread);
  float strength = length(direction);
  direction = strength > 0.0 ? direction / strength : vec2(1.0, 0.0);
  // a hundredth of a pixel against rounding
  drawn.place = vec4(center, direction * (sqrt(level * longest) + 0.01));
  drawn.across = sqrt(level * shortest) + 0.01;
  float factor = -0.5 * LOG2_E / determinant;
  drawn.shape = vec4(yy * factor, -2.0 * xy * factor, xx * factor, log2(opacity));
  // seen, unless it lies beyond the picture by more than it reaches
  return all(lessThanEqual(abs(center - 0.5 * size), vec2(0.5 * size + drawn.reach + 1.0)));
}

void main() {
  // an invisible splat is a quad without extent
  placed_bits = shape_bits = paint_bits = uvec4(0u);
  ivec2 cell = ivec2(gl_FragCoord.xy);
  if (cell.y * textureSize(order, 0).x + cell.x >= count) return;
  Placed drawn;
  if (!draw(texelFetch(order, cell, 0).r, drawn)) return;
  vec3 rgb = clamp(drawn.rgb, 0.0, 65504.0);
  placed_bits = floatBitsToUint(drawn.place);
  shape_bits = floatBitsToUint(drawn.shape);
  paint_bits = uvec4(floatBitsToUint(vec2(drawn.across, drawn.reach)), packHalf2x16(rgb.rg), packHalf2x16(vec2(rgb.b, 0.0)));
}`;

// A quad around each splat. An instance is a chunk of quads: graphics cards are slow at instances of four corners.
export const quad = `#version 300 es
precision highp float;
precision highp usampler2D;
precision highp int;
uniform usampler2D placed, shaped, painted;
uniform int count, chunk;
uniform vec2 size;
flat out vec2 center;
flat out vec4 falloff;
flat out vec3 color;
flat out vec4 allowed;   // first column, first row, last column, last row
void main() {
  gl_Position = vec4(0.0, 0.0, 0.0, 1.0);
  int rank = gl_InstanceID * chunk + (gl_VertexID >> 2);
  if (rank >= count) return;
  int width = textureSize(placed, 0).x;
  ivec2 cell = ivec2(rank % width, rank / width);
  vec4 place = uintBitsToFloat(texelFetch(placed, cell, 0));
  float half_length = length(place.zw);
  if (half_length == 0.0) return;
  uvec4 paint = texelFetch(painted, cell, 0);
  vec2 extent = uintBitsToFloat(paint.xy);
  vec2 corner = vec2(gl_VertexID & 1, (gl_VertexID >> 1) & 1) * 2.0 - 1.0;
  vec2 across = vec2(-place.w, place.z) * (extent.x / half_length);
  vec2 pixel = place.xy + corner.x * place.zw + corner.y * across;
  center = place.xy;
  falloff = uintBitsToFloat(texelFetch(shaped, cell, 0));
  color = vec3(unpackHalf2x16(paint.z), unpackHalf2x16(paint.w).x);
  allowed = vec4(floor(place.xy - extent.y), floor(place.xy + extent.y));
  gl_Position = vec4(pixel.x / size.x * 2.0 - 1.0, 1.0 - pixel.y / size.y * 2.0, 0.0, 1.0);
}`;

// One pixel of a splat: colour times alpha, and alpha.
export const blend = `#version 300 es
precision highp float;
flat in vec2 center;
flat in vec4 falloff;
flat in vec3 color;
flat in vec4 allowed;
uniform float height;
uniform bool points;
out vec4 light;
void main() {
  vec2 pixel = vec2(gl_FragCoord.x, height - gl_FragCoord.y);
  vec2 d = pixel - center;
  if (points) {
    float alpha = clamp(falloff.w + 0.5 - length(d), 0.0, 1.0);
    if (alpha == 0.0) discard;
    light = vec4(color * alpha, alpha);
    return;
  }
  float power = falloff.w + d.x * (falloff.x * d.x + falloff.y * d.y) + falloff.z * d.y * d.y;
  float alpha = min(0.99, exp2(power));
  vec2 cell = floor(pixel);
  if (alpha < 1.0 / 255.0 || any(lessThan(cell, allowed.xy)) || any(greaterThan(cell, allowed.zw))) discard;
  light = vec4(color * alpha, alpha);
}`;

// Lays what was blended over the background.
export const resolve = `#version 300 es
precision highp float;
uniform sampler2D blended;
uniform vec4 background;   // colour times alpha, and alpha
uniform vec2 ratio;        // pixels blended for each pixel shown
uniform bool linear;
out vec4 shown;
vec3 displayed(vec3 c) {
  c = max(c, vec3(0.0));
  return mix(12.92 * c, 1.055 * pow(c, vec3(1.0 / 2.4)) - 0.055, step(vec3(0.0031308), c));
}
vec3 physical(vec3 c) {
  return mix(c / 12.92, pow((c + 0.055) / 1.055, vec3(2.4)), step(vec3(0.04045), c));
}
void main() {
  vec4 light = ratio.x == 1.0
    ? texelFetch(blended, ivec2(gl_FragCoord.xy), 0)
    : texture(blended, gl_FragCoord.xy * ratio / vec2(textureSize(blended, 0)));
  vec3 behind = linear ? physical(background.rgb) : background.rgb;
  float through = (1.0 - light.a) * background.a;
  float alpha = light.a + through;
  vec3 rgb = light.rgb + through * behind;
  if (linear && alpha > 0.0) rgb = displayed(rgb / alpha) * alpha;
  shown = vec4(min(rgb, vec3(1.0)), alpha);
}`;

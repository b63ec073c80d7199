// Splats by depth, farthest first, as back-to-front blending wants them.

const BITS = 11;
const BUCKETS = 1 << BITS;

// Sorts by distance along the view axis, rounded to f32 as in the rasteriser; of equal ones the lower index is nearer, as
// there. Three passes of a counting sort on 11 bits each: the bits of positive floats are in the order of their values, and
// 2048 counters stay in the fastest cache.
export class Sorter {
  constructor(count) {
    this.count = count;
    this.depths = new Float32Array(count);
    this.keys = new Uint32Array(this.depths.buffer);
    this.spare = new Uint32Array(count);
    this.counts = new Uint32Array(3 * BUCKETS);
  }

  // `front`: direction of view, `center`: of the camera, both in the coordinates of `means`. Writes to `order`.
  sort(means, center, front, order) {
    const { count, depths, keys, spare, counts } = this;
    const [fx, fy, fz] = front;
    const [cx, cy, cz] = center;
    counts.fill(0);
    for (let i = 0, k = 0; i < count; i++, k += 3) {
      const depth = fx * (means[k] - cx) + fy * (means[k + 1] - cy) + fz * (means[k + 2] - cz);
      // what is behind the camera is not drawn, so that its place does not matter
      depths[i] = depth > 0 ? depth : 0;
      const key = keys[i];
      counts[key & (BUCKETS - 1)]++;
      counts[BUCKETS + ((key >>> BITS) & (BUCKETS - 1))]++;
      counts[2 * BUCKETS + (key >>> (2 * BITS))]++;
    }
    for (let pass = 0; pass < 3; pass++) {
      // places counted from the far end
      for (let bucket = BUCKETS - 1, sum = 0; bucket >= 0; bucket--) {
        const at = pass * BUCKETS + bucket;
        const here = counts[at];
        counts[at] = sum;
        sum += here;
      }
    }
    // each pass keeps the order of equals; the first one starts from the highest index
    for (let i = count - 1; i >= 0; i--) order[counts[keys[i] & (BUCKETS - 1)]++] = i;
    for (let i = 0; i < count; i++) spare[counts[BUCKETS + ((keys[order[i]] >>> BITS) & (BUCKETS - 1))]++] = order[i];
    for (let i = 0; i < count; i++) order[counts[2 * BUCKETS + (keys[spare[i]] >>> (2 * BITS))]++] = spare[i];
  }
}

// A camera that circles around a point, in axes x right, y up, z towards the viewer (RUB), and what the renderers need of it.

const FIELD_OF_VIEW = (30 * Math.PI) / 180;
// air around the subject, as `gav render` leaves it
const MARGIN = 1.06;
const STEEPEST = (89 * Math.PI) / 180;

const dot = (p, q) => p[0] * q[0] + p[1] * q[1] + p[2] * q[2];
const cross = (p, q) => [p[1] * q[2] - p[2] * q[1], p[2] * q[0] - p[0] * q[2], p[0] * q[1] - p[1] * q[0]];
const unit = (p) => p.map((v) => v / Math.hypot(...p));
const clamp = (v, low, high) => Math.min(Math.max(v, low), high);

export class Orbit {
  constructor(scene) {
    this.subject = scene.subject;
    this.near = scene.near;
    this.rubFromAvatar = scene.rub_from_avatar;
    this.frame = scene.frame;
    // shares of the picture at its top and bottom that are covered by something
    this.covered = [0, 0];
    this.reset();
  }

  // Face to face, as `gav render --cameras front`.
  reset() {
    this.target = [...this.subject.center];
    this.azimuth = 0;
    this.elevation = 0;
    this.zoom = 1;
  }

  turn(right, up) {
    this.azimuth = (this.azimuth + right) % (2 * Math.PI);
    this.elevation = clamp(this.elevation + up, -STEEPEST, STEEPEST);
  }

  // `factor` > 1 goes closer.
  approach(factor) {
    this.zoom = clamp(this.zoom * factor, 0.1, 60);
  }

  // Moves what is looked at by pixels of a picture of `size`.
  pan(x, y, size) {
    const scale = this.distance(size) / this.focal(size);
    const [right, down] = this.axes();
    const { center, radius, half_height } = this.subject;
    const limit = 3 * Math.max(radius, half_height);
    this.target = this.target.map((v, k) => clamp(v - scale * (x * right[k] + y * down[k]), center[k] - limit, center[k] + limit));
  }

  // Height of the part of the picture that nothing covers.
  free([, height]) {
    return height * (1 - this.covered[0] - this.covered[1]);
  }

  // In pixels, so that the field of view fills that part.
  focal(size) {
    return (0.5 * this.free(size)) / Math.tan(0.5 * FIELD_OF_VIEW);
  }

  // From the eye to the target: at zoom 1 the smallest distance at which the upright cylinder around the subject is in the
  // free part from the front (kernels/src/stage.rs).
  distance(size) {
    const focal = this.focal(size);
    const slopes = [(0.5 * size[0]) / focal, (0.5 * this.free(size)) / focal];
    const some = Math.max(this.subject.radius, this.subject.half_height) > 0;
    const radius = some ? this.subject.radius : 1;
    const half = some ? this.subject.half_height : 1;
    const sideways = (radius * Math.hypot(1, slopes[0])) / slopes[0];
    return (MARGIN * Math.max(half / slopes[1] + radius, sideways)) / this.zoom;
  }

  offset() {
    const [sin, cos] = [Math.sin(this.elevation), Math.cos(this.elevation)];
    return [cos * Math.sin(this.azimuth), sin, cos * Math.cos(this.azimuth)];
  }

  // Right, down, front.
  axes() {
    const front = this.offset().map((v) => -v);
    const right = unit(cross(front, [0, 1, 0]));
    return [right, cross(front, right), front];
  }

  // The pinhole camera for a picture of `size` pixels, in the coordinates of the avatar.
  pinhole(size) {
    const distance = this.distance(size);
    const offset = this.offset();
    const eye = this.target.map((v, k) => v + distance * offset[k]);
    const axes = this.axes();
    const turn = (row) => [0, 1, 2].map((c) => row[0] * this.rubFromAvatar[0][c] + row[1] * this.rubFromAvatar[1][c] + row[2] * this.rubFromAvatar[2][c]);
    const focal = this.focal(size);
    return {
      size,
      near: this.near,
      focal: [focal, focal],
      principal: [0.5 * size[0], size[1] * this.covered[0] + 0.5 * this.free(size)],
      rows: axes.map(turn),
      translation: axes.map((row) => -dot(row, eye)),
      center: turn(eye),
      front: turn(axes[2]),
    };
  }

  // As `gav render --cameras` reads it.
  json(size) {
    const { focal, principal, rows, translation } = this.pinhole(size);
    const camera_from_world = rows.map((row, k) => [...row, translation[k]]);
    const camera = { name: "view", width: size[0], height: size[1], focal, principal, camera_from_world };
    return JSON.stringify({ frame: this.frame, cameras: [camera] }, null, 1);
  }
}

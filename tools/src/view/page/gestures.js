// Mouse, touch and keyboard on the canvas: turn, move, zoom. Letting go while turning keeps some of the swing.

// radians for each CSS pixel of a drag: half a turn across a small window
const TURN = 0.007;
// share of the speed that is left after a second
const SWING = 0.002;

export class Gestures {
  // `changed` is called after every movement; `size()` is that of the canvas in CSS pixels.
  constructor(canvas, orbit, changed) {
    Object.assign(this, { canvas, orbit, changed });
    this.pointers = new Map();
    this.speed = [0, 0];
    this.calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => this.up(event));
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("dblclick", () => this.home());
    canvas.addEventListener("keydown", (event) => this.key(event));
  }

  size() {
    return [this.canvas.clientWidth, this.canvas.clientHeight];
  }

  home() {
    this.speed = [0, 0];
    this.orbit.reset();
    this.changed();
  }

  down(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.canvas.focus({ preventScroll: true });
    this.pointers.set(event.pointerId, [event.clientX, event.clientY]);
    this.speed = [0, 0];
    this.last = event.timeStamp;
  }

  move(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const now = [event.clientX, event.clientY];
    const [dx, dy] = [now[0] - before[0], now[1] - before[1]];
    if (this.pointers.size === 2) {
      const other = [...this.pointers].find(([id]) => id !== event.pointerId)[1];
      const apart = (p) => Math.max(Math.hypot(p[0] - other[0], p[1] - other[1]), 1);
      this.orbit.approach(apart(now) / apart(before));
      // each of two fingers carries half of the movement
      this.orbit.pan(dx / 2, dy / 2, this.size());
    } else if (event.buttons & 6 || event.shiftKey || event.ctrlKey || event.metaKey) {
      this.orbit.pan(dx, dy, this.size());
    } else {
      this.orbit.turn(-TURN * dx, TURN * dy);
      const seconds = Math.max(event.timeStamp - this.last, 1) / 1000;
      const fresh = [-TURN * dx, TURN * dy].map((v) => v / seconds);
      this.speed = this.speed.map((v, k) => 0.6 * v + 0.4 * fresh[k]);
      this.last = event.timeStamp;
    }
    this.pointers.set(event.pointerId, now);
    this.changed();
  }

  up(event) {
    this.pointers.delete(event.pointerId);
    // a pause before letting go means: stay here
    if (this.calm || event.timeStamp - this.last > 60) this.speed = [0, 0];
    this.changed();
  }

  wheel(event) {
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 30 : 1;
    // a pinch on a touchpad arrives as a wheel with the control key and small steps
    const rate = event.ctrlKey ? 0.01 : 0.0015;
    this.orbit.approach(Math.exp(-rate * lines * event.deltaY));
    this.changed();
  }

  // Arrow keys and plus, minus on the canvas; the rest of the keyboard belongs to the page.
  key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    const step = arrows[event.key];
    if (step && event.shiftKey) this.orbit.pan(-24 * step[0], 24 * step[1], this.size());
    else if (step) this.orbit.turn(0.1 * step[0], 0.1 * step[1]);
    else if (event.key === "+" || event.key === "=") this.orbit.approach(1.15);
    else if (event.key === "-") this.orbit.approach(1 / 1.15);
    else return;
    event.preventDefault();
    this.changed();
  }

  // Lets the swing go on for some seconds' fraction; true while it moves.
  step(seconds) {
    if (this.pointers.size > 0 || Math.hypot(...this.speed) < 0.02) return this.pointers.size > 0;
    this.orbit.turn(...this.speed.map((v) => v * seconds));
    this.speed = this.speed.map((v) => v * SWING ** seconds);
    return true;
  }
}

// How fast pictures come, and how fine they should be: a slow graphics card draws coarser ones while something moves, and a
// fine one when everything stands still.

const LEVELS = [1, 0.7, 0.5, 0.35, 0.25];
// milliseconds between pictures above which they become coarser, below which finer
const SLOW = 45;
const VERY_SLOW = 150;
const FAST = 20;
const SAMPLES = 4;

export class Pace {
  constructor() {
    this.level = 0;
    this.intervals = [];
    this.last = undefined;
    this.frames = this.poses = 0;
    this.since = performance.now();
  }

  // Pixels of the picture for each of the canvas.
  get quality() {
    return LEVELS[this.level];
  }

  // A picture was drawn at `now` while something moved.
  moved(now) {
    this.frames++;
    if (this.last !== undefined) this.intervals.push(now - this.last);
    this.last = now;
    if (this.intervals.length < SAMPLES) return;
    const middle = this.intervals.sort((a, b) => a - b)[SAMPLES >> 1];
    this.intervals = [];
    if (middle > SLOW) this.level = Math.min(this.level + (middle > VERY_SLOW ? 2 : 1), LEVELS.length - 1);
    else if (middle < FAST && this.level > 0) this.level--;
  }

  // Nothing moves any more: the next interval says nothing.
  rest() {
    this.last = undefined;
    this.intervals = [];
  }

  // Pictures and poses a second since the last call; undefined when that is too short ago to say.
  rates(now) {
    const seconds = (now - this.since) / 1000;
    if (seconds < 1) return undefined;
    const rates = { frames: this.frames / seconds, poses: this.poses / seconds };
    this.frames = this.poses = 0;
    this.since = now;
    return rates;
  }
}

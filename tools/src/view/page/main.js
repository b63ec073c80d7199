// Brings the parts together: fetches the avatar, draws when something changed, and only then.
import { Orbit } from "./camera.js";
import { Gestures } from "./gestures.js";
import { Motion } from "./motion.js";
import { Pace } from "./pace.js";
import { Look, describe, notice, speed } from "./panel.js";
import { Renderer } from "./renderer.js";
import { Sliders } from "./sliders.js";
import { decode, fetchBinary } from "./splats.js";

const element = (id) => document.getElementById(id);
// graphics cards draw what is finer than this in vain
const FINEST = 2;

class Viewer {
  constructor(scene, splats) {
    Object.assign(this, { scene, pace: new Pace(), numbers: { camera: 0, pose: 0, sorted: -1, posed: 0 } });
    this.canvas = element("canvas");
    this.renderer = new Renderer(this.canvas, splats, scene);
    this.orbit = new Orbit(scene);
    this.worker = new Worker("sort-worker.js", { type: "module" });
    this.worker.onmessage = ({ data }) => this.receive(data);
    this.worker.onerror = (event) => notice("Sorting failed.", { hint: event.message, bad: true });
    this.worker.postMessage({ means: splats.means });
    const redraw = () => this.redraw();
    const repose = () => this.repose();
    this.look = new Look(scene, redraw);
    this.gestures = new Gestures(this.canvas, this.orbit, redraw);
    this.sliders = new Sliders(scene, repose);
    this.motion = new Motion(scene, repose);
    const resized = new ResizeObserver(() => this.measure());
    for (const node of [this.canvas, element("transport")]) resized.observe(node);
    this.canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    this.canvas.addEventListener("webglcontextrestored", () => location.reload());
    this.redraw();
  }

  // Pixels of the canvas.
  size() {
    const ratio = Math.min(devicePixelRatio, FINEST);
    return [this.canvas.clientWidth, this.canvas.clientHeight].map((v) => Math.max(Math.round(v * ratio), 1));
  }

  // What lies over the picture should not hide the avatar.
  measure() {
    const height = Math.max(this.canvas.clientHeight, 1);
    const narrow = matchMedia("(max-width: 760px)").matches;
    const top = narrow ? document.querySelector("nav").getBoundingClientRect().bottom : 0;
    const bottom = element("transport").offsetHeight;
    this.orbit.covered = [top, bottom && bottom + 12].map((v) => Math.min(v / height, 0.35));
    this.redraw();
  }

  redraw() {
    this.dirty = true;
    this.schedule();
  }

  // Another pose is wanted.
  repose() {
    if (!this.sliders || !this.motion) return;
    this.stale = true;
    this.schedule();
  }

  schedule() {
    this.frame ??= requestAnimationFrame((now) => {
      this.frame = undefined;
      this.tick(now);
    });
  }

  tick(now) {
    const seconds = Math.min((now - (this.before ?? now)) / 1000, 0.25);
    const playing = this.motion.step(seconds);
    const swinging = this.gestures.step(seconds);
    const moving = playing || swinging;
    this.before = moving ? now : undefined;
    if (playing || this.stale) this.wantPose();
    if (swinging) this.dirty = true;
    const fine = !moving && !this.waiting();
    if (this.dirty || (fine && this.coarse)) this.draw(fine ? 1 : this.pace.quality);
    if (moving) this.pace.moved(now);
    else this.pace.rest();
    this.report(now);
    if (moving) this.schedule();
    else if (this.coarse) this.settle();
  }

  // A coarse picture is drawn again in full when nothing has happened for a moment.
  settle() {
    clearTimeout(this.settling);
    this.settling = setTimeout(() => this.schedule(), 120);
  }

  wantPose() {
    this.stale = false;
    const { clip, time } = this.motion;
    const body = { clip: clip && !clip.recorded ? clip.name : null, time, values: this.sliders.values() };
    this.worker.postMessage({ pose: { id: ++this.numbers.pose, body } });
  }

  draw(quality) {
    this.dirty = false;
    this.coarse = quality < 1;
    const size = this.size();
    if (this.canvas.width !== size[0] || this.canvas.height !== size[1]) [this.canvas.width, this.canvas.height] = size;
    const camera = this.orbit.pinhole(size.map((v) => Math.max(Math.round(v * quality), 1)));
    const key = [...camera.center, ...camera.front].join();
    if (key !== this.sortedFor) {
      this.sortedFor = key;
      this.worker.postMessage({ camera: { id: ++this.numbers.camera, center: camera.center, front: camera.front } });
    }
    this.renderer.draw(camera, this.look);
  }

  // From the worker.
  receive(data) {
    if (data.order) {
      const message = data.buffer && decode(data.buffer);
      const start = performance.now();
      this.renderer.update(data.order, message);
      this.numbers.sorted = data.camera;
      this.times = { ...this.times, sort: data.sortMilliseconds, upload: performance.now() - start };
      if (message) {
        this.pace.poses++;
        Object.assign(this.times, { pose: message.milliseconds, answer: data.poseMilliseconds });
        this.sliders.follow(message.drivers);
      }
      this.worker.postMessage({ order: data.order }, [data.order.buffer]);
      element("loading").hidden = true;
      this.redraw();
    }
    if (data.posed) this.numbers.posed = data.posed;
    if (data.error) {
      this.motion.play(false);
      notice(data.error, { bad: true });
    }
  }

  // Is something under way that will change the picture?
  waiting() {
    return this.stale || this.numbers.sorted !== this.numbers.camera || this.numbers.posed !== this.numbers.pose;
  }

  report(now) {
    const rates = this.pace.rates(now);
    if (!rates || !this.times) return;
    const parts = [];
    if (rates.frames >= 1) parts.push(`${rates.frames.toFixed(0)} pictures/s`);
    if (rates.poses >= 1) parts.push(`${rates.poses.toFixed(0)} poses/s of ${this.times.pose.toFixed(1)} ms`);
    parts.push(`sorted in ${this.times.sort.toFixed(1)} ms`);
    speed(parts.join(", "));
  }

  // The picture as a file, in the pixels of the canvas.
  photo() {
    this.draw(1);
    this.canvas.toBlob((blob) => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(blob);
      link.download = `${this.scene.file.replace(/\.[^.]+$/, "")}.png`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
      notice(`Saved as ${link.download}`);
    });
  }

  async copyCamera() {
    try {
      await navigator.clipboard.writeText(this.orbit.json(this.size()));
      notice("Camera copied: save it as a file for gav render --cameras");
    } catch (error) {
      notice("The camera could not be copied.", { hint: error.message, bad: true });
    }
  }
}

// Buttons and keys that do the same.
function connect(viewer) {
  const panel = () => {
    const alone = document.body.classList.toggle("alone");
    element("do-panel").setAttribute("aria-expanded", String(!alone));
  };
  const full = () => (document.fullscreenElement ? document.exitFullscreen() : element("stage").requestFullscreen());
  const keys = element("keys");
  const actions = {
    home: () => viewer.gestures.home(),
    photo: () => viewer.photo(),
    copy: () => viewer.copyCamera(),
    full,
    theme: () => viewer.look.theme(),
    help: () => keys.showModal(),
    panel,
  };
  for (const [name, action] of Object.entries(actions)) element(`do-${name}`).addEventListener("click", action);
  keys.addEventListener("click", (event) => event.target === keys && keys.close());

  const { motion, look, sliders } = viewer;
  const shortcuts = {
    r: actions.home, s: actions.photo, c: actions.copy, f: full, d: actions.theme, h: panel, "?": actions.help,
    " ": () => motion.clips.length && motion.play(!motion.playing),
    ",": () => motion.frame(-1), ".": () => motion.frame(1), l: () => motion.repeat(!motion.loop),
    p: () => look.usePoints(!look.points), b: () => look.next(),
    "/": () => sliders.search?.focus(),
  };
  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches("input[type=search], select");
    const pressing = event.key === " " && event.target.matches("button, summary, input");
    if (event.altKey || event.ctrlKey || event.metaKey || typing || pressing || keys.open) return;
    const action = shortcuts[event.key.toLowerCase()];
    if (!action) return;
    event.preventDefault();
    action();
  });
}

async function start() {
  const [description, buffer] = await Promise.all([fetch("/scene.json"), fetchBinary("/splats")]);
  const scene = await description.json();
  describe(scene);
  const viewer = new Viewer(scene, decode(buffer));
  connect(viewer);
  // for tests and for the console
  globalThis.viewer = viewer;
}

start().catch((error) => {
  element("loading").hidden = true;
  notice("The avatar cannot be shown.", { hint: error.message, bad: true });
});

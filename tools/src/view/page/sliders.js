// Sliders for drivers and joints, in groups that can be folded and searched.

const SHOWN = 10;
const SPACES = { arkit: "ARKit", vrm: "VRM", flame: "FLAME", smplx: "SMPL-X", smpl: "SMPL" };
const DEGREES = Math.PI / 180;

const make = (tag, properties, ...children) => {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
};

// `mouthSmileLeft` → `mouth smile left`
const spaced = (name) => name.replace(/_/g, " ").replace(/([a-z])([A-Z])/g, (_, a, b) => `${a} ${b.toLowerCase()}`);
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

// The group of a driver and what it is called there: `flame.expression.3` is `3` in `FLAME expression`.
function place(name) {
  const parts = name.split(".");
  let cut = parts.length - 1;
  while (cut > 1 && /^(\d+|[xyz])$/.test(parts[cut]) && /^\d+$/.test(parts[cut - 1])) cut--;
  const prefix = parts.slice(0, cut);
  const label = spaced(parts.slice(cut).join(" "));
  if (prefix.length === 0) return ["Drivers", capital(label)];
  const [space, ...rest] = prefix;
  const title = [SPACES[space] ?? capital(spaced(space)), ...rest.map(spaced)].join(" ");
  return [title, /^(\d|[xyz]$)/.test(label) ? `${capital(spaced(prefix.at(-1)))} ${label}` : capital(label)];
}

// Product of two quaternions w x y z: the right one turns first.
const times = ([aw, ax, ay, az], [bw, bx, by, bz]) => [
  aw * bw - ax * bx - ay * by - az * bz,
  aw * bx + ax * bw + ay * bz - az * by,
  aw * by - ax * bz + ay * bw + az * bx,
  aw * bz + ax * by - ay * bx + az * bw,
];

// One range input with its label and number.
class Slider {
  constructor(name, label, [min, max, rest], unit, changed) {
    Object.assign(this, { name, rest, min, max, unit, value: rest, held: false });
    const id = `slider-${name}`;
    this.input = make("input", { type: "range", id, min, max, step: (max - min) / 400, value: rest });
    this.output = make("output");
    this.node = make("div", { className: "slider", title: name }, make("label", { htmlFor: id }, label), this.output, this.input);
    this.text = `${name} ${label}`.toLowerCase();
    this.input.addEventListener("input", () => {
      this.hold(Number(this.input.value));
      changed();
    });
    this.node.addEventListener("dblclick", () => {
      this.release();
      changed();
    });
    this.draw();
  }

  // Set by hand: a clip does not move it any more.
  hold(value) {
    Object.assign(this, { held: true, value });
    this.draw();
  }

  release() {
    Object.assign(this, { held: false, value: this.rest });
    this.draw();
  }

  // What a clip makes of it.
  follow(value) {
    const next = Number.isFinite(value) ? value : this.rest;
    if (this.held || next === this.value) return;
    this.value = next;
    this.draw();
  }

  draw() {
    const { input, min, max } = this;
    if (Number(input.value) !== this.value) input.value = this.value;
    const share = (v) => `${(100 * (Math.min(Math.max(v, min), max) - min)) / (max - min)}%`;
    input.style.setProperty("--from", share(Math.min(this.rest, this.value)));
    input.style.setProperty("--to", share(Math.max(this.rest, this.value)));
    this.output.value = this.unit ? `${Math.round(this.value)}${this.unit}` : this.value.toFixed(2).replace("-", "−");
    this.node.classList.toggle("changed", this.held);
  }
}

// A foldable list of rows; of a long one the first are shown.
class Group {
  constructor(title, changed) {
    Object.assign(this, { title, rows: [], all: false });
    this.note = make("small");
    this.reset = make("button", { type: "button", className: "text", hidden: true }, "Reset");
    this.reset.addEventListener("click", (event) => {
      event.preventDefault();
      this.sliders().forEach((slider) => slider.release());
      changed();
    });
    this.more = make("button", { type: "button", className: "text more", hidden: true });
    this.more.addEventListener("click", () => {
      this.all = !this.all;
      this.filter("");
    });
    this.list = make("div");
    const summary = make("summary", {}, make("span", {}, title), this.note, this.reset);
    this.node = make("details", { className: "group" }, summary, this.list, this.more);
  }

  // `text`: what a search looks through.
  add(node, text, sliders) {
    this.rows.push({ node, text, sliders });
    this.list.append(node);
  }

  sliders() {
    return this.rows.flatMap((row) => row.sliders);
  }

  // Shows what `wanted` finds; returns how many rows that are.
  filter(wanted) {
    const found = this.rows.filter((row) => row.text.includes(wanted) || this.title.toLowerCase().includes(wanted));
    const shown = new Set(wanted || this.all ? found : found.slice(0, SHOWN));
    for (const row of this.rows) row.node.hidden = !shown.has(row);
    const rest = this.rows.length - SHOWN;
    this.more.hidden = Boolean(wanted) || rest <= 0;
    this.more.textContent = this.all ? "Show fewer" : `Show ${rest} more`;
    this.node.hidden = found.length === 0;
    return found.length;
  }

  mark() {
    const held = this.sliders().filter((slider) => slider.held).length;
    this.note.textContent = held ? `${held} of ${this.rows.length} set` : String(this.rows.length);
    this.reset.hidden = held === 0;
  }
}

export class Sliders {
  // `changed` is called when the values are others than before.
  constructor(scene, changed) {
    this.drivers = [];
    this.joints = [];
    this.groups = new Map();
    this.changed = () => {
      this.mark();
      changed();
    };
    for (const [name, ...range] of scene.controls) {
      const [title, label] = place(name);
      const slider = new Slider(name, label, range, "", this.changed);
      this.drivers.push(slider);
      this.group(title).add(slider.node, slider.text, [slider]);
    }
    for (const joint of scene.joints) this.addJoint(joint);
    if (this.groups.size === 0) return;
    document.getElementById("drivers").hidden = false;
    const groups = [...this.groups.values()];
    document.getElementById("groups").append(...groups.map((group) => group.node));
    groups[0].node.open = true;
    this.search = document.getElementById("search");
    this.search.hidden = this.drivers.length + this.joints.length <= SHOWN;
    this.search.addEventListener("input", () => this.filter());
    document.getElementById("reset-drivers").addEventListener("click", () => {
      for (const group of groups) group.sliders().forEach((slider) => slider.release());
      this.changed();
    });
    this.filter();
    this.mark();
  }

  group(title) {
    if (!this.groups.has(title)) this.groups.set(title, new Group(title, this.changed));
    return this.groups.get(title);
  }

  // Three angles that turn a joint about its own axes, after its rotation at rest.
  addJoint({ name, humanoid, rotation }) {
    const axes = ["x", "y", "z"].map((axis) => new Slider(`joint/${name}/${axis}`, axis, [-90, 90, 0], "°", this.changed));
    const label = capital(spaced(humanoid || name));
    const node = make("div", { className: "joint", title: name }, make("p", {}, label), ...axes.map((slider) => slider.node));
    this.joints.push({ target: `joint/${name}/rotation`, rotation, axes });
    this.group("Joints").add(node, `joint ${name} ${humanoid} ${label}`.toLowerCase(), axes);
  }

  filter() {
    const wanted = this.search.value.trim().toLowerCase();
    let found = 0;
    for (const group of this.groups.values()) {
      const count = group.filter(wanted);
      found += count;
      if (wanted) group.node.open = count > 0;
    }
    document.getElementById("nothing").hidden = found > 0;
  }

  mark() {
    for (const group of this.groups.values()) group.mark();
    const held = [...this.groups.values()].some((group) => group.sliders().some((slider) => slider.held));
    document.getElementById("reset-drivers").hidden = !held;
  }

  // What was set by hand, as the values of a pose.
  values() {
    const values = {};
    for (const { name, held, value } of this.drivers) if (held) values[name] = [value];
    for (const { target, rotation, axes } of this.joints) {
      if (!axes.some((slider) => slider.held)) continue;
      const turns = axes.map(({ value }, k) => {
        const half = 0.5 * DEGREES * value;
        return [0, 1, 2, 3].map((c) => (c === 0 ? Math.cos(half) : c === k + 1 ? Math.sin(half) : 0));
      });
      values[target] = turns.reduce(times, rotation);
    }
    return values;
  }

  // Moves the sliders of drivers along with a clip.
  follow(values) {
    this.drivers.forEach((slider, k) => slider.follow(values[k]));
  }
}

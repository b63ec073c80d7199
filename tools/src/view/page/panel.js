// What stands around the picture: title, facts, notices, and how the picture looks (background, splat size, points).

const element = (id) => document.getElementById(id);
const BACKGROUNDS = ["auto", "#ffffff", "#808080", "#000000", "transparent"];

const grouped = (count) => String(count).replace(/\B(?=(\d{3})+$)/g, "\u202f");
const bytes = (count) => {
  const unit = count < 1e3 ? 0 : Math.min(Math.floor(Math.log10(count) / 3), 3);
  return `${(count / 1000 ** unit).toPrecision(unit ? 3 : count.toString().length)} ${["B", "kB", "MB", "GB"][unit]}`;
};

// A line above the picture; brief ones go by themselves.
export function notice(text, { hint, bad = false } = {}) {
  const node = document.createElement("div");
  node.className = `notice ${bad ? "bad" : "brief"}`;
  for (const line of [text, hint]) if (line) node.append(Object.assign(document.createElement("p"), { textContent: line }));
  if (bad) {
    const close = Object.assign(document.createElement("button"), { type: "button", textContent: "×", ariaLabel: "Close" });
    close.addEventListener("click", () => node.remove());
    node.append(close);
  } else {
    setTimeout(() => node.remove(), 2500);
  }
  const same = [...element("notices").children].find((other) => other.textContent === node.textContent);
  if (same) same.replaceWith(node);
  else element("notices").append(node);
}

// Names of clips with their lengths; of many, the first.
function clipList(clips) {
  const shown = clips.slice(0, clips.length > 4 ? 3 : 4).map((clip) => `${clip.name} (${clip.seconds.toFixed(1)} s)`);
  if (clips.length > shown.length) shown.push(`${clips.length - shown.length} more`);
  return shown.join(", ");
}

export function describe(scene) {
  const title = scene.name || scene.file;
  document.title = `${title} – gav view`;
  element("title").textContent = title;
  element("subtitle").textContent = `${grouped(scene.splats)} splats`;
  const facts = [
    ["File", scene.file],
    ["Format", `${scene.format}, ${bytes(scene.bytes)}`],
    ["Splats", `${grouped(scene.splats)}, ${scene.model}${scene.sh_degree ? `, harmonics of degree ${scene.sh_degree}` : ""}`],
    ["Rig", scene.rig.static ? "none" : scene.rig.name],
    ["Template", scene.template?.name],
    ["Clips", clipList(scene.clips)],
    ["Licence", scene.licence || scene.licence_text],
    ["Credit", scene.attribution],
    ["Written by", scene.generator],
    ["Axes", scene.frame],
  ];
  const rows = facts.filter(([, value]) => value).flatMap(([name, value]) => {
    const [dt, dd] = ["dt", "dd"].map((tag) => document.createElement(tag));
    dt.textContent = name;
    dd.textContent = value;
    return [dt, dd];
  });
  element("facts").append(...rows);
  if (scene.problem) notice(scene.problem.message, { hint: scene.problem.hint, bad: true });
}

// The last line of the facts: how fast it goes.
export function speed(text) {
  let value = element("pace");
  if (!value) {
    value = Object.assign(document.createElement("dd"), { id: "pace" });
    element("facts").append(Object.assign(document.createElement("dt"), { textContent: "Speed" }), value);
  }
  value.textContent = text;
}

// `auto` takes the page's own background.
function rgba(background) {
  if (background === "transparent") return [0, 0, 0, 0];
  if (background !== "auto") return [...[1, 3, 5].map((k) => parseInt(background.slice(k, k + 2), 16) / 255), 1];
  const parts = getComputedStyle(document.body).backgroundColor.match(/[\d.]+/g).map(Number);
  return [...parts.slice(0, 3).map((v) => v / 255), 1];
}

export class Look {
  constructor(scene, changed) {
    Object.assign(this, { changed, splatScale: 1, points: false });
    for (const button of document.querySelectorAll("[data-background]")) {
      button.addEventListener("click", () => this.choose(button.dataset.background));
    }
    element("color").addEventListener("input", (event) => this.choose(event.target.value));
    element("size").addEventListener("input", (event) => this.scale(Number(event.target.value)));
    element("size").parentElement.addEventListener("dblclick", () => this.scale(1));
    element("points").addEventListener("change", (event) => this.usePoints(event.target.checked));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.choose(this.chosen));
    this.scale(1);
    this.choose(scene.background ?? "auto");
  }

  choose(background) {
    this.chosen = background;
    this.background = rgba(background);
    for (const button of document.querySelectorAll("[data-background]")) {
      button.setAttribute("aria-checked", String(button.dataset.background === background));
    }
    element("stage").classList.toggle("checkered", background === "transparent");
    // letters on the picture must be readable on any background
    const [r, g, b, a] = this.background;
    const dark = 0.3 * r + 0.59 * g + 0.11 * b < 0.45;
    const color = background === "auto" || a === 0 ? "" : dark ? "#f2f2f0" : "#1c1d1f";
    element("stage").style.setProperty("--stage-ink", color);
    this.changed();
  }

  next() {
    this.choose(BACKGROUNDS[(BACKGROUNDS.indexOf(this.chosen) + 1) % BACKGROUNDS.length]);
  }

  scale(value) {
    this.splatScale = value;
    const input = element("size");
    input.value = value;
    element("size-value").value = value.toFixed(2);
    input.style.setProperty("--to", `${(100 * (value - input.min)) / (input.max - input.min)}%`);
    this.changed();
  }

  usePoints(points) {
    this.points = points;
    element("points").checked = points;
    this.changed();
  }

  // Switches between light and dark, against the system if need be.
  theme() {
    const root = document.documentElement;
    const dark = root.style.colorScheme ? root.style.colorScheme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.style.colorScheme = dark ? "light" : "dark";
    this.choose(this.chosen);
  }
}

// `gav view` in headless Chromium: draws as `gav render` does, and answers to mouse and keyboard.
//
//   npm install --prefix MODULES puppeteer-core
//   node tests/viewer/view.mjs MODULES OUT [ASSET …]        writes screenshots to OUT
//
// Without ASSET: the head in ../shared/data/lam-head (or below GAV_SHARED; skipped loudly when it is not there) and a rigged
// sample of `gav demo`. GAV and CHROMIUM name the programs when they are not on the path. Exit code 1 when a check fails.
import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const [modules, out, ...given] = process.argv.slice(2).map((p) => resolve(p));
if (!out) throw new Error("usage: node view.mjs MODULES OUT [ASSET …]");
mkdirSync(out, { recursive: true });
const gav = process.env.GAV ?? "gav";
const require = createRequire(join(modules, "package.json"));
const puppeteer = (await import(require.resolve("puppeteer-core"))).default;

// Pictures of the same view agree to the rounding of 16-bit floats and of 8-bit colours: 63 to 66 dB on heads. A wrong rule of
// drawing or a wrong order shows as 45 and less.
const ALIKE = 55;
const DESKTOP = { width: 1280, height: 800, deviceScaleFactor: 1 };
const PHONE = { width: 390, height: 844, deviceScaleFactor: 2, isMobile: true, hasTouch: true };

let failures = 0;
const check = (what, holds, detail = "") => {
  console.log(`${holds ? "  ok    " : "  FAILED"} ${what}${detail && `: ${detail}`}`);
  if (!holds) failures++;
};

function assets() {
  if (given.length) return given;
  const found = [];
  const lam = resolve(process.env.GAV_SHARED ?? "../shared", "data/lam-head/lam_p2-1.zip");
  if (existsSync(lam)) found.push(lam);
  else console.log(`SKIPPED ${lam}: not there`);
  const sample = join(out, "demo", "head.lossless.gav");
  if (!existsSync(sample)) execFileSync(gav, ["demo", "-o", join(out, "demo"), "--quiet"], { stdio: "ignore" });
  return [...found, sample];
}

// Starts the program and resolves to its address and its process.
function serve(asset, options) {
  const program = spawn(gav, ["view", asset, "--no-open", ...options], { stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  program.stderr.on("data", (data) => (said += data));
  return new Promise((done, failed) => {
    createInterface({ input: program.stdout }).once("line", (url) => done({ url, program }));
    program.once("exit", () => failed(new Error(`gav view ended: ${said}`)));
  });
}

// The page draws nothing more until something happens.
const settled = (tab) => tab.waitForFunction(
  () => globalThis.viewer?.numbers.sorted >= 0 && !viewer.waiting() && !viewer.dirty && !viewer.coarse && !viewer.frame,
  { timeout: 120000, polling: 50 },
);

// The canvas as PNG in base64, drawn in full.
const picture = (tab) => tab.evaluate(() => {
  viewer.draw(1);
  return viewer.canvas.toDataURL("image/png").split(",")[1];
});

// How two PNGs differ, from 0 to 1: mean square, largest difference, share of pixels that changed visibly and their middle.
const difference = (tab, a, b) => tab.evaluate(async (pictures) => {
  const [p, q] = await Promise.all(pictures.map(async (text) => {
    const bitmap = await createImageBitmap(await (await new Response(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)))).blob());
    const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
    context.drawImage(bitmap, 0, 0);
    return context.getImageData(0, 0, bitmap.width, bitmap.height);
  }));
  if (p.width !== q.width || p.height !== q.height) throw new Error(`${p.width} x ${p.height} and ${q.width} x ${q.height}`);
  let sum = 0, largest = 0, changed = 0, middle = [0, 0];
  for (let pixel = 0; pixel < p.width * p.height; pixel++) {
    let most = 0;
    for (let i = 4 * pixel; i < 4 * pixel + 3; i++) {
      const d = Math.abs(p.data[i] - q.data[i]) / 255;
      sum += d * d;
      most = Math.max(most, d);
    }
    largest = Math.max(largest, most);
    if (most < 0.04) continue;
    changed++;
    middle[0] += (pixel % p.width) / p.width;
    middle[1] += Math.floor(pixel / p.width) / p.height;
  }
  const pixels = p.width * p.height;
  return { mse: sum / (3 * pixels), largest, share: changed / pixels, middle: middle.map((v) => v / Math.max(changed, 1)) };
}, [a, b]);

const psnr = (mse) => -10 * Math.log10(Math.max(mse, 1e-12));

// Does `gav render` draw the same from the page's camera?
async function compare(tab, asset, name, options = []) {
  const [camera, shown] = [await tab.evaluate(() => viewer.orbit.json(viewer.size())), await picture(tab)];
  const place = (ending) => join(out, `${name}.${ending}`);
  writeFileSync(place("camera.json"), camera);
  writeFileSync(place("view.png"), Buffer.from(shown, "base64"));
  execFileSync(gav, ["render", asset, "-o", place("render.png"), "--cameras", place("camera.json"), "--force", "--quiet", ...options]);
  const { mse, largest } = await difference(tab, shown, readFileSync(place("render.png")).toString("base64"));
  check(`${name}: as gav render`, psnr(mse) > ALIKE, `${psnr(mse).toFixed(1)} dB, largest difference ${(255 * largest).toFixed(0)} of 255`);
}

async function drag(tab, from, to) {
  await tab.mouse.move(...from);
  await tab.mouse.down();
  for (let k = 1; k <= 5; k++) await tab.mouse.move(...from.map((v, i) => v + ((to[i] - v) * k) / 5));
  // a pause before letting go: no swing
  await new Promise((done) => setTimeout(done, 120));
  await tab.mouse.up();
}

// Milliseconds of the parts of a frame, the graphics card waited for.
const times = (tab) => tab.evaluate(() => {
  const middle = (work) => {
    const all = [];
    for (let k = 0; k < 7; k++) {
      const start = performance.now();
      work();
      all.push(performance.now() - start);
    }
    return all.sort((a, b) => a - b)[3].toFixed(1);
  };
  const { renderer, look } = viewer;
  const camera = viewer.orbit.pinhole(viewer.size());
  return {
    size: viewer.size().join(" x "),
    draw: middle(() => { renderer.draw(camera, look); renderer.finish(); }),
    place: middle(() => { renderer.place(camera, look); renderer.finish(); }),
    sort: viewer.times.sort.toFixed(1),
  };
});

// A real drag opens the mouth: something changes in the middle of the face and nowhere else.
async function moveSlider(tab, asset, name, control, before) {
  const slider = await tab.$(`#${`slider-${control}`.replaceAll(".", "\\.")}`);
  if (!(await slider.isVisible())) {
    await tab.type("#search", control.split(".").at(-1));
    await tab.waitForFunction((node) => node.checkVisibility(), {}, slider);
  }
  await slider.scrollIntoView();
  const box = await slider.boundingBox();
  const y = box.y + box.height / 2;
  await drag(tab, [box.x + 8, y], [box.x + box.width - 8, y]);
  await settled(tab);
  const value = await tab.evaluate((node) => Number(node.value), slider);
  const { share, middle } = await difference(tab, before, await picture(tab));
  check(`${name}: a drag on the slider sets it`, value > 0.9, value.toFixed(2));
  const where = `${(100 * share).toFixed(1)} % of the pixels, around ${middle.map((v) => v.toFixed(2)).join(", ")}`;
  check(`${name}: the jaw moves, the rest does not`, share > 0.001 && share < 0.2 && Math.abs(middle[0] - 0.5) < 0.08, where);
  await compare(tab, asset, `${name}.slider`, ["--set", `${control}=${value}`]);
  await tab.screenshot({ path: join(out, `${name}.slider.page.png`) });
  await tab.click("#reset-drivers");
  await settled(tab);
  check(`${name}: reset brings the rest pose back`, (await difference(tab, before, await picture(tab))).mse === 0);
}

// A real click plays the first clip; another one stops it.
async function play(tab, asset, name, before) {
  const posed = () => tab.evaluate(() => viewer.numbers.posed);
  const [first, start] = [await posed(), Date.now()];
  await tab.click("#do-play");
  await tab.waitForFunction((from) => viewer.numbers.posed > from + 3, { timeout: 60000, polling: 50 }, first);
  await new Promise((done) => setTimeout(done, 3000));
  const rates = await tab.evaluate(() => ({ text: document.getElementById("pace")?.textContent, quality: viewer.pace.quality, ...viewer.times }));
  console.log("   ", JSON.stringify(rates));
  await tab.screenshot({ path: join(out, `${name}.playing.page.png`) });
  await tab.click("#do-play");
  await settled(tab);
  const [time, playing] = await tab.evaluate(() => [viewer.motion.time, viewer.motion.playing]);
  check(`${name}: a click plays, another stops`, !playing && time > 0, `${time.toFixed(2)} s after ${((Date.now() - start) / 1000).toFixed(1)} s`);
  check(`${name}: the clip moves it`, (await difference(tab, before, await picture(tab))).mse > 1e-7);
  const clip = await tab.evaluate(() => viewer.motion.clip.name);
  await compare(tab, asset, `${name}.playing`, ["--clip", clip, "--time", String(time)]);
  await tab.select("#clip", "");
  await settled(tab);
  check(`${name}: without the clip it rests`, (await difference(tab, before, await picture(tab))).mse === 0);
}

// Poses a second over HTTP, two under way as the page has them, without drawing.
const rate = (tab) => tab.evaluate(async () => {
  const [clip] = viewer.scene.clips;
  const count = 60;
  let next = 0, bytes = 0, milliseconds = 0;
  const start = performance.now();
  const ask = async () => {
    while (next < count) {
      const body = JSON.stringify({ clip: clip.name, time: (clip.seconds * next++) / count, values: {} });
      const answer = await fetch("/pose", { method: "POST", headers: { "content-type": "application/json" }, body });
      const buffer = await answer.arrayBuffer();
      bytes += buffer.byteLength;
      milliseconds += new Uint32Array(buffer, 16, 1)[0] / 1000;
    }
  };
  await Promise.all([ask(), ask()]);
  const seconds = (performance.now() - start) / 1000;
  return { posesPerSecond: (count / seconds).toFixed(1), posing: (milliseconds / count).toFixed(2), bytes: Math.round(bytes / count) };
});

async function examine(browser, asset) {
  const name = basename(asset).replace(/\.\w+$/, "");
  console.log(name);
  const { url, program } = await serve(asset, ["--background", "white"]);
  const tab = await browser.newPage();
  tab.on("pageerror", (error) => check(`${name}: no script fails`, false, error.message));
  tab.on("console", (message) => message.type() === "error" && check(`${name}: no error on the console`, false, message.text()));
  try {
    await tab.setViewport(DESKTOP);
    await tab.goto(url);
    await settled(tab);
    await tab.screenshot({ path: join(out, `${name}.desktop.png`) });
    const before = await picture(tab);
    await compare(tab, asset, `${name}.front`);

    const box = await (await tab.$("#canvas")).boundingBox();
    const middle = [box.x + box.width / 2, box.y + box.height / 2];
    await drag(tab, middle, [middle[0] + 130, middle[1] + 40]);
    await tab.mouse.wheel({ deltaY: -300 });
    await settled(tab);
    const turned = await picture(tab);
    check(`${name}: a drag turns it`, (await difference(tab, before, turned)).mse > 1e-4);
    await compare(tab, asset, `${name}.turned`);
    await tab.keyboard.press("r");
    await settled(tab);
    check(`${name}: R brings the view back`, (await difference(tab, before, await picture(tab))).mse === 0);
    console.log("   ", JSON.stringify(await times(tab)));

    const { clips, controls } = await tab.evaluate(() => viewer.scene);
    const jaw = controls.find(([control]) => control.endsWith("jawOpen"))?.[0];
    if (jaw) await moveSlider(tab, asset, name, jaw, before);
    if (clips.length) {
      await play(tab, asset, name, before);
      console.log("   ", JSON.stringify(await rate(tab)));
    }

    await tab.setViewport(PHONE);
    await settled(tab);
    await tab.screenshot({ path: join(out, `${name}.phone.png`) });
    const upright = await picture(tab);
    await tab.touchscreen.touchStart(195, 240);
    for (const x of [170, 140, 110]) await tab.touchscreen.touchMove(x, 250);
    await tab.touchscreen.touchEnd();
    await settled(tab);
    check(`${name}: a finger turns it`, (await difference(tab, upright, await picture(tab))).mse > 1e-4);
  } finally {
    await tab.close();
    program.removeAllListeners("exit");
    program.kill();
  }
}

// An avatar whose template is not there: shown at rest, with what to do about it.
async function explain(browser) {
  const asset = fileURLToPath(new URL("../../spec/conformance/rig_stga_standard.gav", import.meta.url));
  console.log(basename(asset));
  const { url, program } = await serve(asset, []);
  const tab = await browser.newPage();
  try {
    await tab.setViewport(DESKTOP);
    await tab.goto(url);
    await settled(tab);
    const said = await tab.$eval("#notices", (node) => node.innerText);
    check("no template: the page says so and what to do", said.includes("gav template add"), said.replace(/\s+/g, " "));
    const blank = await tab.evaluate(() => {
      viewer.draw(1);
      return !viewer.renderer.ready;
    });
    check("no template: the splats are there", !blank);
    await tab.screenshot({ path: join(out, "no-template.png") });
  } finally {
    await tab.close();
    program.removeAllListeners("exit");
    program.kill();
  }
}

const browser = await puppeteer.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"],
});
try {
  for (const asset of assets()) await examine(browser, asset);
  if (!given.length) await explain(browser);
} finally {
  await browser.close();
}
console.log(failures ? `${failures} failed` : "all well");
process.exitCode = failures ? 1 : 0;

// The same view of an asset by `gav render` and by Spark (three.js) in headless Chromium, for the eye and as PSNR:
//
//   npm install --prefix MODULES three @sparkjsdev/spark puppeteer-core
//   node tests/viewer/compare.mjs MODULES ASSET OUT        writes OUT/gav.png and OUT/viewer.png
//
// ASSET is a PLY of RDF axes, an SPZ up to version 3, or another file that Spark reads. GAV and CHROMIUM name the programs
// when they are not on the path. Spark compensates the dilation, so gav is told to. Both look from the right, a little from
// above.
import { execFileSync } from "node:child_process";
import { createReadStream, mkdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { basename, join, resolve } from "node:path";

const [modules, asset, out] = process.argv.slice(2).map((p) => resolve(p));
if (!out) throw new Error("usage: node compare.mjs MODULES ASSET OUT");
mkdirSync(out, { recursive: true });
const gav = process.env.GAV ?? "gav";
const size = 512;

// where the asset is, in axes x right, y up, z back, which are those of three.js
const info = JSON.parse(execFileSync(gav, ["info", asset, "--json"]));
const flip = info.frame === "RDF";
if (!flip && info.frame !== "RUB") throw new Error(`axes ${info.frame}: RDF or RUB expected`);
const corner = (p) => (flip ? [p[0], -p[1], -p[2]] : p);
const [a, b] = [corner(info.bounding_box[0]), corner(info.bounding_box[1])];
const at = a.map((v, k) => (v + b[k]) / 2);
const extent = Math.max(...a.map((v, k) => Math.abs(v - b[k])));
const eye = [at[0] + 1.9 * extent, at[1] + 0.7 * extent, at[2] + 1.4 * extent];

// our camera: rows right, down, front
const sub = (p, q) => p.map((v, k) => v - q[k]);
const dot = (p, q) => p.reduce((sum, v, k) => sum + v * q[k], 0);
const cross = (p, q) => [p[1] * q[2] - p[2] * q[1], p[2] * q[0] - p[0] * q[2], p[0] * q[1] - p[1] * q[0]];
const unit = (p) => p.map((v) => v / Math.hypot(...p));
const front = unit(sub(at, eye));
const right = unit(cross(front, [0, 1, 0]));
const rows = [right, cross(front, right), front].map((r) => [...r, -dot(r, eye)]);
const focal = size / 2 / Math.tan((15 * Math.PI) / 180);
const camera = { width: size, height: size, focal: [focal, focal], principal: [size / 2, size / 2], camera_from_world: rows };
writeFileSync(join(out, "camera.json"), JSON.stringify({ frame: "RUB", cameras: [camera] }));
const ours = ["--cameras", join(out, "camera.json"), "--model", "antialiased", "--force", "--quiet"];
execFileSync(gav, ["render", asset, "-o", join(out, "gav.png"), ...ours], { stdio: "inherit" });

const page = `<body style="margin:0"><script type="importmap">{"imports": {
"three": "/modules/three/build/three.module.js", "three/addons/": "/modules/three/examples/jsm/",
"@sparkjsdev/spark": "/modules/@sparkjsdev/spark/dist/spark.module.js"}}</script><script type="module">
import * as THREE from "three"; import { SparkRenderer, SplatMesh } from "@sparkjsdev/spark";
const renderer = new THREE.WebGLRenderer({ preserveDrawingBuffer: true });
renderer.setSize(${size}, ${size}); renderer.setClearColor(0xffffff, 1); document.body.append(renderer.domElement);
const scene = new THREE.Scene(), camera = new THREE.PerspectiveCamera(30, 1, 0.001 * ${extent}, 100 * ${extent});
camera.position.set(${eye}); camera.lookAt(${at});
scene.add(new SparkRenderer({ renderer, maxStdDev: 3 }));
const mesh = new SplatMesh({ url: "/asset/${basename(asset)}" });
if (${flip}) mesh.quaternion.set(1, 0, 0, 0);
scene.add(mesh); await mesh.initialized;
let frames = 0; renderer.setAnimationLoop(() => { renderer.render(scene, camera); if (++frames === 40) document.title = "done"; });
</script>`;
const server = createServer((request, response) => {
  const path = decodeURIComponent(request.url);
  if (path === "/") return response.setHeader("content-type", "text/html").end(page);
  const file = path.startsWith("/asset/") ? asset : join(modules, "node_modules", path.replace("/modules/", ""));
  if (path.endsWith("js")) response.setHeader("content-type", "text/javascript");
  createReadStream(file).on("error", () => response.writeHead(404).end()).pipe(response);
}).listen(0, "127.0.0.1");

const require = createRequire(join(modules, "package.json"));
const puppeteer = (await import(require.resolve("puppeteer-core"))).default;
const browser = await puppeteer.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"],
});
try {
  const tab = await browser.newPage();
  tab.on("pageerror", (error) => console.error(error.message));
  await tab.setViewport({ width: size, height: size });
  await tab.goto(`http://127.0.0.1:${server.address().port}/`);
  await tab.waitForFunction('document.title === "done"', { timeout: 60000 });
  const viewer = Buffer.from(await tab.screenshot({ path: join(out, "viewer.png") })).toString("base64");
  const own = execFileSync("base64", ["-w0", join(out, "gav.png")]).toString();
  const psnr = await tab.evaluate(async (pictures, side) => {
    const pixels = async (text) => {
      const bitmap = await createImageBitmap(await (await fetch(`data:image/png;base64,${text}`)).blob());
      const context = new OffscreenCanvas(side, side).getContext("2d");
      context.drawImage(bitmap, 0, 0);
      return context.getImageData(0, 0, side, side).data;
    };
    const [p, q] = await Promise.all(pictures.map(pixels));
    let sum = 0;
    for (let i = 0; i < p.length; i++) sum += (p[i] - q[i]) ** 2;
    return 10 * Math.log10((255 ** 2 * side * side * 3) / sum);
  }, [viewer, own], size);
  console.log(`${basename(asset)}: ${psnr.toFixed(1)} dB`);
} finally {
  await browser.close();
  server.close();
}

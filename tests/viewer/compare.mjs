// The same view of an asset by `gav render` and by Spark (three.js) in headless Chromium, for the eye and as PSNR:
//
//   npm install --prefix MODULES three @sparkjsdev/spark puppeteer-core
//   node tests/viewer/compare.mjs MODULES ASSET OUT        writes OUT/gav.png and OUT/viewer.png
//
// ASSET is a PLY of RDF axes, an SPZ up to version 3, or another file that Spark reads. GAV and CHROMIUM name the programs
// when they are not on the path. Spark compensates the dilation, so gav is told to. Both look from the right, a little from
// above.
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { camera, launch, psnr, serve } from "./browser.mjs";

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

writeFileSync(join(out, "camera.json"), JSON.stringify(camera(eye, at, 30, size)));
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
const server = await serve(modules, { "/": page }, (path) => (path.startsWith("/asset/") ? asset : undefined));
const browser = await launch(modules);
try {
  const tab = await browser.newPage();
  tab.on("pageerror", (error) => console.error(error.message));
  await tab.setViewport({ width: size, height: size });
  await tab.goto(server.address);
  await tab.waitForFunction('document.title === "done"', { timeout: 60000 });
  const viewer = await tab.screenshot({ path: join(out, "viewer.png") });
  const db = await psnr(tab, [viewer, readFileSync(join(out, "gav.png"))], size);
  console.log(`${basename(asset)}: ${db.toFixed(1)} dB`);
} finally {
  await browser.close();
  server.close();
}

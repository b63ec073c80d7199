// Does a VRM reader take what `gav convert --vrm` writes? In headless Chromium, with the reference implementation for three.js:
//
//   npm install --prefix MODULES three @pixiv/three-vrm puppeteer-core
//   node tests/viewer/vrm.mjs MODULES AVATAR OUT
//
// AVATAR is an avatar with humanoid bones, expressions of VRM, or both. Every bone and expression that the file names must be found by the
// reader, and turning a bone must turn its node. Whether an expression reaches the morph targets is not asked: this reader binds
// expressions to meshes alone, and splats are points. GAV and CHROMIUM name the programs when they are not on the path. Exits with 1 when
// something is missing.
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { launch, serve } from "./browser.mjs";

const [modules, avatar, out] = process.argv.slice(2, 5).map((p) => resolve(p));
if (!out) throw new Error("usage: node vrm.mjs MODULES AVATAR OUT");
mkdirSync(out, { recursive: true });
execFileSync(process.env.GAV ?? "gav", ["convert", avatar, "-o", join(out, "avatar.glb"), "--vrm", "--force", "--quiet"]);
const glb = readFileSync(join(out, "avatar.glb"));
const extension = JSON.parse(glb.subarray(20, 20 + glb.readUInt32LE(12))).extensions?.VRMC_vrm;
if (!extension) throw new Error("no VRMC_vrm in the GLB");
const bones = Object.keys(extension.humanoid.humanBones);
const expressions = Object.values(extension.expressions ?? {}).flatMap((group) => Object.keys(group));

const page = `<script type="importmap">{"imports": {"three": "/modules/three/build/three.module.js",
"three/addons/": "/modules/three/examples/jsm/", "vrm": "/modules/@pixiv/three-vrm/lib/three-vrm.module.js"}}</script><script type="module">
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js"; import { VRMLoaderPlugin } from "vrm";
window.look = async (bones, expressions) => {
  const loader = new GLTFLoader();
  loader.register((parser) => new VRMLoaderPlugin(parser));
  const { vrm } = (await loader.loadAsync("/out/avatar.glb")).userData;
  const missing = bones.filter((bone) => !vrm.humanoid.getRawBoneNode(bone));
  const still = bones.filter((bone) => {
    const node = vrm.humanoid.getRawBoneNode(bone), before = node?.quaternion.clone();
    vrm.humanoid.getNormalizedBoneNode(bone)?.rotateX(0.3);
    vrm.update(0);
    return node?.quaternion.angleTo(before) < 0.1;
  });
  const deaf = expressions.filter((name) => !vrm.expressionManager.getExpression(name));
  return { missing, still, deaf, title: vrm.meta.name, licence: vrm.meta.licenseUrl };
};
document.title = "ready";
</script>`;

const server = await serve(modules, { "/": page }, (path) => (path.startsWith("/out/") ? join(out, path.slice(5)) : undefined));
const browser = await launch(modules);
try {
  const tab = await browser.newPage();
  tab.on("pageerror", (error) => console.error(error.message));
  await tab.goto(`${server.address}/`);
  await tab.waitForFunction('document.title === "ready"', { timeout: 60000 });
  const { missing, still, deaf, title, licence } = await tab.evaluate((...a) => window.look(...a), bones, expressions);
  console.log(`${title}: ${bones.length} bones, ${expressions.length} expressions; licence ${licence}`);
  const wrong = [["bones not found", missing], ["bones that do not turn", still], ["expressions not found", deaf]];
  for (const [what, names] of wrong) console.log(`${names.length ? "BAD" : "   "} ${what}: ${names.join(", ") || "none"}`);
  process.exitCode = wrong.some(([, names]) => names.length) ? 1 : 0;
} finally {
  await browser.close();
  server.close();
}

// Do other viewers play what `gav convert` writes as glTF? In headless Chromium, with screenshots and numbers:
//
//   npm install --prefix MODULES three babylonjs babylonjs-loaders puppeteer-core
//   node tests/viewer/play.mjs MODULES AVATAR OUT CLIP [FACE]
//
// AVATAR is a skinned avatar that gav reads, CLIP one of its clips, FACE a clip of morph targets alone (for three.js, which does
// not skin points). GAV and CHROMIUM name the programs when they are not on the path. Four ways of showing the GLB:
//
//   three.js points      GLTFLoader: THREE.Points, animated by morph targets; the skin is ignored
//   Babylon.js points    KHR_gaussian_splatting switched off: points with skeleton and morph targets, animated by both
//   three.js splats      WebGPURenderer (on WebGL 2) with GLTFGaussianSplatLoaderExtension: not animated
//   Babylon.js splats    its built-in extension: not animated
//
// Points: at three times of the clip the picture must be that of the GLB which `gav pose` writes for the same moment, drawn by the
// same viewer, and the points must lie where it says. Splats: the GLB of each moment must look as `gav render` draws it.
// They also play the GLB of `--frames`, whose stills must look like the posed files.
// All pictures are kept in OUT. Exits with 1 when a number is outside the limits below.
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { camera, launch, psnr, serve } from "./browser.mjs";

const [modules, avatar, out] = process.argv.slice(2, 5).map((p) => resolve(p));
const [clip, face = clip] = process.argv.slice(5);
if (!clip) throw new Error("usage: node play.mjs MODULES AVATAR OUT CLIP [FACE]");
mkdirSync(out, { recursive: true });
const gav = (...args) => execFileSync(process.env.GAV ?? "gav", args, { stdio: ["ignore", "pipe", "inherit"] });
const size = 512;
const limits = {
  points: 40, // dB between a played moment and the posed file: rounding moves single points by a pixel
  still: 35, // dB between two moments, at most: something must have moved
  distance: 2e-5, // metres between a played point and the posed one
  splats: 30, // dB between a viewer's splats and ours: both viewers keep 8 bits of rotation and opacity
};

gav("convert", avatar, "-o", join(out, "avatar.glb"), "--force", "--quiet");
const stills = 4;
gav("convert", avatar, "-o", join(out, "frames.glb"), "--frames", String(stills), "--clip", clip, "--force", "--quiet");
const glb = readFileSync(join(out, "avatar.glb"));
const json = JSON.parse(glb.subarray(20, 20 + glb.readUInt32LE(12)));
const duration = (name) => {
  const animation = json.animations?.find((a) => a.name === name);
  if (!animation) throw new Error(`no clip ${name} in the GLB`);
  return Math.max(...animation.samplers.map((s) => json.accessors[s.input].max[0]));
};
const moments = [0.1, 0.45, 0.8];
const poses = (name) =>
  moments.map((share, k) => {
    const seconds = (share * duration(name)).toFixed(4);
    const file = `pose_${name}_${k}.glb`.replaceAll(/[^\w.]/g, "_");
    gav("pose", avatar, "--clip", name, "--time", seconds, "-o", join(out, file), "--force");
    return { seconds: Number(seconds), file };
  });

const { min, max } = json.accessors[json.meshes[0].primitives[0].attributes.POSITION];
const at = min.map((v, k) => (v + max[k]) / 2);
const extent = Math.max(...max.map((v, k) => v - min[k]));
const eye = [at[0] + 0.7 * extent, at[1] + 0.25 * extent, at[2] + 1.9 * extent];
writeFileSync(join(out, "camera.json"), JSON.stringify(camera(eye, at, 30, size)));

const three = (module, body) => `<body style="margin:0"><script type="importmap">{"imports": {
"three": "/modules/three/build/${module}.js", "three/webgpu": "/modules/three/build/three.webgpu.js",
"three/tsl": "/modules/three/build/three.tsl.js", "three/addons/": "/modules/three/examples/jsm/"}}</script><script type="module">
import * as THREE from "three"; import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";
${body}
renderer.setSize(${size}, ${size}); renderer.setClearColor(0xffffff, 1); document.body.append(renderer.domElement);
const scene = new THREE.Scene(), camera = new THREE.PerspectiveCamera(30, 1, 0.001 * ${extent}, 100 * ${extent});
camera.position.set(${eye}); camera.lookAt(${at});
window.show = async (url, name, seconds) => {
  scene.clear();
  const gltf = await loader.loadAsync(url);
  scene.add(gltf.scene);
  let points;
  gltf.scene.traverse((o) => {
    o.frustumCulled = false;
    if (o.isPoints) { points = o; o.material.size = 3; }
  });
  if (name) {
    const mixer = new THREE.AnimationMixer(gltf.scene);
    mixer.clipAction(gltf.animations.find((a) => a.name === name)).play();
    mixer.setTime(seconds);
  }
  for (let k = 0; k < (points ? 1 : 30); k++) {
    await (renderer.renderAsync ? renderer.renderAsync(scene, camera) : renderer.render(scene, camera));
    await new Promise(requestAnimationFrame);
  }
  if (!points) return { what: gltf.scene.children.map((c) => c.type).join() };
  const { position } = points.geometry.attributes, targets = points.geometry.morphAttributes.position ?? [];
  const where = Array.from(position.array);
  targets.forEach((t, k) => {
    const w = points.morphTargetInfluences[k];
    if (w !== 0) for (let i = 0; i < where.length; i++) where[i] += w * t.array[i];
  });
  return { where, what: points.type + " with " + targets.length + " morph targets" };
};
document.title = "ready";
</script>`;
const babylon = (enabled) => `<body style="margin:0"><canvas width="${size}" height="${size}" style="display:block"></canvas>
<script src="/modules/babylonjs/babylon.js"></script><script src="/modules/babylonjs-loaders/babylonjs.loaders.min.js"></script><script>
BABYLON.SceneLoader.ShowLoadingScreen = false;
const engine = new BABYLON.Engine(document.querySelector("canvas"), false, { preserveDrawingBuffer: true });
window.show = async (url, name, seconds) => {
  const scene = new BABYLON.Scene(engine);
  scene.useRightHandedSystem = true;
  scene.clearColor = new BABYLON.Color4(1, 1, 1, 1);
  const camera = new BABYLON.FreeCamera("camera", new BABYLON.Vector3(${eye}), scene);
  camera.setTarget(new BABYLON.Vector3(${at}));
  camera.fov = Math.PI / 6; camera.minZ = 0.001 * ${extent}; camera.maxZ = 100 * ${extent};
  const options = { animationStartMode: 0, extensionOptions: { KHR_gaussian_splatting: { enabled: ${enabled} } } };
  await BABYLON.AppendSceneAsync(url, scene, { pluginOptions: { gltf: options }, pluginExtension: ".glb" });
  if (name) {
    const group = scene.animationGroups.find((g) => g.name === name);
    group.start(false); group.pause(); group.goToFrame(seconds * 60);
  }
  await scene.whenReadyAsync();
  const mesh = scene.meshes.find((m) => m.getTotalVertices() > 0);
  if (!${enabled}) mesh.material.pointSize = 3;
  mesh.alwaysSelectAsActiveMesh = true;
  for (let k = 0; k < (${enabled} ? 30 : 3); k++) {
    scene.render();
    await new Promise(requestAnimationFrame);
  }
  const what = mesh.getClassName() + " with " + (mesh.morphTargetManager?.numTargets ?? 0) + " morph targets and " + (mesh.skeleton?.bones.length ?? 0) + " bones";
  // the skinned positions are local to the parent of the skeleton's root
  const place = (p) => BABYLON.Vector3.TransformCoordinates(BABYLON.Vector3.FromArray(p), mesh.computeWorldMatrix(true)).asArray();
  const local = ${enabled} ? undefined : mesh.getPositionData(true, true);
  const where = local && Array.from({ length: local.length / 3 }, (_, i) => place(local.slice(3 * i, 3 * i + 3))).flat();
  return { where, what };
};
document.title = "ready";
</script>`;
const pages = {
  "/three-points": three("three.module", `const renderer = new THREE.WebGLRenderer({ preserveDrawingBuffer: true }), loader = new GLTFLoader();`),
  "/three-splats": three("three.webgpu", `import { GLTFGaussianSplatLoaderExtension } from "three/addons/loaders/GLTFGaussianSplatLoaderExtension.js";
const renderer = new THREE.WebGPURenderer({ forceWebGL: true }), loader = new GLTFLoader();
// it takes the display colours of srgb_rec709_display for linear light: without its conversion they come out as they are stored
renderer.outputColorSpace = THREE.LinearSRGBColorSpace;
await renderer.init(); loader.register((parser) => new GLTFGaussianSplatLoaderExtension(parser));`),
  "/babylon-points": babylon(false),
  "/babylon-splats": babylon(true),
};

const server = await serve(modules, pages, (path) => (path.startsWith("/out/") ? join(out, path.slice(5)) : undefined));
const browser = await launch(modules);
let failed = false;
const check = (holds, text) => {
  console.log(`${holds ? "   " : "BAD"} ${text}`);
  failed ||= !holds;
};
try {
  for (const [path, name] of [["three-points", face], ["babylon-points", clip], ["three-splats", null], ["babylon-splats", null]]) {
    const tab = await browser.newPage();
    tab.on("pageerror", (error) => console.error(error.message));
    tab.on("console", (message) => message.type() === "error" && !message.location().url?.endsWith("favicon.ico") && console.error(message.text()));
    await tab.setViewport({ width: size, height: size });
    await tab.goto(`${server.address}/${path}`);
    await tab.waitForFunction('document.title === "ready"', { timeout: 120000 });
    const show = async (file, name, seconds, picture) => {
      const result = await tab.evaluate((...a) => window.show(...a), `/out/${file}`, name, seconds);
      return { ...result, picture: await tab.screenshot({ path: join(out, picture) }) };
    };
    let before;
    for (const [k, { seconds, file }] of poses(name ?? clip).entries()) {
      if (name) {
        const played = await show("avatar.glb", name, seconds, `${path}_${k}_played.png`);
        const posed = await show(file, null, 0, `${path}_${k}_posed.png`);
        if (k === 0) console.log(`${path}: ${played.what}, clip ${name}`);
        const far = played.where.reduce((far, v, i) => Math.max(far, Math.abs(v - posed.where[i])), 0);
        const db = await psnr(tab, [played.picture, posed.picture], size);
        check(far < limits.distance && db > limits.points, `${seconds} s: points within ${far.toExponential(1)} m, picture ${db > 1e8 ? "equal" : `${db.toFixed(1)} dB`}`);
        if (before) {
          const still = await psnr(tab, [played.picture, before], size);
          check(still < limits.still, `${seconds} s: ${still.toFixed(1)} dB from the moment before`);
        }
        before = played.picture;
      } else {
        const shown = await show(file, null, 0, `${path}_${k}.png`);
        if (k === 0) console.log(`${path}: ${shown.what}`);
        const own = join(out, `gav_${k}.png`);
        const model = path === "three-splats" ? "antialiased" : "classic";
        gav("render", join(out, file), "-o", own, "--cameras", join(out, "camera.json"), "--model", model, "--force", "--quiet");
        const db = await psnr(tab, [shown.picture, readFileSync(own)], size);
        check(db > limits.splats, `${seconds} s: ${db.toFixed(1)} dB from gav render`);
      }
    }
    if (!name) {
      // one set of splats a moment, switched by the animation: what viewers can play that animate no splats
      const before = [];
      for (const k of [1, 3]) {
        const [at, during] = [0, 0.5].map((d) => ((k + d) / stills) * duration(clip));
        gav("pose", avatar, "--clip", clip, "--time", at.toFixed(6), "-o", join(out, "still.glb"), "--force");
        const played = await show("frames.glb", clip, during, `${path}_still_${k}_played.png`);
        const posed = await show("still.glb", null, 0, `${path}_still_${k}_posed.png`);
        const db = await psnr(tab, [played.picture, posed.picture], size);
        check(db > limits.points, `still ${k} of ${stills}: ${db > 1e8 ? "equal" : `${db.toFixed(1)} dB`}`);
        before.push(played.picture);
      }
      const still = await psnr(tab, before, size);
      check(still < limits.still, `stills: ${still.toFixed(1)} dB from each other`);
    }
    await tab.close();
  }
} finally {
  await browser.close();
  server.close();
}
process.exitCode = failed ? 1 : 0;

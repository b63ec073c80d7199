// What the Khronos validator says about GLB files; exits with 1 when there is an error.
//
//   npm install --prefix MODULES gltf-validator
//   node tests/viewer/validate.mjs MODULES FILE.glb…
//
// The validator does not know KHR_gaussian_splatting and calls each of its attributes MESH_PRIMITIVE_INVALID_ATTRIBUTE, because
// their names contain a colon. Exactly these are forgiven: the code, at an attribute whose name begins with the extension's.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, join, resolve } from "node:path";

const [modules, ...files] = process.argv.slice(2);
if (files.length === 0) throw new Error("usage: node validate.mjs MODULES FILE.glb...");
const validator = createRequire(join(resolve(modules), "package.json"))("gltf-validator");
const forgiven = ({ code, pointer }) =>
  code === "MESH_PRIMITIVE_INVALID_ATTRIBUTE" && /\/attributes\/KHR_gaussian_splatting:[A-Z0-9_]+$/.test(pointer);

let failed = false;
for (const file of files) {
  const report = await validator.validateBytes(new Uint8Array(readFileSync(file)), { maxIssues: 0 });
  const { messages } = report.issues;
  const kept = messages.filter((m) => !forgiven(m));
  const count = (severity) => kept.filter((m) => m.severity === severity).length;
  const known = messages.length - kept.length;
  console.log(`${basename(file)}: ${count(0)} errors, ${count(1)} warnings, ${known} attributes of the extension`);
  for (const m of kept.filter((m) => m.severity < 2).slice(0, 20)) {
    console.log(`  ${["error", "warning"][m.severity]} ${m.code} ${m.pointer}: ${m.message}`);
  }
  for (const code of new Set(kept.filter((m) => m.severity >= 2).map((m) => m.code))) {
    console.log(`  note ${code}`);
  }
  failed ||= count(0) > 0;
}
process.exitCode = failed ? 1 : 0;

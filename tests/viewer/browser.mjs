// What the viewer checks share: a page with files beside it in headless Chromium (software WebGL), and PSNR of its pictures.
//
// Node modules are looked for in the folder MODULES, in which npm installed them; CHROMIUM names the browser when it is not
// /usr/bin/chromium.
import { createReadStream } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { join } from "node:path";

// Serves `pages` (path to text), `files` (path to file) and everything of MODULES/node_modules under /modules/.
export async function serve(modules, pages, files) {
  const server = createServer((request, response) => {
    const path = decodeURIComponent(request.url.split("?")[0]);
    if (path in pages) return response.setHeader("content-type", "text/html").end(pages[path]);
    const file = files(path) ?? join(modules, "node_modules", path.replace("/modules/", ""));
    if (path.endsWith("js")) response.setHeader("content-type", "text/javascript");
    createReadStream(file).on("error", () => response.writeHead(404).end()).pipe(response);
  });
  await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
  return { address: `http://127.0.0.1:${server.address().port}`, close: () => server.close() };
}

export async function launch(modules, ...more) {
  const require = createRequire(join(modules, "package.json"));
  const puppeteer = (await import(require.resolve("puppeteer-core"))).default;
  return puppeteer.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    protocolTimeout: 600000,
    args: ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", ...more],
  });
}

// PSNR in dB over the three colours of two square PNGs, decoded by the browser. Equal pictures give Infinity.
export function psnr(tab, pictures, side) {
  const texts = pictures.map((bytes) => Buffer.from(bytes).toString("base64"));
  return tab.evaluate(async (texts, side) => {
    const pixels = async (text) => {
      const bitmap = await createImageBitmap(await (await fetch(`data:image/png;base64,${text}`)).blob());
      const context = new OffscreenCanvas(side, side).getContext("2d");
      context.drawImage(bitmap, 0, 0);
      return context.getImageData(0, 0, side, side).data;
    };
    const [p, q] = await Promise.all(texts.map(pixels));
    let sum = 0;
    for (let i = 0; i < p.length; i++) sum += (p[i] - q[i]) ** 2;
    return sum === 0 ? 1e9 : 10 * Math.log10((255 ** 2 * side * side * 3) / sum);
  }, texts, side);
}

// A camera at `eye` that looks at `at`, in axes x right, y up, z back, as `gav render --cameras` takes it.
export function camera(eye, at, degrees, size) {
  const sub = (p, q) => p.map((v, k) => v - q[k]);
  const dot = (p, q) => p.reduce((sum, v, k) => sum + v * q[k], 0);
  const cross = (p, q) => [p[1] * q[2] - p[2] * q[1], p[2] * q[0] - p[0] * q[2], p[0] * q[1] - p[1] * q[0]];
  const unit = (p) => p.map((v) => v / Math.hypot(...p));
  const front = unit(sub(at, eye));
  const right = unit(cross(front, [0, 1, 0]));
  const rows = [right, cross(front, right), front].map((r) => [...r, -dot(r, eye)]);
  const focal = size / 2 / Math.tan((degrees * Math.PI) / 360);
  const one = { width: size, height: size, focal: [focal, focal], principal: [size / 2, size / 2], camera_from_world: rows };
  return { frame: "RUB", cameras: [one] };
}

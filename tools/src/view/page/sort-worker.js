// Beside the page: asks the server for poses and sorts splats, so that neither holds up the drawing.
//
// In: { means } once · { camera } whenever it moves · { pose } whenever another pose is wanted · { order } a list to fill again.
// Out: { order, camera, buffer?, milliseconds } a sorted list and, when the pose changed, the message it belongs to, so that
// splats and their order change together · { error } from the server.
//
// Work never queues: of cameras and poses only the last one counts. Two poses are under way at a time, so that the server
// computes while the last answer is being drawn.
import { decode, fetchBinary } from "./splats.js";
import { Sorter } from "./sort.js";

const UNDER_WAY = 2;

let rest, means, sorter, camera, wanted;
let underWay = 0, asked = 0, shown = 0;
let dirty = false, scheduled = false;
const spare = [];

self.onmessage = ({ data }) => {
  if (data.means) {
    rest = means = data.means;
    sorter = new Sorter(rest.length / 3);
  }
  if (data.order) spare.push(data.order);
  if (data.camera) {
    camera = data.camera;
    dirty = true;
  }
  if (data.pose) {
    wanted = data.pose;
    ask();
  }
  schedule();
};

// After all messages that have already arrived.
function schedule() {
  if (!dirty || scheduled || !camera || !means) return;
  scheduled = true;
  setTimeout(() => {
    scheduled = false;
    if (dirty) send();
  });
}

function send(buffer, took) {
  dirty = false;
  const start = performance.now();
  const order = spare.pop() ?? new Uint32Array(sorter.count);
  sorter.sort(means, camera.center, camera.front, order);
  const message = { order, camera: camera.id, sortMilliseconds: performance.now() - start };
  const moved = [order.buffer];
  if (buffer) {
    Object.assign(message, { buffer, poseMilliseconds: took });
    moved.push(buffer);
  }
  self.postMessage(message, moved);
}

async function ask() {
  if (!wanted || underWay >= UNDER_WAY) return;
  const body = JSON.stringify(wanted.body);
  const number = ++asked, id = wanted.id;
  wanted = undefined;
  underWay++;
  const start = performance.now();
  try {
    const buffer = await fetchBinary("/pose", { method: "POST", headers: { "content-type": "application/json" }, body });
    // answers may overtake each other
    if (number > shown) {
      shown = number;
      const posed = decode(buffer).means;
      means = posed ? posed.slice() : rest;
      if (camera) send(buffer, performance.now() - start);
      self.postMessage({ posed: id });
    }
  } catch (error) {
    self.postMessage({ error: error.message, posed: id });
  } finally {
    underWay--;
    ask();
  }
}

// Messages of splats (tools/src/view/messages.rs) taken apart. Arrays are views of the message, nothing is copied.

const PARTS = [["means", 1, 3], ["rotations", 2, 4], ["scales", 4, 3], ["colors", 8, 4]];
const HARMONICS = 16;

// → { count, degree, milliseconds, drivers, means?, rotations?, scales?, colors?, harmonics? }
export function decode(buffer) {
  const words = new Uint32Array(buffer, 0, 8);
  const [magic, count, parts, degree, microseconds, drivers] = words;
  if (magic !== 0x31737667) throw new Error("this is no message of splats");
  const message = { count, degree, milliseconds: microseconds / 1000 };
  let offset = 32;
  for (const [name, bit, width] of PARTS) {
    if (!(parts & bit)) continue;
    message[name] = new Float32Array(buffer, offset, width * count);
    offset += 4 * width * count;
  }
  message.drivers = new Float32Array(buffer, offset, drivers);
  offset += 4 * drivers;
  if (parts & HARMONICS) message.harmonics = new Uint16Array(buffer, offset, 3 * count * ((degree + 1) ** 2 - 1));
  return message;
}

// The binary answer of `path`; an error that carries the server's words otherwise.
export async function fetchBinary(path, options) {
  const response = await fetch(path, options).catch(() => {
    throw new Error("gav view does not answer any more: start it again and reload this page");
  });
  if (!response.ok) throw new Error((await response.text()).trim());
  return response.arrayBuffer();
}

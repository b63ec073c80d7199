// Draws sorted splats with WebGL2, by the rules of kernels/src/raster.rs.
//
// Attributes of splats lie in textures. A first pass places each splat on the screen, in the order of drawing, and writes the
// result to textures again, so that the work of a splat is not done for every corner of its quad. A second pass blends the
// quads back to front into a picture of 16-bit floats: hundreds of layers in 8 bits would leave visible steps. A third pass
// lays that picture over the background.
import { blend, place, quad, resolve, whole } from "./shaders.js";

const TEXTURE_WIDTH = 2048;
// quads of an instance
const CHUNK = 256;

export class Renderer {
  // `splats`: the message of the splats at rest.
  constructor(canvas, splats, scene) {
    const gl = canvas.getContext("webgl2", {
      alpha: true, premultipliedAlpha: true, antialias: false, depth: false, stencil: false, powerPreference: "high-performance",
    });
    if (!gl) throw new Error("this browser has no WebGL2, which drawing needs");
    Object.assign(this, { canvas, gl, scene, count: splats.count });
    this.isFloat = Boolean(gl.getExtension("EXT_color_buffer_float") ?? gl.getExtension("EXT_color_buffer_half_float"));
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    this.rest = splats;
    this.posed = new Set();
    this.textures = {
      means: this.texture(gl.RGB32F, gl.RGB, gl.FLOAT, 3, splats.means),
      rotations: this.texture(gl.RGBA32F, gl.RGBA, gl.FLOAT, 4, splats.rotations),
      scales: this.texture(gl.RGB32F, gl.RGB, gl.FLOAT, 3, splats.scales),
      colors: this.texture(gl.RGBA32F, gl.RGBA, gl.FLOAT, 4, splats.colors),
    };
    this.degree = splats.degree;
    if (splats.harmonics) this.addHarmonics(splats.harmonics);
    this.placing = this.program(whole, place);
    this.blending = this.program(quad, blend);
    this.resolving = this.program(whole, resolve);
    this.order = this.texture(gl.R32UI, gl.RED_INTEGER, gl.UNSIGNED_INT, 1, new Uint32Array(this.count));
    this.makeStage();
    this.makeQuads();
    this.framebuffer = gl.createFramebuffer();
    this.empty = gl.createVertexArray();
    this.ready = false;
  }

  // Harmonics of the highest degree that fits a texture.
  addHarmonics(all) {
    const { gl, count } = this;
    const rows = gl.getParameter(gl.MAX_TEXTURE_SIZE);
    const perSplat = (degree) => (degree + 1) ** 2 - 1;
    const fits = (degree) => Math.ceil((count * perSplat(degree)) / TEXTURE_WIDTH) <= rows;
    const full = this.degree;
    while (this.degree > 0 && !fits(this.degree)) this.degree--;
    if (this.degree === 0) return;
    let kept = all;
    if (this.degree < full) {
      const [from, to] = [3 * perSplat(full), 3 * perSplat(this.degree)];
      kept = new Uint16Array(count * to);
      for (let i = 0; i < count; i++) kept.set(all.subarray(i * from, i * from + to), i * to);
    }
    this.textures.harmonics = this.texture(gl.RGB16F, gl.RGB, gl.HALF_FLOAT, 3, kept);
  }

  // A texture that holds the texels of `values` row by row.
  texture(internal, format, type, width, values) {
    const { gl } = this;
    const texels = values.length / width;
    const rows = Math.max(Math.ceil(texels / TEXTURE_WIDTH), 1);
    if (rows > gl.getParameter(gl.MAX_TEXTURE_SIZE)) throw new Error(`${this.count} splats are too many for this graphics card`);
    const texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texStorage2D(gl.TEXTURE_2D, 1, internal, TEXTURE_WIDTH, rows);
    for (const name of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, name, gl.NEAREST);
    const column = { texture, format, type, width };
    this.fill(column, values);
    return column;
  }

  // Full rows at once, then what is left of the last: nothing is copied on the way.
  fill({ texture, format, type, width }, values) {
    const { gl } = this;
    gl.bindTexture(gl.TEXTURE_2D, texture);
    const texels = values.length / width;
    const full = Math.floor(texels / TEXTURE_WIDTH);
    if (full > 0) gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, TEXTURE_WIDTH, full, format, type, values);
    const rest = texels - full * TEXTURE_WIDTH;
    if (rest > 0) gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, full, rest, 1, format, type, values, full * TEXTURE_WIDTH * width);
  }

  program(vertex, fragment) {
    const { gl } = this;
    const program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
      gl.deleteShader(shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) {
      const logs = gl.getAttachedShaders(program).map((shader) => gl.getShaderInfoLog(shader));
      throw new Error(`the graphics card refuses a program: ${[gl.getProgramInfoLog(program), ...logs].join(" ")}`);
    }
    const uniforms = {};
    for (let k = 0; k < gl.getProgramParameter(program, gl.ACTIVE_UNIFORMS); k++) {
      const { name } = gl.getActiveUniform(program, k);
      uniforms[name] = gl.getUniformLocation(program, name);
    }
    return { program, uniforms };
  }

  // Where the first pass leaves the placed splats.
  makeStage() {
    const { gl } = this;
    this.stage = gl.createFramebuffer();
    this.stageRows = Math.max(Math.ceil(this.count / TEXTURE_WIDTH), 1);
    this.placed = [0, 1, 2].map((k) => {
      const { texture } = this.texture(gl.RGBA32UI, gl.RGBA_INTEGER, gl.UNSIGNED_INT, 4, new Uint32Array(4 * this.count));
      gl.bindFramebuffer(gl.FRAMEBUFFER, this.stage);
      gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0 + k, gl.TEXTURE_2D, texture, 0);
      return texture;
    });
    gl.drawBuffers([0, 1, 2].map((k) => gl.COLOR_ATTACHMENT0 + k));
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
  }

  // The corners of one chunk: 4 for each quad, in two triangles.
  makeQuads() {
    const { gl } = this;
    const corners = new Uint16Array(6 * CHUNK);
    for (let k = 0; k < CHUNK; k++) corners.set([0, 1, 2, 2, 1, 3].map((corner) => 4 * k + corner), 6 * k);
    this.quads = gl.createVertexArray();
    gl.bindVertexArray(this.quads);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, corners, gl.STATIC_DRAW);
    gl.bindVertexArray(null);
  }

  // Takes over a sorted list, and the splats of a pose when `message` has one; what it does not name is at rest.
  update(order, message) {
    this.fill(this.order, order);
    this.ready = true;
    if (!message) return;
    for (const [name, column] of Object.entries(this.textures)) {
      const values = message[name];
      if (values && (name !== "harmonics" || this.degree === message.degree)) {
        this.fill(column, values);
        this.posed.add(name);
      } else if (this.posed.delete(name)) {
        this.fill(column, this.rest[name]);
      }
    }
  }

  // The picture that splats are blended into, `size` pixels.
  target(size) {
    const { gl } = this;
    if (this.blended?.size[0] === size[0] && this.blended.size[1] === size[1]) return;
    if (this.blended) gl.deleteTexture(this.blended.texture);
    const texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texStorage2D(gl.TEXTURE_2D, 1, this.isFloat ? gl.RGBA16F : gl.RGBA8, ...size);
    for (const name of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, name, gl.LINEAR);
    for (const name of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, name, gl.CLAMP_TO_EDGE);
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.framebuffer);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, texture, 0);
    this.blended = { texture, size };
  }

  // Draws what `camera` (camera.js) sees. `look`: background [r, g, b, a], splatScale, points.
  draw(camera, look) {
    const { gl } = this;
    this.target(camera.size);
    this.place(camera, look);
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.framebuffer);
    gl.viewport(0, 0, ...camera.size);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    if (this.ready) this.blend(camera, look);
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    this.resolve(look);
  }

  // Binds textures to the samplers of the program in use.
  bind(uniforms, textures) {
    const { gl } = this;
    textures.forEach(([name, texture], unit) => {
      gl.activeTexture(gl.TEXTURE0 + unit);
      gl.bindTexture(gl.TEXTURE_2D, texture);
      gl.uniform1i(uniforms[name], unit);
    });
    gl.activeTexture(gl.TEXTURE0);
  }

  place(camera, look) {
    const { gl, scene } = this;
    const { program, uniforms } = this.placing;
    gl.useProgram(program);
    const columns = { harmonics: this.textures.means, ...this.textures, order: this.order };
    this.bind(uniforms, Object.entries(columns).map(([name, { texture }]) => [name, texture]));
    gl.uniform1i(uniforms.count, this.count);
    gl.uniformMatrix3fv(uniforms.camera_from_avatar, false, camera.rows.flat());
    gl.uniform3fv(uniforms.camera_center, camera.center);
    gl.uniform2fv(uniforms.focal, camera.focal);
    gl.uniform2fv(uniforms.principal, camera.principal);
    gl.uniform2fv(uniforms.size, camera.size);
    // slopes end 15 % of the picture beyond its borders
    const ends = [0, 1].map((k) => [-0.15, 1.15].map((share) => (share * camera.size[k] - camera.principal[k]) / camera.focal[k]));
    gl.uniform4fv(uniforms.slopes, ends.flat());
    gl.uniform1f(uniforms.near, camera.near);
    gl.uniform1f(uniforms.splat_scale, look.splatScale);
    gl.uniform1i(uniforms.degree, this.degree);
    gl.uniform1i(uniforms.antialiased, scene.model === "antialiased");
    gl.uniform1i(uniforms.surfel, scene.model === "surfel");
    gl.uniform1i(uniforms.points, look.points);
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.stage);
    gl.viewport(0, 0, TEXTURE_WIDTH, this.stageRows);
    gl.bindVertexArray(this.empty);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  blend(camera, look) {
    const { gl } = this;
    const { program, uniforms } = this.blending;
    gl.useProgram(program);
    this.bind(uniforms, ["placed", "shaped", "painted"].map((name, k) => [name, this.placed[k]]));
    gl.uniform1i(uniforms.count, this.count);
    gl.uniform1i(uniforms.chunk, CHUNK);
    gl.uniform2fv(uniforms.size, camera.size);
    gl.uniform1f(uniforms.height, camera.size[1]);
    gl.uniform1i(uniforms.points, look.points);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.bindVertexArray(this.quads);
    gl.drawElementsInstanced(gl.TRIANGLES, 6 * CHUNK, gl.UNSIGNED_SHORT, 0, Math.ceil(this.count / CHUNK));
    gl.disable(gl.BLEND);
  }

  resolve(look) {
    const { gl, canvas } = this;
    const { program, uniforms } = this.resolving;
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.useProgram(program);
    gl.bindTexture(gl.TEXTURE_2D, this.blended.texture);
    gl.uniform1i(uniforms.blended, 0);
    gl.uniform4fv(uniforms.background, look.background);
    gl.uniform2f(uniforms.ratio, this.blended.size[0] / canvas.width, this.blended.size[1] / canvas.height);
    gl.uniform1i(uniforms.linear, this.scene.linear);
    gl.bindVertexArray(this.empty);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
    gl.bindVertexArray(null);
  }

  // Waits until the graphics card is done; for measuring.
  finish() {
    this.gl.bindFramebuffer(this.gl.FRAMEBUFFER, null);
    this.gl.readPixels(0, 0, 1, 1, this.gl.RGBA, this.gl.UNSIGNED_BYTE, new Uint8Array(4));
  }
}

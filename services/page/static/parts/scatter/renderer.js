// Draws points with WebGL 2. Each column is a buffer of its own, so a change of colours sends one byte a point.

const VERTEX = `#version 300 es
layout(location = 0) in float x;
layout(location = 1) in float y;
layout(location = 2) in uint code;
uniform vec4 view;
uniform float size, opacity, grey, depth;
uniform highp sampler2D colours;
flat out vec4 colour;
void main() {
  gl_Position = vec4(vec2(x, y) * view.xy + view.zw, depth, 1.0);
  gl_PointSize = size;
  vec3 own = texelFetch(colours, ivec2(int(code), 0), 0).rgb;
  vec3 none = texelFetch(colours, ivec2(255, 0), 0).rgb;
  colour = vec4(mix(own, none, grey) * opacity, opacity);
}`;

const FRAGMENT = `#version 300 es
precision mediump float;
uniform highp float size;
flat in vec4 colour;
out vec4 pixel;
void main() {
  float covered = clamp(0.5 + size * (0.5 - length(gl_PointCoord - 0.5)), 0.0, 1.0);
  if (covered == 0.0) discard;
  pixel = colour * covered;
}`;

// A faint point that is drawn later stays below a strong one, because it is deeper.
const FAINT = { opacity: 0.3, size: 0.8, grey: 0.8, depth: 0.5 };
const STRONG = { opacity: 1, size: 1, grey: 0, depth: 0 };

export class Renderer {
  /** @param {WebGL2RenderingContext} gl */
  constructor(gl) {
    this.gl = gl;
    this.program = this.#program();
    this.places = Object.fromEntries(
      ["view", "size", "opacity", "grey", "depth"].map((name) => [name, gl.getUniformLocation(this.program, name)]),
    );
    this.buffers = [0, 1, 2].map(() => gl.createBuffer());
    this.rows = gl.createBuffer();
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    for (const filter of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, filter, gl.NEAREST);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    gl.enable(gl.DEPTH_TEST);
    gl.depthFunc(gl.LEQUAL);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    this.counts = { faint: 0, strong: 0 };
  }

  #program() {
    const { gl } = this;
    const program = gl.createProgram();
    for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) throw new Error(gl.getProgramInfoLog(program));
    return program;
  }

  /** Take the places of all points. */
  setPlaces(x, y) {
    this.#column(0, x);
    this.#column(1, y);
  }

  /** Take the bytes that choose the colours of all points. */
  setCodes(codes) {
    this.#column(2, codes);
  }

  #column(location, values) {
    const { gl } = this;
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[location]);
    gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(location);
    if (values instanceof Uint8Array) gl.vertexAttribIPointer(location, 1, gl.UNSIGNED_BYTE, 0, 0);
    else gl.vertexAttribPointer(location, 1, gl.FLOAT, false, 0, 0);
  }

  /** Take the 256 colours. */
  setColours(colours) {
    const { gl } = this;
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB8, 256, 1, 0, gl.RGB, gl.UNSIGNED_BYTE, colours);
  }

  /** Take the rows to draw: see `layers`. */
  setLayers({ rows, faint, strong }) {
    const { gl } = this;
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, this.rows);
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, rows, gl.STATIC_DRAW);
    this.counts = { faint, strong };
  }

  /**
   * Draw a part of the points: over those before, or on an empty ground if the part begins at 0.
   *
   * @param {{x, y, scale}} camera
   * @param {{width, height}} size of the view, in CSS pixels
   * @param {{ratio, diameter, opacity}} look `ratio`: device pixels for one CSS pixel
   * @param {[number, number]} part from which share of each layer to which, from 0 to 1
   */
  draw(camera, { width, height }, { ratio, diameter, opacity }, [from, to]) {
    const { gl, places } = this;
    const { faint, strong } = this.counts;
    const [sx, sy] = [(2 * camera.scale) / width, (2 * camera.scale) / height];
    gl.viewport(0, 0, gl.drawingBufferWidth, gl.drawingBufferHeight);
    gl.clearColor(0, 0, 0, 0);
    if (from === 0) gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.useProgram(this.program);
    gl.uniform4f(places.view, sx, sy, -camera.x * sx, -camera.y * sy);
    const layer = (look, start, count) => {
      gl.uniform1f(places.size, Math.max(1, diameter * ratio * look.size));
      gl.uniform1f(places.opacity, opacity * look.opacity);
      gl.uniform1f(places.grey, look.grey);
      gl.uniform1f(places.depth, look.depth);
      const first = Math.ceil(count * from);
      gl.drawElements(gl.POINTS, Math.ceil(count * to) - first, gl.UNSIGNED_INT, 4 * (start + first));
    };
    if (faint) layer(FAINT, 0, faint);
    if (strong) layer(STRONG, faint, strong);
  }

  /** Give the memory back at once; a browser allows only a few contexts. */
  remove() {
    this.gl.getExtension("WEBGL_lose_context")?.loseContext();
  }
}

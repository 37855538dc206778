// Points on a plane: up to 1,000,000, with a camera, a lasso, and what the pointer is on. It knows nothing of photos.

import { Part, classMap, html, nothing } from "../base/part.js";
import * as cameras from "./scatter/camera.js";
import { nearest, within } from "./scatter/find.js";
import { Gestures } from "./scatter/gestures.js";
import { Pace, look } from "./scatter/look.js";
import { layers, mixed } from "./scatter/order.js";
import { overlay } from "./scatter/overlay.js";
import { Renderer } from "./scatter/renderer.js";

const LINGER = 90; // milliseconds that the pointer stays before the point below it is told
const REACH = { mouse: 5, touch: 16 }; // pixels beyond the edge of a point
const MOST = 2; // device pixels for a CSS pixel; more costs time and shows nothing
const LARGER = 1.6;
const DRAWN = ["camera", "size", "x", "codes", "colours", "strong"];
const CONTEXT = { antialias: false, preserveDrawingBuffer: true, powerPreference: "high-performance" };

const HINT = "Drag to move, scroll to zoom, Shift and drag to select. Keys: arrows, + − 0; Enter opens the point in the middle.";
const NO_WEBGL =
  "This browser cannot draw the map, because it has no WebGL 2. Turn on hardware acceleration in its settings, or open this page " +
  "in a current Firefox, Chrome, Edge or Safari. The counts beside the map, and all other views, work without it.";
const LOST = "The graphics card is busy with something else. The map comes back by itself.";

/**
 * Properties: `x`, `y` (Float32Array; NaN is not drawn), `codes` (Uint8Array) into `colours` (256 × 3 bytes), `strong`
 * (Uint8Array, 0 is drawn faintly; null: all are strong), `marks` and `extra` ([{x, y, name}]), `label`, `camera`.
 *
 * Events: `pick` {row}, `hover` {row or -1, x, y}, `lasso` {rows}, `moved` {camera}.
 */
class Scatter extends Part {
  static properties = Object.fromEntries(
    ["x", "y", "codes", "colours", "strong", "marks", "extra", "label", "camera", "size", "selection", "spot", "lassoing", "trouble"].map(
      (name) => [name, { attribute: false }],
    ),
  );

  constructor() {
    super();
    Object.assign(this, { x: null, y: null, codes: null, colours: null, strong: null, marks: [], extra: [], label: "" });
    Object.assign(this, { camera: null, size: null, selection: null, spot: null, lassoing: false, trouble: null });
    this.pace = new Pace();
    this.counts = { faint: 0, strong: 0 };
  }

  firstUpdated() {
    this.canvas = this.querySelector("canvas");
    this.gestures = new Gestures(this.canvas, this.#gestures());
    this.watch = new ResizeObserver(([{ contentRect: { width, height } }]) => (this.size = width && height ? { width, height } : null));
    this.watch.observe(this.canvas);
    this.listeners = new AbortController();
    const { signal } = this.listeners;
    this.canvas.addEventListener("webglcontextlost", (event) => this.#lost(event), { signal });
    this.canvas.addEventListener("webglcontextrestored", () => this.#start(), { signal });
    this.#start();
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    this.listeners?.abort();
    this.watch?.disconnect();
    this.renderer?.remove();
    this.renderer = null;
    clearTimeout(this.lingering);
  }

  #start() {
    const gl = this.canvas.getContext("webgl2", CONTEXT);
    this.trouble = gl ? null : NO_WEBGL;
    if (!gl) return;
    this.renderer = new Renderer(gl);
    this.#send(new Map(["x", "codes", "colours"].map((name) => [name, null])));
  }

  #lost(event) {
    event.preventDefault(); // asks the browser to give the context back
    this.renderer = null;
    this.trouble = LOST;
  }

  willUpdate(changed) {
    if (changed.has("x") && this.x) {
      const { bounds } = this;
      this.bounds = cameras.bounds(this.x, this.y);
      // The same places, read anew: what is seen stays.
      if (bounds && Object.keys(bounds).some((side) => bounds[side] !== this.bounds[side])) this.camera = null;
      if (this.mixed?.length !== this.x.length) this.mixed = mixed(this.x.length);
    }
    if (changed.has("x") || changed.has("strong")) this.clear();
    if (!this.size || !this.bounds) return;
    this.home = cameras.fit(this.bounds, this.size);
    if (!this.camera || (this.atHome && changed.has("size"))) this.reset();
  }

  updated(changed) {
    this.#send(changed);
  }

  /** Send to the graphics card what has changed, and draw. */
  #send(changed) {
    const { renderer, x, y } = this;
    if (!renderer || !x) return;
    if (changed.has("x")) renderer.setPlaces(x, y);
    if (this.codes && (changed.has("codes") || changed.has("x"))) renderer.setCodes(this.codes);
    if (this.colours && changed.has("colours")) renderer.setColours(this.colours);
    if (changed.has("x") || changed.has("strong")) {
      const found = layers(this.mixed, x, y, this.strong);
      this.counts = { faint: found.faint, strong: found.strong };
      renderer.setLayers(found);
    }
    if (!DRAWN.some((name) => changed.has(name))) return;
    this.drawn = 0;
    this.#plan();
  }

  #plan() {
    this.frame ??= requestAnimationFrame((now) => {
      this.frame = null;
      this.#draw(now);
    });
  }

  /** Draw as many points as fit into a frame. What is left follows in the next frames, unless something changes. */
  #draw(now) {
    if (!this.renderer || !this.size || !this.camera || !this.codes) return;
    const ratio = Math.min(devicePixelRatio, MOST);
    const [width, height] = [Math.round(this.size.width * ratio), Math.round(this.size.height * ratio)];
    if (this.canvas.width !== width || this.canvas.height !== height) {
      Object.assign(this.canvas, { width, height });
      this.drawn = 0; // a canvas of another size is empty
    }
    this.pace.frame(now);
    const before = this.drawn;
    this.drawn = Math.min(1, before + this.pace.points / Math.max(1, this.counts.faint + this.counts.strong));
    this.renderer.draw(this.camera, this.size, { ratio, ...this.#look() }, [before, this.drawn]);
    if (this.drawn < 1) this.#plan();
  }

  #look() {
    return look(Math.max(1, this.counts.strong), this.camera.scale / this.home.scale, this.size);
  }

  /** Show what a camera sees. */
  #see(camera) {
    this.camera = camera;
    this.atHome = false;
    this.spot = null;
    this.emit("moved", { camera });
  }

  #move(camera) {
    this.#see(cameras.kept(camera, this.bounds));
  }

  zoom(factor, x, y) {
    if (this.camera) this.#move(cameras.zoom(this.camera, this.size, cameras.allowed(this.camera, this.home, factor), x, y));
  }

  /** Show all points. */
  reset() {
    if (!this.home) return;
    this.#see(this.home);
    this.atHome = true;
  }

  /** Return the row that is drawn at a pixel, or -1. */
  at(x, y, reach = REACH.mouse) {
    if (!this.camera || !this.x) return -1;
    const [right, up] = cameras.toPlane(this.camera, this.size, x, y);
    return nearest(this.x, this.y, this.strong, right, up, (this.#look().diameter / 2 + reach) / this.camera.scale);
  }

  #gestures() {
    const pick = (row) => row >= 0 && this.emit("pick", { row });
    const polygon = (points) => points.map(([x, y]) => cameras.toPlane(this.camera, this.size, x, y));
    const ready = (act) => (...values) => (this.camera ? act(...values) : undefined);
    return {
      pan: ready((right, down) => this.#move(cameras.pan(this.camera, right, down))),
      zoom: (factor, x, y) => this.zoom(factor, x, y),
      home: () => this.reset(),
      tap: (x, y, finger) => pick(this.at(x, y, finger ? REACH.touch : REACH.mouse)),
      middle: ready(() => pick(this.at(this.size.width / 2, this.size.height / 2, Infinity))),
      hover: (x, y) => this.#hover(x, y),
      leave: () => this.#leave(),
      selects: () => this.lassoing,
      select: ready((points) => (this.selection = polygon(points))),
      selected: ready((points) => this.#select(polygon(points))),
      cancel: () => this.clear(),
    };
  }

  #hover(x, y) {
    clearTimeout(this.lingering);
    if (this.spot && this.at(x, y) !== this.spotted) this.#leave();
    if (!this.spot) this.lingering = setTimeout(() => this.#spot(this.at(x, y)), LINGER);
  }

  #spot(row) {
    if (row < 0) return;
    this.spotted = row;
    this.spot = [this.x[row], this.y[row]];
    const [x, y] = cameras.toScreen(this.camera, this.size, ...this.spot);
    this.emit("hover", { row, x, y });
  }

  #leave() {
    clearTimeout(this.lingering);
    this.spot = null;
    this.emit("hover", { row: -1 });
  }

  #select(polygon) {
    this.lassoing = false;
    if (polygon.length < 3) return this.clear();
    this.selection = polygon;
    this.emit("lasso", { rows: within(polygon, this.x, this.y, this.strong) });
  }

  /** Take the selection away. */
  clear() {
    this.lassoing = false;
    if (!this.selection) return;
    this.selection = null;
    this.emit("lasso", { rows: null });
  }

  render() {
    const { camera, size } = this;
    return html`
      <canvas class=${classMap({ lassoing: this.lassoing })} tabindex="0" role="application" aria-roledescription="map"
        aria-label=${this.label} aria-describedby="map-hint"></canvas>
      <svg aria-hidden="true">${camera && size ? overlay(this) : nothing}</svg>
      <p class="hint" id="map-hint">${HINT}</p>
      <div class="tools" role="group" aria-label="Map">
        ${this.#tool("+", "Zoom in", () => this.zoom(LARGER))} ${this.#tool("−", "Zoom out", () => this.zoom(1 / LARGER))}
        ${this.#tool("Fit", "Show all points", () => this.reset())}
        <button title="Draw around points to select them" aria-pressed=${this.lassoing} @click=${() => (this.lassoing = !this.lassoing)}>Lasso</button>
      </div>
      ${this.trouble ? html`<p class="trouble" role="alert">${this.trouble}</p>` : nothing}
    `;
  }

  #tool(text, name, act) {
    return html`<button title=${name} aria-label=${name} @click=${act}>${text}</button>`;
  }
}

customElements.define("hw-scatter", Scatter);

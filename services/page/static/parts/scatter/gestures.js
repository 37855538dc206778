// What fingers, mouse and keys do on the map, told as what is meant: pan, zoom, tap, hover, select.

const STILL = { mouse: 4, pen: 6, touch: 10 }; // pixels that a click may move
const STEP = 0.12; // share of the view that one arrow moves
const LARGER = 1.4;
const NOTCH = 0.0016; // growth for one pixel of the wheel
const LINE = 16; // pixels of a line, for wheels that count lines

export class Gestures {
  /**
   * @param {HTMLElement} surface
   * @param {object} on {pan(right, down), zoom(factor, x, y), home(), tap(x, y, finger), middle(), hover(x, y), leave(),
   *   selects(), select(points), selected(points), cancel()}, with pixels from the upper left corner of the surface
   */
  constructor(surface, on) {
    this.surface = surface;
    this.on = on;
    this.pointers = new Map();
    this.path = null; // points of the selection that is drawn now
    for (const name of ["pointerdown", "pointermove", "pointerup", "pointercancel", "pointerleave", "wheel", "keydown"])
      surface.addEventListener(name, (event) => this[name](event), { passive: false });
  }

  #place(event) {
    const { left, top } = this.surface.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top];
  }

  pointerdown(event) {
    if (event.button > 0) return;
    this.surface.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.#place(event));
    this.on.leave();
    if (this.pointers.size > 1) return this.#drop();
    this.start = this.#place(event);
    this.still = true;
    this.rectangle = event.shiftKey;
    this.path = event.shiftKey || this.on.selects() ? [this.start] : null;
  }

  pointermove(event) {
    const now = this.#place(event);
    const before = this.pointers.get(event.pointerId);
    if (!before) return event.pointerType === "touch" ? undefined : this.on.hover(...now);
    if (this.still && this.pointers.size === 1 && distance(now, this.start) <= (STILL[event.pointerType] ?? 4)) return;
    this.still = false;
    const others = [...this.pointers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
    this.pointers.set(event.pointerId, now);
    if (others.length) this.#pinch(others[0], before, now);
    else if (this.path) this.#draw(now);
    else this.on.pan(now[0] - before[0], now[1] - before[1]);
  }

  /** Two fingers: what is under each of them stays there. */
  #pinch(other, before, now) {
    const middle = (a, b) => [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
    const [x, y] = middle(other, before);
    const [x_now, y_now] = middle(other, now);
    this.on.pan(x_now - x, y_now - y);
    this.on.zoom(distance(other, now) / Math.max(1, distance(other, before)), x_now, y_now);
  }

  #draw(now) {
    const [x, y] = this.start;
    if (this.rectangle) this.path = [[x, y], [now[0], y], now, [x, now[1]]];
    else if (distance(now, this.path.at(-1)) >= 3) this.path.push(now);
    this.on.select(this.path);
  }

  pointerup(event) {
    if (!this.pointers.delete(event.pointerId) || this.pointers.size) return;
    if (this.still) this.on.tap(...this.#place(event), event.pointerType === "touch");
    else if (this.path) this.on.selected(this.path);
    this.path = null;
  }

  pointercancel(event) {
    this.pointers.delete(event.pointerId);
    this.#drop();
  }

  pointerleave() {
    if (!this.pointers.size) this.on.leave();
  }

  #drop() {
    this.still = false;
    if (this.path) this.on.cancel();
    this.path = null;
  }

  wheel(event) {
    event.preventDefault();
    const pixels = event.deltaY * (event.deltaMode ? LINE : 1) * (event.ctrlKey ? 5 : 1); // ctrl: fingers on a touch pad
    this.on.zoom(Math.exp(-NOTCH * Math.max(-400, Math.min(400, pixels))), ...this.#place(event));
  }

  keydown(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { clientWidth: width, clientHeight: height } = this.surface;
    const keys = {
      ArrowLeft: () => this.on.pan(STEP * width, 0),
      ArrowRight: () => this.on.pan(-STEP * width, 0),
      ArrowUp: () => this.on.pan(0, STEP * height),
      ArrowDown: () => this.on.pan(0, -STEP * height),
      "+": () => this.on.zoom(LARGER),
      "=": () => this.on.zoom(LARGER),
      "-": () => this.on.zoom(1 / LARGER),
      0: () => this.on.home(),
      Enter: () => this.on.middle(),
      Escape: () => (this.#drop(), this.on.cancel()),
    };
    if (!keys[event.key]) return;
    event.preventDefault();
    event.stopPropagation();
    keys[event.key]();
  }
}

const distance = ([ax, ay], [bx, by]) => Math.hypot(ax - bx, ay - by);

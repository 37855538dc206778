// A grid of photos, of any number of rows. Only what is in sight is in the document; its elements are used again.

import { View, html } from "../base/part.js";
import { thumbs } from "../base/thumbs.js";
import { Cell } from "./cell.js";
import { Plan } from "./plan.js";

const MORE = 2; // lines above and below what is in sight
const SETTLED = 90; // milliseconds without scrolling
const MOVES = { ArrowLeft: () => -1, ArrowRight: () => 1, ArrowUp: ({ columns }) => -columns, ArrowDown: ({ columns }) => columns };

/**
 * Properties: `rows` (Rows), `shown` (their numbers, in order), `selection` (a Set of numbers), `list` (whatever it is that
 * is shown: if it changes, the grid goes to its start), `size` of a photo in pixels. `current` is the number of the row
 * that keys move.
 *
 * Events: `hw-select` {selection}, `hw-current` {row}, `hw-open` {row}.
 */
class Grid extends View {
  static properties = {
    rows: { attribute: false },
    shown: { attribute: false },
    selection: { attribute: false },
    list: { attribute: false },
    size: { attribute: false },
  };

  constructor() {
    super();
    this.shown = new Uint32Array();
    this.selection = new Set();
    this.size = 168;
    this.place = 0; // of the current photo, in `shown`
    this.anchor = 0; // place where a range begins
    this.box = { width: 0, height: 0 };
    this.top = 0; // of the scroll bar, so that it need not be read
    this.lines = new Map(); // number of a line → {element, cells}
    this.spare = [];
    this.watch = new ResizeObserver(([{ contentRect }]) => this.#resized(contentRect));
    this.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.addEventListener("keydown", (event) => this.key(event));
    this.addEventListener("click", (event) => this.#clicked(event));
    this.addEventListener("dblclick", (event) => event.target.closest(".cell") && this.#open());
    this.addEventListener("focus", () => this.#focus());
  }

  connectedCallback() {
    super.connectedCallback();
    this.role = "grid";
    this.ariaMultiSelectable = "true";
    this.ariaLabel ??= "Photos";
    this.watch.observe(this);
  }

  disconnectedCallback() {
    this.watch.disconnect();
    for (const { cells } of this.lines.values()) for (const cell of cells) cell.clear();
    super.disconnectedCallback();
  }

  get current() {
    return this.shown[this.place];
  }

  /** Move to a place of `shown` and bring it into sight. */
  go(place, { select = false } = {}) {
    if (!this.shown.length) return;
    this.place = Math.max(0, Math.min(place, this.shown.length - 1));
    if (!select) this.anchor = this.place;
    this.#reveal();
    this.#lay();
    this.#focus();
    this.#tell();
  }

  render() {
    return html`<div class="rail" role="rowgroup"></div>`;
  }

  willUpdate(changed) {
    if (changed.has("list")) this.place = this.anchor = 0;
    else if (changed.has("shown") && changed.get("shown")) this.#follow(changed.get("shown"));
    this.restart = changed.has("list");
  }

  updated(changed) {
    const first = this.#first();
    this.#measure();
    if (this.restart) this.#scroll(0);
    else if (changed.has("size")) this.#scroll(this.plan.lineOf(first) * this.plan.line);
    this.#lay(true);
    if (this.told !== this.current) this.#tell();
  }

  #tell() {
    this.told = this.current;
    this.emit("hw-current", { row: this.current });
  }

  /** Stay at the same photo when the list changes; where it is no longer in it, the next one takes its place. */
  #follow(before) {
    const row = before[this.place];
    const found = this.shown.indexOf(row);
    this.place = this.anchor = found >= 0 ? found : Math.max(0, Math.min(this.place, this.shown.length - 1));
  }

  // Where everything is

  #resized({ width, height }) {
    const first = this.#first();
    this.box = { width, height };
    this.#measure();
    this.#scroll(this.plan.lineOf(first) * this.plan.line);
    this.#lay(true);
  }

  /** Return the place of the first photo in sight. */
  #first() {
    return this.plan ? Math.floor(this.plan.offset(this.top) / this.plan.line) * this.plan.columns : 0;
  }

  #measure() {
    const old = this.plan;
    const plan = new Plan(this.box, this.size, this.rows?.columns.prediction ? 2 : 1, this.shown.length);
    this.plan = plan;
    this.pictures = thumbs(plan.cell * devicePixelRatio);
    this.querySelector(".rail").style.height = `${plan.tall}px`;
    this.ariaRowCount = String(plan.lines);
    this.ariaColCount = String(plan.columns);
    if (old?.columns !== plan.columns || old?.cell !== plan.cell) this.#rebuild();
  }

  #rebuild() {
    for (const line of this.lines.values()) this.#release(line);
    for (const line of this.spare) line.element.remove();
    this.lines.clear();
    this.spare = [];
    this.style.setProperty("--cell", `${this.plan.cell}px`);
  }

  #scroll(offset) {
    this.top = this.plan.top(offset);
    this.scrollTop = this.top;
  }

  #reveal() {
    const { plan } = this;
    const start = plan.lineOf(this.place) * plan.line;
    const end = start + plan.line;
    const offset = plan.offset(this.top);
    if (start < offset) this.#scroll(start);
    else if (end > offset + this.box.height) this.#scroll(end - this.box.height);
  }

  #scrolled() {
    const top = this.scrollTop;
    const waiting = this.fast;
    this.fast = Math.abs(top - this.top) > this.box.height / 2;
    this.top = top;
    clearTimeout(this.settle);
    if (this.fast) this.settle = setTimeout(() => this.#settled(), SETTLED);
    this.#lay(waiting && !this.fast); // slower now: the cells that were filled without a picture ask for it
  }

  #settled() {
    this.fast = false;
    this.#lay(true);
  }

  // What is in the document

  /** Put the lines in sight where they belong; fill those that are new, or all. */
  #lay(all = false) {
    if (!this.plan || !this.rows || !this.box.height) return;
    const { line, lines } = this.plan;
    const offset = this.plan.offset(this.top);
    const first = Math.max(0, Math.floor(offset / line) - MORE);
    const last = Math.min(lines - 1, Math.floor((offset + this.box.height) / line) + MORE);
    for (const [number, found] of this.lines) if (number < first || number > last) this.#spare(number, found);
    for (let number = first; number <= last; number++) {
      const found = this.lines.get(number);
      if (!found) this.#fill(number, this.#line(number));
      else if (all || this.marked !== this.place) this.#fill(number, found);
      // The lines move with the scroll bar. Where it stands for more pixels than it has, they are put below it.
      const at = number * line - offset + this.top;
      const { element } = this.lines.get(number);
      if (element.at !== at) element.style.transform = `translateY(${(element.at = at)}px)`;
    }
    for (const found of this.spare) found.element.hidden = true;
    this.marked = this.place;
    this.tabIndex = this.lines.has(this.plan.lineOf(this.place)) ? -1 : 0;
  }

  #line(number) {
    const line = this.spare.pop() ?? this.#made();
    line.element.hidden = false;
    line.element.ariaRowIndex = String(number + 1);
    this.lines.set(number, line);
    return line;
  }

  #made() {
    const element = document.createElement("div");
    element.className = "line";
    element.role = "row";
    const cells = Array.from({ length: this.plan.columns }, () => new Cell(element));
    cells.forEach((cell, i) => (cell.element.ariaColIndex = String(i + 1)));
    this.querySelector(".rail").append(element);
    return { element, cells };
  }

  #spare(number, line) {
    this.lines.delete(number);
    this.spare.push(line);
    for (const cell of line.cells) cell.release();
    if (line.element.contains(document.activeElement)) this.focus({ preventScroll: true });
  }

  #release(line) {
    for (const cell of line.cells) cell.clear();
    line.element.remove();
  }

  #fill(number, { cells }) {
    const start = number * this.plan.columns;
    cells.forEach((cell, i) => {
      const place = start + i;
      const row = this.shown[place];
      const [selected, current] = [this.selection.has(row), place === this.place];
      cell.fill(this.rows, row, place, { selected, current, pictures: this.pictures, wait: this.fast });
    });
  }

  /** Give the keyboard to the current photo, if the grid has it. */
  #focus() {
    if (!this.contains(document.activeElement)) return;
    const line = this.lines.get(this.plan.lineOf(this.place));
    line?.cells[this.place % this.plan.columns].element.focus({ preventScroll: true });
  }

  // What the user does

  #clicked(event) {
    const cell = event.target.closest(".cell")?.cell;
    if (!cell) return;
    const again = cell.place === this.place;
    if (event.shiftKey) this.#range(cell.place, event.ctrlKey || event.metaKey);
    else if (event.ctrlKey || event.metaKey) this.#toggle(cell.place);
    else {
      if (this.selection.size) this.#select(new Set());
      this.go(cell.place);
      if (again && event.pointerType === "touch") this.#open();
    }
  }

  /** Do what a key says. Returns true if the key means something here. */
  key(event) {
    const done = this.#moved(event) || this.#pressed(event);
    if (done) event.preventDefault();
    return done;
  }

  #moved(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return false;
    const { plan } = this;
    const page = Math.max(1, Math.floor(this.box.height / plan.line)) * plan.columns;
    const ends = { Home: 0, End: this.shown.length - 1, PageUp: this.place - page, PageDown: this.place + page };
    const target = MOVES[event.key] ? this.place + MOVES[event.key](plan) : ends[event.key];
    if (target === undefined) return false;
    const up_or_down = event.key === "ArrowUp" || event.key === "ArrowDown";
    if (up_or_down && (target < 0 || plan.lineOf(target) >= plan.lines)) return true;
    if (event.shiftKey) this.#range(target);
    else this.go(target);
    return true;
  }

  #pressed(event) {
    const control = event.ctrlKey || event.metaKey;
    if (control && event.key === "a") this.#select(new Set(this.shown));
    else if (control || event.altKey) return false;
    else if (event.key === " ") this.#toggle(this.place);
    else if (event.key === "Enter") this.#open();
    else if (event.key === "Escape") this.#select(new Set());
    else return false;
    return true;
  }

  #range(place, more = false) {
    const end = Math.max(0, Math.min(place, this.shown.length - 1));
    const range = this.shown.subarray(Math.min(this.anchor, end), Math.max(this.anchor, end) + 1);
    this.#select(more ? new Set([...this.selection, ...range]) : new Set(range));
    this.go(end, { select: true });
  }

  #toggle(place) {
    const selection = new Set(this.selection);
    const row = this.shown[place];
    if (!selection.delete(row)) selection.add(row);
    this.#select(selection);
    this.go(place);
  }

  #select(selection) {
    this.selection = selection;
    this.emit("hw-select", { selection });
  }

  #open() {
    if (this.current !== undefined) this.emit("hw-open", { row: this.current });
  }
}

customElements.define("hw-grid", Grid);

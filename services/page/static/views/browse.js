// The view "Photos": a grid of all photos, the controls that choose some of them, and keys that label them.

import { View, classMap, html, nothing } from "../base/part.js";
import { state } from "../base/state.js";
import { number, photos } from "../base/words.js";
import "../parts/classes.js";
import "../parts/filters.js";
import "../parts/grid.js";
import "../parts/next.js";
import "../parts/photo.js";
import "../parts/quarantine.js";

const SIZES = [112, 168, 256];
const SIZE_NAMES = ["small", "medium", "large"];

class Browse extends View {
  constructor() {
    super();
    this.size = 1;
    this.row = null; // the photo that is open
    this.folded = true; // the controls, on a narrow screen
    this.quarantine = false;
    this.press = (event) => this.#key(event);
  }

  connectedCallback() {
    super.connectedCallback();
    document.addEventListener("keydown", this.press);
  }

  disconnectedCallback() {
    document.removeEventListener("keydown", this.press);
    super.disconnectedCallback();
  }

  willUpdate() {
    if (this.rows && this.row !== null) this.row = state.rows.find(this.rows, [this.row])[0] ?? null; // the same photo
    this.rows = state.rows;
  }

  get grid() {
    return this.querySelector("hw-grid");
  }

  /** The rows that a key labels: the open photo, or the selected ones, or the one that the arrows move. */
  get targets() {
    if (this.row === null && state.selection.size) return [...state.selection];
    const row = this.row ?? this.grid?.current;
    return row === undefined || this.quarantine ? [] : [row];
  }

  get count() {
    return this.row === null && state.selection.size ? state.selection.size : this.targets.length;
  }

  set(values) {
    Object.assign(this, values);
    this.requestUpdate();
  }

  #key(event) {
    const dialog = event.target.closest?.("dialog");
    if (event.key === "u" && dialog && state.may("write")) this.#undo();
    // Keys work before anything was clicked: the grid takes those that nothing else has.
    else if (event.target === document.body && this.row === null) this.grid?.key(event);
  }

  async #undo() {
    const change = await state.labelling.undo();
    state.say(change ? "Took the last change back." : "There is nothing to undo.");
  }

  async label({ detail: { name } }) {
    const { targets } = this;
    const many = state.task?.many && name !== null;
    const next = targets.length === 1 && this.row === null && name !== null && !many;
    const { place, current } = this.grid;
    const saving = many ? state.labelling.toggle(targets, name) : state.labelling.set(targets, name);
    if (!many && state.selection.size) state.change({ selection: new Set() });
    await this.updateComplete;
    await this.grid?.updateComplete;
    // On to the next photo. Where the labelled one has left its place, the next one has taken it.
    if (next) this.grid.go(this.grid.place === place && this.grid.current === current ? place + 1 : place);
    const words = await saving;
    if (words) state.say(words);
  }

  step({ detail: { by } }) {
    this.grid.go(this.grid.place + by);
    this.set({ row: this.grid.current });
  }

  close() {
    if (this.row === null) return;
    this.set({ row: null });
    this.updateComplete.then(() => this.grid?.go(this.grid.place));
  }

  render() {
    if (!state.rows || !state.overview) return html`<p class="empty soft">${state.down ? "" : "Loading …"}</p>`;
    if (!state.overview.assets) return html`<hw-next></hw-next>`;
    return html`<div class=${classMap({ browse: true, folded: this.folded })}
      @hw-quarantine=${() => this.set({ quarantine: true, folded: true })} @hw-label=${this.label} @hw-done=${() => this.set({ folded: true })}>
      <hw-filters id="filters"></hw-filters>
      <hw-classes .count=${this.count}></hw-classes>
      <div class="photos">
        ${this.quarantine ? html`<hw-quarantine @hw-close=${() => this.set({ quarantine: false })}></hw-quarantine>` : [this.#bar(), this.#photos()]}
      </div>
      <hw-photo .row=${this.row} @hw-step=${this.step} @hw-close=${this.close}></hw-photo>
    </div>`;
  }

  #photos() {
    const { rows, shown, selection, filter } = state;
    return html`<hw-grid
        .rows=${rows} .shown=${shown} .selection=${selection} .list=${filter} .size=${SIZES[this.size]}
        @hw-select=${({ detail }) => state.change({ selection: detail.selection })}
        @hw-current=${() => this.requestUpdate()}
        @hw-open=${({ detail }) => this.set({ row: detail.row })}
      ></hw-grid>
      ${shown.length ? nothing : html`<p class="empty soft">No photo is like that. <button @click=${() => state.narrow({ show: "all", label: null, prediction: null, split: null, modality: null, only: null })}>Show everything</button></p>`}`;
  }

  #bar() {
    const { only } = state.filter;
    const { selection, labelling } = state;
    return html`<div class="bar">
      <button class="fold" aria-expanded=${String(!this.folded)} aria-controls="filters" @click=${() => this.set({ folded: !this.folded })}>Filters</button>
      <p class="count" aria-live="polite"><b>${photos(state.shown.length)}</b>
        ${only ? html`<button class="chip" title="Show all photos again" @click=${() => state.narrow({ only: null })}>${only.name} ✕</button>` : nothing}
        ${selection.size ? html`<button class="chip" title="Clear the selection (Escape)" @click=${() => state.change({ selection: new Set() })}>${number(selection.size)} selected ✕</button>` : nothing}
        ${labelling.busy ? html`<span class="soft">Saving …</span>` : nothing}
      </p>
      <hw-next></hw-next>
      <input class="size" type="range" min="0" max="2" .value=${String(this.size)} aria-label="Size of the photos" aria-valuetext=${SIZE_NAMES[this.size]}
        title="Size of the photos" @input=${(event) => this.set({ size: Number(event.target.value) })} />
    </div>`;
  }
}

customElements.define("hw-browse", Browse);

// The map: each photo is a point, and photos that look alike to the encoder are near each other.

import { bytes } from "../base/api.js";
import { table } from "../base/colours.js";
import { EVERYTHING } from "../base/filter.js";
import { View, html, nothing } from "../base/part.js";
import { placed } from "../base/placed.js";
import { Rows } from "../base/rows.js";
import { state } from "../base/state.js";
import { number } from "../base/words.js";
import { unembedded } from "../parts/next.js";
import "../parts/scatter.js";
import "./map/card.js";
import { COLOURINGS, colouring, counted, marks, strength } from "./map/colourings.js";
import { legend } from "./map/legend.js";

const AXES = {
  pca: { name: "As spread out as possible", term: "PCA: the two directions in which the vectors differ most" },
  lda: { name: "Classes apart", term: "LDA: the two directions that separate the labelled classes best" },
  umap: { name: "Neighbours together", term: "UMAP: keeps near photos near; distances between groups mean little" },
};

// Kept while another view is shown.
const memory = { by: "label", group: null, task: null, camera: null, places: null };

const dark = matchMedia("(prefers-color-scheme: dark)");
const photos = (count) => (count === 1 ? "1 photo" : `${number(count)} photos`);

/** Return a function that makes its value anew only if one of its arguments is another one. */
function memo(make) {
  let [last, value] = [null, null];
  return (...args) => {
    if (!last || args.some((each, i) => each !== last[i])) [last, value] = [args, make(...args)];
    return value;
  };
}

class MapView extends View {
  constructor() {
    super();
    Object.assign(this, { found: null, hovered: null, asked: null, refusal: null });
    this.colouring = memo((rows, by) => colouring(rows, by)); // a change of labels makes another `shown`
    this.counts = memo(counted);
    this.strong = memo(strength);
    this.marks = memo(marks);
    this.table = memo(table);
  }

  connectedCallback() {
    super.connectedCallback();
    dark.addEventListener("change", this.changed);
  }

  disconnectedCallback() {
    dark.removeEventListener("change", this.changed);
    super.disconnectedCallback();
  }

  willUpdate() {
    const { rows, choice } = state;
    if (rows && choice.encoder && !rows.columns.x && this.asked?.rows !== rows) this.place(choice.axes ?? "pca");
    if (memory.task !== choice.task) Object.assign(memory, { task: choice.task, group: null });
    if (this.seen !== rows) Object.assign(this, { seen: rows, found: null, hovered: null });
    this.by = [memory.by, ...Object.keys(COLOURINGS)].find((by) => rows?.columns[COLOURINGS[by].needs]);
  }

  /** Ask for the places of the photos. What the service refuses is said beside the choice, and the map stays as it is. */
  async place(axes) {
    const { rows } = state;
    const asked = { rows, axes };
    Object.assign(this, { asked, refusal: null });
    this.requestUpdate();
    try {
      const { task, encoder } = state.choice;
      const other = new Rows(await bytes("v1/rows", { parameters: { task, encoder, axes, columns: "x,y" } }));
      if (asked !== this.asked || rows !== state.rows) return;
      state.choice.axes = axes; // the same object: rows that are being read now must not be thrown away
      if (other.version !== rows.version) return void state.load();
      rows.merge(other);
    } catch (error) {
      if (asked !== this.asked) return;
      this.refusal = error.message;
      if (error.status === 0 || error.status === 401) state.fail(error);
    } finally {
      if (asked === this.asked) this.asked = { ...asked, axes: null };
      state.change();
    }
  }

  render() {
    const { rows } = state;
    const obstacle = missing();
    if (obstacle) return html`<div class="map"><p class="empty">${obstacle}</p></div>`;
    const problem = rows.columns.x ? nowhere(rows) : (this.refusal ?? "Placing the photos …");
    if (problem) return html`<div class="beside map">${this.controls()}<div class="stage"><p class="empty">${problem}</p></div></div>`;
    const { shown } = state;
    const painted = this.colouring(rows, this.by, shown, rows.columns[COLOURINGS[this.by].needs]);
    const counts = this.counts(painted.group, shown, rows.columns.x);
    const colours = this.table(painted.kind, dark.matches ? "dark" : "light");
    this.places = [rows.encoder, rows.axes?.kind, state.choice.task].join();
    const group = counts.has(memory.group) ? memory.group : null;
    return html`<div class="beside map">
      ${this.controls(painted, counts, colours, group)}
      <div class="stage">
        <hw-scatter
          .x=${rows.columns.x}
          .y=${rows.columns.y}
          .codes=${painted.codes}
          .colours=${colours}
          .strong=${this.strong(rows.count, shown, painted.group, group)}
          .marks=${this.marks(painted, shown, rows.columns, group)}
          .extra=${placed(state.dropped, rows)}
          .label=${`Map of ${photos(total(counts))}, coloured by: ${COLOURINGS[this.by].name}. The table beside it has the counts.`}
          .camera=${memory.places === this.places ? memory.camera : null}
          @moved=${({ detail }) => this.moved(detail)}
          @pick=${({ detail }) => state.change({ open: detail.row })}
          @hover=${({ detail }) => this.hover(detail)}
          @lasso=${({ detail }) => this.lasso(detail)}
        ></hw-scatter>
        ${this.hovered ? html`<hw-map-card .row=${this.hovered.row} .x=${this.hovered.x} .y=${this.hovered.y} .room=${this.hovered.room}></hw-map-card>` : nothing}
        ${this.found ? this.selection() : nothing}
      </div>
    </div>`;
  }

  controls(painted, counts, colours, group) {
    return html`<div class="controls">
      ${this.axes()} ${this.by ? this.colours() : nothing}
      ${painted ? html`<section>${this.shown(counts)} ${legend(painted, counts, colours, group, (code) => this.choose(code))} ${this.chosen(painted, counts, group)}</section>` : nothing}
    </div>`;
  }

  axes() {
    if (!state.choice.encoder) return nothing;
    const asked = this.asked?.axes;
    const now = asked ?? state.rows?.axes?.kind;
    const explained = state.rows?.axes?.explained;
    const kept = explained && Math.round(100 * explained.reduce((sum, part) => sum + part, 0));
    return html`<fieldset>
      <legend>Places</legend>
      ${Object.entries(AXES).map(([axes, each]) => radio("axes", each, axes === now, () => this.place(axes)))}
      ${asked ? html`<p class="soft" role="status">Placing the photos …</p>` : nothing}
      ${this.refusal ? html`<p class="error" role="alert">${this.refusal}</p>` : nothing}
      ${kept && !asked && now === "pca" ? html`<p class="soft" title="explained variance of the two principal components">What is seen here is ${kept} % of how the photos differ.</p>` : nothing}
    </fieldset>`;
  }

  colours() {
    const { columns, modalities } = state.rows;
    return html`<fieldset>
      <legend>Colours</legend>
      ${Object.entries(COLOURINGS)
        .filter(([by, { needs }]) => columns[needs] && (by !== "modality" || by === this.by || modalities.length > 1))
        .map(([by, each]) => radio("by", each, by === this.by, () => this.paint(by)))}
    </fieldset>`;
  }

  shown(counts) {
    const all = state.rows.count;
    const here = total(counts);
    const without = state.shown.length - here;
    return html`<p class="summary"><strong>${photos(here)}</strong>${state.shown.length < all ? ` of ${number(all)}` : ""}
        ${state.shown.length < all ? html`<button class="quiet" @click=${() => state.narrow(EVERYTHING)}>Show everything</button>` : nothing}</p>
      ${without ? html`<p class="soft">${photos(without)} without a vector ${without === 1 ? "is" : "are"} not on the map. ${unembedded() ? html`<a href="#browse">Embed what is missing</a>.` : "The encoder cannot read them."}</p>` : nothing}`;
  }

  chosen({ group }, counts, chosen) {
    if (chosen === null) return nothing;
    const { x } = state.rows.columns;
    const placed = (row) => group[row] === chosen && x[row] === x[row];
    const look = () => this.look(COLOURINGS[this.by].name, state.shown.filter(placed));
    return html`<button class="main" @click=${look}>Look at ${photos(counts.get(chosen))}</button>`;
  }

  selection() {
    const { length } = this.found;
    return html`<div class="found" role="status">
      ${length ? html`<button class="main" @click=${() => this.look("Lasso", this.found)}>${photos(length)}: look at ${length === 1 ? "it" : "them"}</button>` : html`<span>No photos are in there.</span>`}
      <button @click=${() => this.querySelector("hw-scatter").clear()}>Clear</button>
    </div>`;
  }

  look(name, rows) {
    state.narrow({ only: { name, rows } });
    location.hash = "browse";
  }

  lasso({ rows }) {
    this.found = rows;
    this.requestUpdate();
  }

  hover({ row, x, y }) {
    const room = this.querySelector(".stage").getBoundingClientRect();
    this.hovered = row < 0 ? null : { row, x, y, room };
    this.requestUpdate();
  }

  moved({ camera }) {
    Object.assign(memory, { camera, places: this.places });
    if (this.hovered) this.hover({ row: -1 });
  }

  choose(group) {
    memory.group = group;
    this.requestUpdate();
  }

  paint(by) {
    memory.by = by;
    this.choose(COLOURINGS[by].first ?? null);
  }
}

const total = (counts) => [...counts.values()].reduce((sum, count) => sum + count, 0);

const radio = (name, { name: text, term }, checked, choose) =>
  html`<label class="option" title=${term}><input type="radio" name=${name} .checked=${checked} @change=${choose}>${text}</label>`;

/** Return why there is nothing to place, and what to do; null if there are rows and an encoder. */
function missing() {
  const { overview, rows, choice, loading } = state;
  if (!overview) return "Loading …";
  if (!overview.assets) return html`There are no photos yet. <a href="#browse">Add some</a>.`;
  if (!choice.encoder) return html`The photos have no vectors yet, so they have no place on a map. <a href="#browse">Embed them</a>.`;
  if (!rows) return loading ? "Loading …" : "The photos cannot be read now. Load this page again.";
  return null;
}

const nowhere = ({ columns: { x } }) =>
  x.some((value) => value === value) ? null : html`No photo has a vector of ${state.choice.encoder} yet. <a href="#browse">Embed them</a>.`;

customElements.define("hw-map", MapView);

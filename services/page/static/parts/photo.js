// One photo, large, with all that is known about it.

import { ask, read } from "../base/api.js";
import { classNames } from "../base/classes.js";
import { View, html, nothing } from "../base/part.js";
import { state } from "../base/state.js";
import { SPLIT_NAMES, SPLIT_TERMS, UNLIKE, caption, moment, percent, sure } from "../base/words.js";

const LARGE = 1600;
const SIMILAR = 60;
const REMOVE = "\n"; // no class has this name

/** Return the last part of a path: no path of the service's machine is shown. */
const base = (path) => path?.split(/[/\\]/).at(-1) ?? "";

/** `row` is the number of the row; null closes it. Emits `hw-step` {by}, `hw-label` {name} and `hw-close`. */
class Photo extends View {
  static properties = { row: { attribute: false } };

  constructor() {
    super();
    this.details = this.history = this.failure = null;
    this.urls = {};
  }

  disconnectedCallback() {
    this.#forget();
    super.disconnectedCallback();
  }

  willUpdate(changed) {
    if (changed.has("row")) this.#open();
  }

  updated() {
    const dialog = this.querySelector("dialog");
    if (dialog && !dialog.open) dialog.showModal();
  }

  #forget() {
    this.asked?.abort();
    for (const url of Object.values(this.urls)) URL.revokeObjectURL(url);
    this.urls = {};
    this.details = this.history = this.failure = null;
  }

  #open() {
    this.#forget();
    if (this.row === null || this.row === undefined) return;
    const id = state.rows.id(this.row);
    this.id = id;
    this.asked = new AbortController();
    const { signal } = this.asked;
    const picture = this.modality === "video" ? 512 : LARGE;
    this.#get(async () => (this.urls.picture = await this.#blob(`v1/assets/${id}/thumbnail`, { size: picture }, signal)));
    if (this.modality === "audio") this.#get(async () => (this.urls.sound = await this.#blob(`v1/assets/${id}/sound`, {}, signal)));
    this.#get(async () => (this.details = await read(`v1/assets/${id}`, { signal })));
    this.#history(signal);
  }

  #history(signal) {
    const task = state.choice.task ?? undefined;
    this.clock = state.labelling.clock;
    this.#get(async () => (this.history = (await read("v1/labels/history", { parameters: { id: this.id, task }, signal })).history));
  }

  get modality() {
    return state.rows.modality(this.row);
  }

  async #blob(path, parameters, signal) {
    return URL.createObjectURL(await (await ask(path, { parameters, signal })).blob());
  }

  /** Wait for an answer about the photo that is open; an error stands where the answer would. */
  async #get(work) {
    const { id } = this;
    try {
      await work();
    } catch (error) {
      if (error.name === "AbortError") return;
      if (error.status === 0 || error.status === 401) return state.fail(error);
      this.failure = error.message;
    }
    if (id === this.id) this.requestUpdate();
  }

  #key(event) {
    const by = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    if (!by || event.target.closest("audio, input")) return;
    event.preventDefault();
    this.emit("hw-step", { by });
  }

  async #similar() {
    try {
      const { hits } = await read("search", { parameters: { id: this.id, k: SIMILAR } });
      const rows = [this.row, ...hits.map(({ id }) => state.rows.row(id)).filter((row) => row >= 0 && row !== this.row)];
      state.narrow({ only: { name: `Like ${base(this.details?.uri) || "this photo"}`, rows: Uint32Array.from(rows) }, show: "all", order: "stored" });
      this.emit("hw-close");
    } catch (error) {
      state.fail(error);
    }
  }

  render() {
    if (this.row === null || this.row === undefined || !state.rows) return nothing;
    if (this.clock !== state.labelling.clock) this.#history(this.asked.signal);
    const name = base(this.details?.uri) || "Photo";
    return html`<dialog class="photo" aria-label=${name} @close=${() => this.emit("hw-close")} @keydown=${this.#key}>
      <figure>
        ${this.urls.picture ? html`<img src=${this.urls.picture} alt=${name} />` : html`<p class="soft">${this.failure ?? ""}</p>`}
        ${this.urls.sound ? html`<audio controls src=${this.urls.sound}></audio>` : nothing}
      </figure>
      <div class="facts">
        <header>
          <h1 title=${name}>${name}</h1>
          <button class="quiet" aria-label="Close" title="Close (Escape)" @click=${(event) => event.target.closest("dialog").close()}>✕</button>
        </header>
        ${this.#label()} ${this.#answer()} ${this.#past()} ${this.#file()}
        <footer>
          <button aria-label="Previous photo" title="Previous photo (←)" @click=${() => this.emit("hw-step", { by: -1 })}>←</button>
          <button aria-label="Next photo" title="Next photo (→)" @click=${() => this.emit("hw-step", { by: 1 })}>→</button>
          ${state.rows.columns.vector?.[this.row] ? html`<button @click=${this.#similar} title="Photos whose vectors are nearest (cosine)">Show similar photos</button>` : nothing}
        </footer>
      </div>
    </dialog>`;
  }

  #label() {
    const { rows } = state;
    const { kind, sign, label } = caption(rows, this.row);
    const split = rows.split(this.row);
    return html`<section class=${`fact ${kind}`}>
      <h2>Label</h2>
      <p class="large"><span class="sign">${sign}</span> ${label || html`<span class="soft">none yet</span>`}</p>
      ${state.may("write") ? this.#change(label) : nothing}
      ${split === "none" ? nothing : html`<p class="soft" title=${SPLIT_TERMS[split]}>${SPLIT_NAMES[split]}</p>`}
    </section>`;
  }

  #change(label) {
    const chosen = (event) => {
      const { value } = event.target;
      event.target.value = "";
      this.emit("hw-label", { name: value === REMOVE ? null : value });
    };
    return html`<select aria-label="Change the label" @change=${chosen}>
      <option value="">${label ? "Change it to" : "Give it the label"} …</option>
      ${classNames(state.task, state.rows).map((name) => html`<option>${name}</option>`)}
      ${label ? html`<option value=${REMOVE}>No label</option>` : nothing}
    </select>`;
  }

  #answer() {
    const { rows } = state;
    const { row } = this;
    if (!rows.answered(row)) return nothing;
    const { probability, outlier, set_size: sizes } = rows.columns;
    const share = probability?.[row];
    return html`<section class="fact">
      <h2>The head says</h2>
      <p class="large">${rows.predictions(row).join(", ") || "none of the labels"}</p>
      ${share >= 0 ? html`<p title="Probability of this answer"><progress max="1" value=${share} aria-label="How sure"></progress> ${sure(share)}, ${percent(share)}</p>` : nothing}
      ${sizes?.[row] > 1 ? html`<p title="Prediction set: the classes of which one is right, as often as the head promises">It could be one of ${sizes[row]} classes.</p>` : nothing}
      ${outlier?.[row] >= 0 ? html`<p title="Outlier percentile">${this.#likeness(outlier[row])}</p>` : nothing}
    </section>`;
  }

  #likeness(percentile) {
    if (percentile < UNLIKE) return "It looks like the training photos.";
    return html`<span class="warning">! Looks unlike the training photos</span>: more unusual than ${percent(percentile / 100)} of them.`;
  }

  #past() {
    if (!this.history?.length) return nothing;
    const entry = ({ labels, source, at, until }) =>
      html`<li>${labels.join(", ") || "no label"}${until ? "" : " (now)"}<br /><span class="soft">by ${base(source)}, ${moment(at)}</span></li>`;
    return html`<section class="fact"><h2>History of its labels</h2><ol>${[...this.history].reverse().map(entry)}</ol></section>`;
  }

  #file() {
    const { details } = this;
    if (!details) return nothing;
    const size = details.width ? `${details.width} × ${details.height} pixels` : details.seconds ? `${details.seconds.toFixed(1)} seconds` : "";
    const others = (Array.isArray(details.labels) ? details.labels : []).filter(({ task }) => task !== state.choice.task);
    return html`<section class="fact">
      ${others.length ? html`<h2>In other tasks</h2>` : nothing} ${others.map(({ task, labels }) => html`<p>${task}: ${labels.join(", ")}</p>`)}
      <p class="soft">${[size, details.bytes && `${Math.ceil(details.bytes / 1024)} KB`].filter(Boolean).join(", ")}</p>
    </section>`;
  }
}

customElements.define("hw-photo", Photo);

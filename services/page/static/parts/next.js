// The next useful step, always in sight: from an empty store to a head whose mistakes are looked at.

import { far } from "../base/jobs.js";
import { EVERYTHING } from "../base/filter.js";
import { embed, keeping } from "../base/keeping.js";
import { learning } from "../base/learning.js";
import { View, html, nothing } from "../base/part.js";
import { state } from "../base/state.js";
import { number, photos } from "../base/words.js";

const ENOUGH = 20; // labels

const HEAD = "A head is a small classifier: it learns from your labels, in seconds, to give the label of any photo";

const vectors = ({ encoders }) => Math.max(0, ...encoders.map(({ rows }) => rows));

const totals = () => state.rows.totals;

const headed = () => Boolean(state.choice.head);

/** The steps in their order; the first that is not done is the next. */
const STEPS = [
  { done: () => state.overview.assets > 0, show: (part) => part.files() },
  { done: () => vectors(state.overview) > 0, show: (part) => part.embed("Heads, the map and search read vectors, not photos.") },
  { done: () => !unembedded(), show: (part) => part.embed(`${photos(unembedded())} not embedded yet.`) },
  { done: () => headed() || totals().labelled >= ENOUGH, show: () => label() },
  { done: () => headed() || totals().classes.filter(Boolean).length > 1, show: () => html`<p>All labels are the same. A head needs <b>two classes</b>: label some photos of another one.</p>` },
  { done: () => headed(), show: (part) => part.teach() },
];

/** Return how many photos have no vector, if they are more than those that could not be read. */
export function unembedded() {
  const { rows, overview } = state;
  if (memo.rows !== rows) memo = { rows, count: missing(rows, overview.encoders.find(({ name }) => name === state.choice.encoder)) };
  return memo.count > overview.quarantined ? memo.count : 0;
}

let memo = {};

function missing({ columns: { vector, modality }, modalities, count }, encoder) {
  const taken = modalities.map((name) => !encoder?.modalities || encoder.modalities.includes(name));
  let found = 0;
  for (let row = 0; vector && row < count; row++) if (!vector[row] && taken[modality[row]]) found += 1;
  return found;
}

function label() {
  const count = totals().labelled;
  const so_far = count ? html` <span class="soft">${count} of ${ENOUGH}</span>` : nothing;
  return html`<p><b>Label twenty photos:</b> click one, then press <kbd>1</kbd>, <kbd>2</kbd>, … or type the name of a new class.${so_far}</p>`;
}

/** Emits `hw-files` {input} when files or a folder were picked with this `<input>`. */
class Next extends View {
  constructor() {
    super();
    this.words = null; // how far the job is
  }

  render() {
    if (!state.overview || !state.rows) return nothing;
    if (keeping.busy) return html`<p role="status"><a href="#drop">Your photos</a> are being ${keeping.step.job ? "embedded" : "stored"}: ${keeping.words}.</p>`;
    if (this.words) return html`<p role="status">The photos are being embedded: ${this.words}.</p>`;
    return (STEPS.find(({ done }) => !done()) ?? { show: () => this.look() }).show(this);
  }

  files() {
    const picked = (event) => event.target.files.length && this.emit("hw-files", { input: event.target });
    if (!state.may("write")) return html`<div class="empty"><h1>No photos yet</h1><p>Your key may look at photos, not add them.</p></div>`;
    return html`<div class="empty">
      <h1>Drop a folder of photos here</h1>
      <p>Folders inside it become the classes: <code>shoes/1.jpg</code>, <code>hats/2.jpg</code>. Without them, you label the photos here.</p>
      <p class="pickers">
        <label class="button main">Choose a folder<input type="file" webkitdirectory multiple @change=${picked} /></label>
        <label class="button">Choose photos<input type="file" multiple accept="image/*,audio/*,video/*" @change=${picked} /></label>
      </p>
      <p class="soft">Nothing leaves this machine.</p>
    </div>`;
  }

  embed(text) {
    if (!state.me?.jobs || !state.may("write")) return html`<p>${text} To embed them, run <code>headwater backfill</code>.</p>`;
    return html`<p>${text} <button class="main" title="A vector is a list of numbers that an encoder makes of a photo" @click=${this.start}>Embed the photos</button></p>`;
  }

  async start() {
    this.#say("starts");
    try {
      await embed((job) => this.#say(far(job)));
      await state.refresh();
      await state.load();
    } catch (error) {
      state.fail(error);
    }
    this.#say(null);
  }

  #say(words) {
    this.words = words;
    this.requestUpdate();
  }

  teach() {
    this.#warm();
    return html`<p>${photos(totals().labelled)} labelled. <a class="button main" href="#learn" title=${HEAD}>Teach a head</a></p>`;
  }

  /** Let the service start the process that trains, which takes seconds, before the user asks for it. */
  #warm() {
    if (this.warmed || !state.me?.jobs || !state.may("write")) return;
    this.warmed = true;
    learning.look();
  }

  look() {
    const { wrong } = totals();
    const { changes } = learning;
    if (changes) this.#warm();
    const again = html`<span class="soft">${photos(changes)} relabelled.</span> <a class="button main" href="#learn">Teach the head again</a>`;
    if (state.filter.show === "disagree") {
      return html`<p>Is a label wrong? Press the key of the right one. ${changes ? again : html`Then <a href="#learn">teach the head again</a>.`}</p>`;
    }
    if (changes) return html`<p>${again}</p>`;
    if (!wrong) return html`<button @click=${() => show("unsure", "unsure")}>Look at what the head is not sure of</button>`;
    return html`<button title=${`Label and head differ for ${photos(wrong)}`} @click=${mistakes}>
      Look at what the head gets wrong <span class="soft">${number(wrong)}</span>
    </button>`;
  }
}

/** Show the photos whose label is not the head's answer, the surest answer first. */
export const mistakes = () => show("disagree", "sure");

const show = (what, order) => state.change({ filter: { ...EVERYTHING, show: what, order }, selection: new Set() });

customElements.define("hw-next", Next);

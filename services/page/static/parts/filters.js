// The one column of controls: which photos are shown, in which order, and what can be found among them.

import { far, lines, run } from "../base/jobs.js";
import { read } from "../base/api.js";
import { EVERYTHING, ORDERS, SHOWN } from "../base/filter.js";
import { View, html, live, nothing } from "../base/part.js";
import { state } from "../base/state.js";
import { SPLIT_NAMES, SPLIT_TERMS, number, photos } from "../base/words.js";

const MOST_HITS = 300;
const SUGGESTED = 60;
const MODALITIES = { image: "Photos", audio: "Sounds", video: "Videos" };

/** Return the assets of the lines of a job; those of one group of near-duplicates stand together. */
export function ids(found) {
  const groups = new Map();
  for (const [i, line] of found.entries()) {
    const group = line.group ?? `line ${i}`;
    groups.set(group, [...(groups.get(group) ?? []), ...[line.id, line.id_a, line.id_b].filter(Boolean)]);
  }
  return [...new Set([...groups.values()].flat())];
}

const HINTS = { split: "The split of the task", prediction: "What the head says", show: "Which photos", order: "Which photos come first" };

const hint = (name, value) => (name === "split" && SPLIT_TERMS[value]) || HINTS[name] || nothing;

const head = () => state.choice.head;

const FINDINGS = {
  duplicates: {
    name: "Near-duplicates",
    title: "Pairs of photos whose vectors are almost equal (cosine). A test photo that is also learned from flatters the head.",
    missing: () => (state.overview.encoders.length ? null : "Embed the photos first."),
    request: () => ({ kind: "duplicates", encoder: state.choice.encoder, task: state.choice.task ?? undefined }),
  },
  mistakes: {
    name: "Likely mistakes",
    title: "Photos whose label is likely wrong: heads that never saw them disagree with it (cross-validation).",
    missing: () => (head() ? null : "This needs a head of the task."),
    request: () => ({ kind: "mistakes", head: head() }),
  },
  suggest: {
    name: "What to label next",
    title: "Photos from which a head learns most: it is uncertain about them, they are typical, and no two are alike (active learning).",
    missing: () => (head() || (state.choice.task && state.choice.encoder) ? null : "Embed the photos and label one first."),
    request: () => ({ kind: "suggest", count: SUGGESTED, ...(head() ? { head: head() } : { task: state.choice.task, encoder: state.choice.encoder }) }),
  },
};

/** Emits `hw-quarantine` to see the files that could not be read, and `hw-done` to see the photos where both have no room. */
class Filters extends View {
  constructor() {
    super();
    this.running = null; // {finding, job}
  }

  async search(event) {
    event.preventDefault();
    const text = event.target.elements.text.value.trim();
    if (!text) return state.narrow({ only: null });
    try {
      const { hits, note } = await read("search", { parameters: { text, k: MOST_HITS } });
      this.#found(text, hits.map(({ id }) => id));
      if (note) state.say(note);
    } catch (error) {
      state.fail(error);
    }
  }

  async find(name) {
    const finding = FINDINGS[name];
    this.running = { name, words: "starts" };
    this.requestUpdate();
    try {
      const job = await run(finding.request(), (seen) => {
        this.running = { name, words: far(seen) };
        this.requestUpdate();
      });
      const found = ids(await lines(job));
      if (found.length) this.#found(finding.name, found);
      else state.say(`${finding.name}: none were found.`);
    } catch (error) {
      state.fail(error);
    }
    this.running = null;
    this.requestUpdate();
  }

  #found(name, found) {
    const rows = found.map((id) => state.rows.row(id)).filter((row) => row >= 0);
    state.change({ filter: { ...EVERYTHING, only: { name, rows: Uint32Array.from(rows) } }, selection: new Set() });
  }

  render() {
    if (!state.overview || !state.rows) return nothing;
    const { filter } = state;
    return html`<div class="controls" role="group" aria-label="Which photos">
      ${this.#search()}
      <div class="fields">
        ${this.#choice("show", "Show", this.#offered(SHOWN))} ${this.#choice("order", "Order", this.#offered(ORDERS))}
        ${this.#choice("label", "Label", this.#labels(), "Any label")}
        ${state.rows.columns.prediction ? this.#choice("prediction", "Answer", this.#names(), "Any answer") : nothing}
        ${state.task ? this.#choice("split", "Used", this.#splits(), "For anything") : nothing}
        ${state.rows.modalities?.length > 1 ? this.#choice("modality", "Kind", this.#modalities(), "Any kind") : nothing}
        ${filter === EVERYTHING ? nothing : html`<button class="quiet" @click=${() => state.change({ filter: EVERYTHING, selection: new Set() })}>Show everything</button>`}
      </div>
      <div class="findings" role="group" aria-label="Find">
        <h2>Find</h2>
        ${Object.entries(FINDINGS).map(([name, finding]) => this.#finding(name, finding))}
        ${state.overview.quarantined ? html`<button @click=${() => this.emit("hw-quarantine")} title="Quarantine: files that failed, each with its reason">Could not be read <span class="soft">${number(state.overview.quarantined)}</span></button>` : nothing}
      </div>
      <button class="main done" @click=${() => this.emit("hw-done")}>Show ${photos(state.shown.length)}</button>
    </div>`;
  }

  #search() {
    const texts = state.overview.encoders.some((encoder) => encoder.texts);
    const why = texts ? "Photos whose vector is near to that of the text" : "None of the encoders with stored vectors takes texts.";
    return html`<form class="search" role="search" @submit=${this.search} title=${why}>
      <input type="search" name="text" placeholder=${texts ? "Search, e.g. a red hat" : "No search by text here"} aria-label="Search photos by a text" ?disabled=${!texts} />
    </form>`;
  }

  #choice(name, label, options, any) {
    const value = state.filter[name];
    const change = (event) => state.narrow({ [name]: event.target.value === "" ? null : event.target.value });
    return html`<label class="field" title=${hint(name, value)}
      ><span>${label}</span>
      <select .value=${live(value ?? "")} @change=${change}>
        ${any ? html`<option value="" ?selected=${value === null}>${any}</option>` : nothing}
        ${options.map(([key, words]) => html`<option value=${key} ?selected=${key === value}>${words}</option>`)}
      </select>
    </label>`;
  }

  #offered(choices) {
    const there = ([, { needs }]) => !needs || state.rows.columns[needs];
    return Object.entries(choices).filter(there).map(([key, { name }]) => [key, name]);
  }

  #names() {
    return state.rows.names.map((name) => [name, name]);
  }

  #labels() {
    const known = (state.task?.classes ?? []).map(({ name }) => name);
    return [...new Set([...known, ...state.rows.names])].map((name) => [name, name]);
  }

  #splits() {
    return Object.entries(SPLIT_NAMES);
  }

  #modalities() {
    return state.rows.modalities.map((name) => [name, MODALITIES[name] ?? name]);
  }

  #finding(name, { name: words, title, missing, request }) {
    const jobs = state.me?.jobs && state.may("write");
    const why = jobs ? missing() : "This service runs no jobs, or your key may not start one.";
    const here = this.running?.name === name;
    return html`<button ?disabled=${Boolean(why || this.running)} title=${why ?? title} @click=${() => this.find(name)}>
      ${words} ${here ? html`<span class="soft">${this.running.words}</span>` : nothing}
    </button>`;
  }
}

customElements.define("hw-filters", Filters);

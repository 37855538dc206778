// The files that could not be read, each with its reason.

import { read } from "../base/api.js";
import { Part, html, nothing } from "../base/part.js";
import { state } from "../base/state.js";
import { number } from "../base/words.js";

const AT_ONCE = 100;
const STAGES = { ingest: "when it was stored", backfill: "when it was embedded" };

/** Emits `hw-close`. */
class Quarantine extends Part {
  constructor() {
    super();
    this.items = [];
    this.count = null;
  }

  connectedCallback() {
    super.connectedCallback();
    this.more();
  }

  async more() {
    try {
      const { count, items } = await read("v1/quarantine", { parameters: { start: this.items.length, limit: AT_ONCE } });
      this.count = count;
      this.items = [...this.items, ...items];
    } catch (error) {
      state.fail(error);
    }
    this.requestUpdate();
  }

  render() {
    const row = ({ name, stage, message }) => html`<tr><th scope="row">${name}</th><td>${message}</td><td class="soft">${STAGES[stage] ?? stage}</td></tr>`;
    return html`<section class="quarantine">
      <header><h1>Could not be read</h1> <button @click=${() => this.emit("hw-close")}>Back to the photos</button></header>
      ${this.count === 0 ? html`<p>Every file could be read.</p>` : html`<table><thead><tr><th scope="col">File</th><th scope="col">Why</th><th scope="col">When</th></tr></thead><tbody>${this.items.map(row)}</tbody></table>`}
      ${this.count > this.items.length ? html`<button @click=${this.more}>Show more of ${number(this.count)}</button>` : nothing}
    </section>`;
  }
}

customElements.define("hw-quarantine", Quarantine);

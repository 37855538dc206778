// Stored photos that resemble another one, the nearest first, each with its label: why a head may answer as it does.

import { Part, html } from "../base/part.js";
import { NONE } from "../base/rows.js";
import { state } from "../base/state.js";
import { thumbs } from "../base/thumbs.js";

const pictures = thumbs(128);

class Evidence extends Part {
  static properties = { hits: { attribute: false } };

  willUpdate() {
    for (const { id } of this.hits) if (!pictures.at_once(id)) pictures.want(id, () => this.requestUpdate());
  }

  render() {
    return html`<section class="evidence" aria-label="Most similar photos">
      <h3 title="The stored vectors with the largest cosine">Most similar training photos</h3>
      <ul>
        ${this.hits.map((hit) => this.photo(hit))}
      </ul>
    </section>`;
  }

  photo({ id, score }) {
    const row = state.rows?.row(id) ?? NONE;
    const label = row === NONE ? "" : state.rows.labels(row).join(", ");
    const open = () => row !== NONE && state.change({ open: row });
    return html`<li>
      <button class="bare" @click=${open} title=${`cosine ${score.toFixed(3)}`}>
        <img src=${pictures.at_once(id)?.url ?? ""} alt=${label || "a stored photo"}><span>${label}</span>
      </button>
    </li>`;
  }
}

customElements.define("hw-evidence", Evidence);

// The photo under the pointer, with what is known of it.

import { Part, html, nothing } from "../../base/part.js";
import { state } from "../../base/state.js";
import { thumbs } from "../../base/thumbs.js";
import { percent } from "../../base/words.js";

const WIDTH = 208;
const HEIGHT = 250;
const AWAY = 18; // pixels between the point and the card
const pictures = thumbs(256);

class Card extends Part {
  static properties = { row: { attribute: false }, x: { attribute: false }, y: { attribute: false }, room: { attribute: false } };

  willUpdate(changed) {
    if (!changed.has("row") || !state.rows) return;
    this.id_shown = state.rows.id(this.row);
    this.forget?.();
    if (!pictures.at_once(this.id_shown)) this.forget = pictures.want(this.id_shown, () => this.requestUpdate());
  }

  updated() {
    const { width, height } = this.room;
    const left = this.x + AWAY + WIDTH > width ? this.x - AWAY - WIDTH : this.x + AWAY;
    const top = Math.min(Math.max(8, this.y - HEIGHT / 2), Math.max(8, height - HEIGHT - 8));
    this.style.transform = `translate(${Math.max(8, left)}px, ${top}px)`;
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    this.forget?.();
  }

  render() {
    const { rows } = state;
    const found = pictures.at_once(this.id_shown);
    return html`
      <div class="picture">${found?.url ? html`<img src=${found.url} alt="">` : found ? html`<span class="soft">${found.error}</span>` : nothing}</div>
      <dl>
        <dt>Label</dt>
        <dd>${rows.labels(this.row).join(", ") || "none"}</dd>
        ${this.#answer(rows)}
      </dl>
    `;
  }

  #answer(rows) {
    const answer = rows.predictions(this.row).join(", ");
    if (!answer) return nothing;
    const sure = rows.columns.probability?.[this.row];
    const wrong = rows.disagrees(this.row);
    return html`<dt>Head</dt><dd class=${wrong ? "error" : ""}>${answer}${sure >= 0 ? html` <span class="soft">${percent(sure)}</span>` : nothing}</dd>`;
  }
}

customElements.define("hw-map-card", Card);

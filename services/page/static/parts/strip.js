// A strip of photos with a word below each. A click shows the photo.

import { Part, html, nothing, repeat } from "../base/part.js";
import { state } from "../base/state.js";
import { thumbs } from "../base/thumbs.js";

const pictures = thumbs(256);

class Photo extends Part {
  static properties = { row: { attribute: false }, rows: { attribute: false }, asset: { attribute: false }, words: { attribute: false } };

  updated(changed) {
    if (changed.has("asset")) this.wish();
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    this.forget?.();
  }

  wish() {
    this.forget?.();
    this.show(pictures.at_once(this.asset) ?? null);
    if (!this.picture) this.forget = pictures.want(this.asset, (found) => this.show(found));
  }

  show(picture) {
    this.picture = picture;
    this.requestUpdate();
  }

  render() {
    const { url, error } = this.picture ?? {};
    return html`<button class="thumb" @click=${() => state.change({ open: this.row, among: Array.from(this.rows) })}>
      <span class="picture">
        ${url ? html`<img src=${url} alt="" decoding="async">` : nothing}
        ${error ? html`<span class="soft" title=${error}>no picture</span>` : nothing}
      </span>
      <span class="words">${this.words}</span>
    </button>`;
  }
}

customElements.define("hw-thumb", Photo);

/**
 * Return a strip of photos.
 *
 * @param {number[]} rows numbers of rows
 * @param {(row: number) => unknown} words what stands below a photo
 * @param {string} name of the list, for who hears the page
 */
export const strip = (rows, words, name) => html`<ul class="strip" aria-label=${name}>
  ${repeat(
    rows,
    (row) => row,
    (row) => html`<li><hw-thumb .row=${row} .rows=${rows} .asset=${state.rows.id(row)} .words=${words(row)}></hw-thumb></li>`,
  )}
</ul>`;

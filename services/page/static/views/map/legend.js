// What the colours mean, as a table with counts: the map in words.

import { classMap, html, nothing } from "../../base/part.js";
import { css } from "../../base/colours.js";
import { number } from "../../base/words.js";

/**
 * Return the table.
 *
 * @param {{groups, named}} colouring
 * @param {Map<number, number>} counts of the shown rows by group
 * @param {Uint8Array} colours the table that the map uses
 * @param {number|null} chosen the group that stands out
 * @param {(group: number|null) => void} choose
 */
export function legend({ groups, named }, counts, colours, chosen, choose) {
  const present = groups.filter(({ code }) => counts.get(code));
  if (named) present.sort((a, b) => (a.code < 0) - (b.code < 0) || counts.get(b.code) - counts.get(a.code));
  const row = ({ code, name, byte }) => html`<tr class=${classMap({ chosen: code === chosen, other: chosen !== null && code !== chosen })}>
    <th scope="row">
      <button aria-pressed=${code === chosen} title=${name} @click=${() => choose(code === chosen ? null : code)}>
        <span class="swatch" .style=${`background: ${css(colours, byte)}`}></span><span class="name">${name}</span>
      </button>
    </th>
    <td>${number(counts.get(code))}</td>
  </tr>`;
  return html`<table class="legend">
    <caption class="unseen">Photos on the map by colour. A click on a name makes its photos stand out.</caption>
    <tbody>${present.length ? present.map(row) : nothing}</tbody>
  </table>`;
}

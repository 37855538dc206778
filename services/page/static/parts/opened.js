// The photo that another view than the grid has opened: `state.open`, and `state.among`, the photos beside it.

import { View, html } from "../base/part.js";
import { state } from "../base/state.js";
import "./photo.js";

class Opened extends View {
  step({ detail: { by } }) {
    const rows = state.among ?? [];
    const next = rows[rows.indexOf(state.open) + by];
    if (rows.includes(state.open) && next !== undefined) state.change({ open: next });
  }

  async label({ detail: { name } }) {
    const { labelling, task, open } = state;
    const words = await (task?.many && name !== null ? labelling.toggle([open], name) : labelling.set([open], name));
    if (words) state.say(words);
  }

  render() {
    return html`<hw-photo
      .row=${state.open ?? null}
      @hw-step=${this.step}
      @hw-label=${this.label}
      @hw-close=${() => state.change({ open: null, among: null })}
    ></hw-photo>`;
  }
}

customElements.define("hw-opened", Opened);

import { View, html } from "../base/part.js";
import { state } from "../base/state.js";

class Stub extends View {
  render() {
    return html`<p>${state.rows?.count ?? "no rows"}</p>`;
  }
}

customElements.define("hw-browse", Stub);

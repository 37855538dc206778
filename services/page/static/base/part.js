// The base of every element of the page: it renders into the document itself, so one stylesheet serves all of them.

import { LitElement } from "../vendor/lit.js";
import { state } from "./state.js";

export { classMap, html, live, nothing, repeat, svg } from "../vendor/lit.js";

export class Part extends LitElement {
  createRenderRoot() {
    return this;
  }

  /** Tell the elements above about something that the user did here. */
  emit(name, detail = {}) {
    this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true }));
  }
}

/** An element that renders again whenever the state changes. */
export class View extends Part {
  constructor() {
    super();
    this.changed = () => this.requestUpdate();
  }

  connectedCallback() {
    super.connectedCallback();
    state.addEventListener("change", this.changed);
  }

  disconnectedCallback() {
    state.removeEventListener("change", this.changed);
    super.disconnectedCallback();
  }
}

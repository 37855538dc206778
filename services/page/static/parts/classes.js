// The classes of the task, each with its key. A key or a click labels the photos that are meant.

import { classNames, digits, Typed } from "../base/classes.js";
import { View, classMap, html, nothing, repeat } from "../base/part.js";
import { state } from "../base/state.js";
import { number } from "../base/words.js";

/** Emits `hw-label` {name}; the name is null if labels are to be removed. `count` is the number of photos that are meant. */
class Classes extends View {
  static properties = { count: { attribute: false } };

  constructor() {
    super();
    this.typed = new Typed();
    this.press = (event) => this.#key(event);
  }

  connectedCallback() {
    super.connectedCallback();
    document.addEventListener("keydown", this.press, true); // before the grid: Enter ends a name that is being typed
  }

  disconnectedCallback() {
    document.removeEventListener("keydown", this.press, true);
    super.disconnectedCallback();
  }

  get names() {
    return classNames(state.task, state.rows);
  }

  #key(event) {
    if (event.target.closest?.("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (!state.may("write") || !this.#pressed(event.key)) return;
    event.preventDefault();
    event.stopPropagation(); // a letter of a name is no command of the page
  }

  /** Do what a key says. Returns true if it means something here. */
  #pressed(key) {
    if (key === "Backspace" || key === "Delete") return this.#label(null);
    if (/^\d$/.test(key)) {
      const found = [...digits(this.names)].find(([, digit]) => digit === key);
      return Boolean(found) && this.#label(found[0]);
    }
    if (key === "Enter" || key === "Escape") return this.#ended(key);
    const undo = key === "u" && !this.typed.letters && !this.typed.tail;
    return !undo && /^\p{L}$/u.test(key) && this.#letter(key);
  }

  #letter(key) {
    const found = this.typed.letter(key, this.names);
    this.requestUpdate();
    clearTimeout(this.patience);
    this.patience = setTimeout(() => this.typed.clear() || this.requestUpdate(), 2500);
    return found !== null && (!found.name || this.#label(found.name));
  }

  #ended(key) {
    const [first] = this.typed.candidates(this.names);
    this.typed.clear();
    this.requestUpdate();
    return Boolean(first) && (key === "Escape" || this.#label(first));
  }

  #label(name) {
    if (this.count) this.emit("hw-label", { name });
    return true;
  }

  #clicked(event, name) {
    if (event.detail) event.currentTarget.blur(); // a mouse did it: the keys go on moving the photos
    this.#label(name);
  }

  #add(event) {
    event.preventDefault();
    const field = event.target.elements.name;
    const name = field.value.trim();
    if (!name) return;
    if (!this.count) return state.say("Choose a photo first: then a new class begins with it.");
    field.value = "";
    field.blur();
    this.#label(name);
  }

  render() {
    if (!state.rows) return nothing;
    const keys = digits(this.names);
    const { classes } = state.rows.totals;
    const meant = new Set(this.typed.candidates(this.names));
    return html`<section class="classes" aria-label="Classes">
      <h2>${this.count > 1 ? `Label ${number(this.count)} photos` : "Label the photo"}</h2>
      ${state.task || !state.overview?.assets ? nothing : this.#task()}
      <ul>
        ${repeat(
          this.names,
          (name) => name,
          (name) => this.#class(name, keys.get(name), classes[state.rows.names.indexOf(name)] ?? 0, meant.has(name)),
        )}
      </ul>
      ${state.may("write") ? this.#forms() : nothing}
    </section>`;
  }

  #class(name, key, count, meant) {
    return html`<li>
      <button class=${classMap({ class: true, meant })} ?disabled=${!this.count || !state.may("write")} @click=${(event) => this.#clicked(event, name)}>
        <kbd>${key ?? ""}</kbd><span class="name" title=${name}>${name}</span><span class="soft">${number(count)}</span>
      </button>
    </li>`;
  }

  #task() {
    return html`<label class="field"
      ><span>What are these labels?</span>
      <input .value=${state.labelling.newTask} maxlength="200" @change=${(event) => (state.labelling.newTask = event.target.value.trim() || "labels")} />
    </label>`;
  }

  #forms() {
    return html`<form class="new" @submit=${this.#add}>
      <input name="name" placeholder="New class" aria-label="Name of a new class" autocomplete="off" maxlength="200" />
      <button ?disabled=${!this.count}>Add</button>
    </form>`;
  }
}

customElements.define("hw-classes", Classes);

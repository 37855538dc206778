// The page: a head line, one view below it, and the last thing that happened. `#browse?task=…` says what is shown.

import { key } from "./base/api.js";
import { dropped, picked } from "./base/files.js";
import { View, classMap, html, nothing } from "./base/part.js";
import { state } from "./base/state.js";
import "./parts/opened.js";
import "./views/browse.js";
import "./views/heads.js";
import "./views/jobs.js";
import "./views/learn.js";
import { receive } from "./views/drop.js";
import "./views/map.js";

const VIEWS = {
  drop: { name: "Try", view: () => html`<hw-drop></hw-drop>` },
  browse: { name: "Photos", view: () => html`<hw-browse></hw-browse>` },
  map: { name: "Map", view: () => html`<hw-map></hw-map>` },
  learn: { name: "Learn", view: () => html`<hw-learn></hw-learn>` },
  heads: { name: "Heads", view: () => html`<hw-heads></hw-heads>` },
  jobs: { name: "Jobs", view: () => html`<hw-jobs></hw-jobs>` },
};

class App extends View {
  constructor() {
    super();
    addEventListener("hashchange", () => this.follow());
    addEventListener("keydown", (event) => this.key(event));
    addEventListener("dragover", (event) => this.drag(event, true));
    addEventListener("dragleave", (event) => this.drag(event, event.relatedTarget !== null));
    addEventListener("drop", (event) => this.drop(event));
    addEventListener("hw-files", (event) => receive(picked(event.detail.input)));
    this.folded = true; // task, head and key, on a narrow screen
  }

  drag(event, over) {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    document.body.classList.toggle("over", over);
  }

  async drop(event) {
    this.drag(event, false);
    if (event.dataTransfer.types.includes("Files")) receive(await dropped(event.dataTransfer));
  }

  async connectedCallback() {
    super.connectedCallback();
    this.follow();
    await state.start();
  }

  /** Show what the address says. */
  follow() {
    const [view, text] = location.hash.slice(1).split("?");
    const choice = Object.fromEntries(new URLSearchParams(text));
    this.folded = true;
    state.change({ view: Object.hasOwn(VIEWS, view) ? view : "browse" });
    if (state.overview) state.choose(choice);
    else Object.assign(state.choice, choice);
  }

  async key(event) {
    if (event.target.closest?.("input, select, textarea, dialog") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "u" && state.may("write")) {
      const change = await state.labelling.undo();
      state.say(change ? "Took the last change back." : "There is nothing to undo.");
    }
  }

  render() {
    if (state.locked) return html`<hw-login></hw-login>`;
    return html`
      <header class="head">
        <a class="wordmark" href="#browse">Headwater</a>
        <nav aria-label="Views">
          ${Object.entries(VIEWS).map(
            ([view, { name }]) =>
              html`<a href=${`#${view}`} class=${classMap({ here: view === state.view })} aria-current=${view === state.view ? "page" : "false"}>${name}</a>`,
          )}
        </nav>
        ${state.overview ? this.choices() : nothing}
      </header>
      ${state.down ? html`<p class="down" role="alert">${state.down.message}</p>` : nothing}
      <main>${VIEWS[state.view].view()}</main>
      <hw-opened></hw-opened>
      <div class="notice" role="status" aria-live="polite">${this.notice()}</div>
    `;
  }

  /** What holds for all views: which task, which head, whose key. A narrow screen shows it when it is asked for. */
  choices() {
    const { overview, me, choice } = state;
    const heads = state.heads.filter(({ task }) => task === choice.task);
    if (!overview.tasks.length && !heads.length && !me?.keys) return nothing;
    const fold = () => {
      this.folded = !this.folded;
      this.requestUpdate();
    };
    return html`<button class="unfold" aria-label="Task and head" aria-expanded=${String(!this.folded)} aria-controls="choices" @click=${fold}>⋯</button>
      <div id="choices" class=${classMap({ choices: true, folded: this.folded })}>
        ${this.select("task", "Task", overview.tasks)} ${this.select("head", "Head", heads)}
        ${me?.keys ? html`<button class="quiet" title=${`The key of ${me.name}, with the role ${me.role}`} @click=${this.leave}>Forget the key</button>` : nothing}
      </div>`;
  }

  select(name, label, options) {
    if (!options.length) return nothing;
    return html`<label class="choice"
      ><span>${label}</span>
      <select @change=${(event) => state.choose({ [name]: event.target.value })}>
        ${options.map((each) => html`<option ?selected=${each.name === state.choice[name]}>${each.name}</option>`)}
      </select></label
    >`;
  }

  notice() {
    const { notice } = state;
    if (!notice) return nothing;
    return html`<span class=${classMap({ error: notice.error })}>${notice.text}</span>`;
  }

  leave() {
    key.remove();
    location.reload(); // nothing that the key has shown stays in memory
  }
}

class Login extends View {
  async enter(event) {
    event.preventDefault();
    key.set(new FormData(event.target).get("key").trim());
    await state.refresh();
  }

  render() {
    return html`<form class="login" @submit=${this.enter}>
      <h1>Headwater</h1>
      <label>Key<input name="key" type="password" autocomplete="off" required autofocus></label>
      <button>Open</button>
      <p>This service asks for a key. Its operator makes one with <code>headwater keys new</code>. It is kept for this tab only.</p>
      ${state.notice ? html`<p class="error" role="alert">${state.notice.text}</p>` : nothing}
    </form>`;
  }
}

customElements.define("hw-login", Login);
customElements.define("hw-app", App);

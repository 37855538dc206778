// Photos or sounds that were dropped: what the heads say about each, and the training photos that resemble it.

import { classify, similar } from "../base/ask_heads.js";
import { picked } from "../base/files.js";
import { View, html, nothing, repeat } from "../base/part.js";
import { state } from "../base/state.js";
import "../parts/answer.js";
import "../parts/evidence.js";
import "../parts/keep.js";
import "../parts/next.js";

const MOST = 60; // files that are asked about and shown; more are stored instead
const AT_ONCE = 2;
const PICTURE = /^image\//;

let number = 0;

/** Take files that were dropped on the page: ask the heads about some photos, offer to store many. */
export async function receive(files) {
  await state.started; // which heads there are
  if (!files.length) return state.say("There was no file in that.", { error: true });
  const folders = files.some(({ path }) => path.includes("/"));
  if (folders || files.length > MOST || !heads().length) state.change({ incoming: files });
  else {
    const items = files.map(({ file }) => new Item(file));
    state.change({ dropped: [...items, ...state.dropped] });
    work(items);
  }
  location.hash = "#drop";
}

/** Return the heads that are asked: those that were ticked, at first those of the chosen task. */
function heads() {
  return state.heads.filter(({ name, task }) => state.asked?.has(name) ?? task === state.choice.task);
}

class Item {
  constructor(file) {
    Object.assign(this, { file, key: number++, answers: null, error: null, near: null, shown: true });
    this.url = URL.createObjectURL(file);
  }
}

async function work(items) {
  const left = [...items];
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      for (let item = left.shift(); item; item = left.shift()) await answer(item);
    }),
  );
}

async function answer(item) {
  try {
    const { answers, error } = await classify(item.file, heads().map(({ name }) => name));
    Object.assign(item, { answers, error: error?.message ?? null });
    state.change();
    if (answers?.length) item.near = await similar(item.file, state.choice.encoder, state.task);
  } catch (error) {
    item.error ??= item.answers ? null : error.message;
  }
  state.change();
}

class Drop extends View {
  static properties = { over: { state: true } };

  render() {
    const items = state.dropped;
    if (!state.overview?.assets && !state.incoming && !items.length) return html`<hw-next></hw-next>`;
    return html`
      <div class="drop">
        ${state.incoming ? html`<hw-keep .files=${state.incoming}></hw-keep>` : this.invitation(items.length)}
        ${state.heads.length > 1 ? this.choice() : nothing}
        <div class="drops">${repeat(items, ({ key }) => key, (item) => this.item(item))}</div>
      </div>
    `;
  }

  invitation(any) {
    if (!state.heads.length && !state.may("write")) return html`<p class="soft">There are no heads yet that could answer. Your key may look at photos, not add them.</p>`;
    const what = state.heads.length ? "to see what the heads say about it" : "to store it: a folder for each class, if you have classes";
    return html`<div class=${any ? "invitation small" : "invitation"}>
      <p>${state.heads.length ? "Drop a photo or a sound anywhere on this page" : "Drop a folder of photos anywhere on this page"} ${what}.</p>
      <label class=${any ? "button" : "button main"}>Choose files<input type="file" multiple @change=${this.pick}></label>
      <label class="button">Choose a folder<input type="file" webkitdirectory @change=${this.pick}></label>
    </div>`;
  }

  pick(event) {
    receive(picked(event.target));
    event.target.value = "";
  }

  choice() {
    const asked = new Set(heads().map(({ name }) => name));
    const toggle = (name, on) => {
      const next = new Set(asked);
      if (on) next.add(name);
      else next.delete(name);
      state.change({ asked: next });
    };
    return html`<fieldset class="asked">
      <legend>Heads that are asked</legend>
      ${state.heads.map(
        ({ name }) => html`<label
          ><input type="checkbox" .checked=${asked.has(name)} @change=${(event) => toggle(name, event.target.checked)}> ${name}</label
        >`,
      )}
    </fieldset>`;
  }

  /** A picture or a sound as the browser shows it; files that it cannot show are answered all the same. */
  shown(item) {
    const fail = () => {
      item.shown = false;
      this.requestUpdate();
    };
    return PICTURE.test(item.file.type)
      ? html`<img src=${item.url} alt=${item.file.name} @error=${fail}>`
      : html`<audio controls src=${item.url} aria-label=${item.file.name} @error=${fail}></audio>`;
  }

  item(item) {
    return html`<article class="dropped">
      <figure>
        ${item.shown ? this.shown(item) : html`<p class="soft">The browser cannot show this file.</p>`}
        <figcaption class="soft">${item.file.name}</figcaption>
      </figure>
      <div class="answers">
        ${item.error ? html`<p class="error" role="alert">${item.error}</p>` : nothing}
        ${item.answers ? item.answers.map((answer) => html`<hw-answer .answer=${answer} .name=${answer.head}></hw-answer>`) : nothing}
        ${!item.answers && !item.error ? html`<p class="soft">Asking…</p>` : nothing}
      </div>
      ${item.near?.length ? html`<hw-evidence .hits=${item.near}></hw-evidence>` : nothing}
    </article>`;
  }
}

customElements.define("hw-drop", Drop);

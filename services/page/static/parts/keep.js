// Files that are to be stored: asks for their task and labels, shows how far they are, and says what became of them.

import { keeping, folders, rootOf } from "../base/keeping.js";
import { View, html, nothing } from "../base/part.js";
import { state } from "../base/state.js";
import { number } from "../base/words.js";

const NAMED = 8; // classes that are listed
const REFUSED = 20; // files that are listed

class Keep extends View {
  static properties = { files: { attribute: false } };

  willUpdate(changed) {
    if (changed.has("files")) this.task = taskOf(this.files);
  }

  render() {
    return keeping.step ? this.progress() : this.form();
  }

  form() {
    const found = [...folders(this.files)];
    const may = state.may("write");
    return html`<form class="keep" @submit=${this.store}>
      <h2>Store ${count(this.files.length)}</h2>
      <label>Task<input name="task" .value=${this.task} required maxlength="300"></label>
      <p class="soft">A task is one question about the photos; its classes are the answers. Any name will do.</p>
      ${
        found.length > 1
          ? html`<label class="check"><input type="checkbox" name="folders" checked>
              The folder of a photo is its class: ${named(found)}</label>`
          : html`<label>Label of all of them, if they have one<input name="label" maxlength="300"></label>`
      }
      <p><button class="main" ?disabled=${!may}>Store and embed</button> <button type="button" @click=${this.close}>Do not store</button></p>
      <p class="soft">${may ? "The files are copied to the machine on which Headwater runs. Then each one is embedded, once: turned into the numbers that everything else here reads." : "Your key may only read. A key of the role write can store."}</p>
    </form>`;
  }

  progress() {
    const { stored, known, refused, job, error, partial, ended } = keeping.step;
    return html`<section class="keep" aria-live="polite">
      <h2>${ended ? (keeping.stopped ? "Stopped" : "Stored") : job ? "Embedding" : "Storing"}</h2>
      ${ended ? nothing : html`${bar(job)}<p>${keeping.words}</p>`}
      <p>
        ${number(stored)} new, ${number(known)} known
        already${refused.length ? html`, <span class="error">${number(refused.length)} refused</span>` : nothing}.
      </p>
      ${refused.length ? html`<ul class="refused">${refused.slice(0, REFUSED).map(({ name, message }) => html`<li>${name}: ${message}</li>`)}</ul>` : nothing}
      ${error ? html`<p class="error" role="alert">${error}</p>` : nothing}
      ${partial ? html`<p class="error">Some photos could not be embedded. Under Photos, Show says which ones and why.</p>` : nothing}
      ${ended ? html`<p><button class="main" @click=${this.look}>Look at them</button></p>` : this.meanwhile()}
    </section>`;
  }

  meanwhile() {
    return html`<p><button @click=${() => keeping.stop()}>Stop</button></p>
      <p class="soft">It goes on while you <a href="#browse">look at the photos</a>.</p>`;
  }

  store(event) {
    event.preventDefault();
    const fields = new FormData(event.target);
    keeping.begin(this.files, { task: fields.get("task").trim(), byFolder: fields.has("folders"), label: fields.get("label") });
  }

  close() {
    state.change({ incoming: null });
  }

  /** Show the stored photos. Files that were dropped meanwhile are asked about next. */
  look() {
    if (state.incoming === keeping.files) this.close();
    keeping.forget();
    location.hash = "#browse";
  }
}

function bar(job) {
  const { done, total } = job ? (job.progress ?? {}) : { done: keeping.step.sent, total: keeping.files.length };
  // Without a value the bar says that something is done, not how far it is.
  return total ? html`<progress max=${total} .value=${done} aria-label=${keeping.words}></progress>` : html`<progress aria-label=${keeping.words}></progress>`;
}

const count = (files) => (files === 1 ? "1 file" : `${number(files)} files`);

function named(found) {
  const some = found.slice(0, NAMED).map(([name, files]) => `${name} (${number(files)})`).join(", ");
  return found.length > NAMED ? `${some} and ${number(found.length - NAMED)} more` : some;
}

/** Return the task that the files fit best: the one on the screen if it has one of their classes or they have none. */
function taskOf(files) {
  const known = state.task?.classes.map(({ name }) => name) ?? [];
  const found = [...folders(files).keys()];
  const fits = state.task && (!found.length || found.some((name) => known.includes(name)));
  return fits ? state.task.name : (rootOf(files) ?? state.choice.task ?? "photos");
}

customElements.define("hw-keep", Keep);

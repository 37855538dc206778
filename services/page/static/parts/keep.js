// Stores many files: asks for the task, sends them some at a time, embeds them, and says what became of them.

import { read } from "../base/api.js";
import { folderOf } from "../base/files.js";
import { View, html, nothing } from "../base/part.js";
import { state } from "../base/state.js";

const AT_ONCE = 24; // files of one request
const MOST_BYTES = 16e6; // of one request; a larger file is sent alone
const ENDED = ["done", "failed", "cancelled", "interrupted"];
const POLL = 500;

class Keep extends View {
  static properties = { files: { attribute: false }, step: { state: true } };

  constructor() {
    super();
    this.step = null; // {sent, stored, known, refused: [{name, message}], job}
    this.stopped = false;
  }

  willUpdate(changed) {
    if (changed.has("files")) this.task = taskOf(this.files);
  }

  render() {
    const folders = classes(this.files);
    if (this.step) return this.progress();
    return html`<form class="keep" @submit=${this.store}>
      <h2>Store ${this.files.length.toLocaleString()} ${this.files.length === 1 ? "file" : "files"}</h2>
      <label>Task<input name="task" .value=${this.task} required maxlength="300"></label>
      ${
        folders.length > 1
          ? html`<label class="check"><input type="checkbox" name="folders" checked>
              The folder of a photo is its label: ${folders.slice(0, 8).join(", ")}${folders.length > 8 ? ` and ${folders.length - 8} more` : ""}</label>`
          : html`<label>Label of all of them, if they have one<input name="label" maxlength="300"></label>`
      }
      <p><button class="main" ?disabled=${!state.may("write")}>Store and embed</button> <button type="button" @click=${this.close}>Do not store</button></p>
      ${state.may("write") ? nothing : html`<p class="soft">Your key may only read. A key of the role write can store.</p>`}
    </form>`;
  }

  progress() {
    const { sent, stored, known, refused, job, error } = this.step;
    const ended = error || (job && ENDED.includes(job.state));
    return html`<section class="keep" aria-live="polite">
      <h2>${ended ? "Stored" : sent < this.files.length ? "Storing" : "Embedding"}</h2>
      <progress max=${this.files.length} .value=${sent} aria-label="stored"></progress>
      <p>
        ${stored.toLocaleString()} new, ${known.toLocaleString()} known
        already${refused.length ? html`, <span class="error">${refused.length.toLocaleString()} refused</span>` : nothing}.
      </p>
      ${refused.length ? html`<ul class="refused">${refused.slice(0, 20).map(({ name, message }) => html`<li>${name}: ${message}</li>`)}</ul>` : nothing}
      ${job ? html`<p>Embedding: ${words(job)}</p>` : nothing} ${error ? html`<p class="error" role="alert">${error}</p>` : nothing}
      <p>${ended ? html`<button class="main" @click=${this.look}>Look at them</button>` : html`<button @click=${this.stop}>Stop</button>`}</p>
    </section>`;
  }

  async store(event) {
    event.preventDefault();
    const fields = new FormData(event.target);
    const [task, byFolder] = [fields.get("task").trim(), fields.has("folders")];
    this.step = { sent: 0, stored: 0, known: 0, refused: [], job: null, error: null };
    try {
      for (const [label, some] of requests(this.files, byFolder, fields.get("label"))) {
        if (this.stopped) break;
        await this.send(task, label, some);
      }
      if (this.step.stored + this.step.known) await this.embed();
      await state.choose({ task });
    } catch (error) {
      this.step = { ...this.step, error: error.message };
    }
    await state.refresh();
  }

  async send(task, label, some) {
    const form = new FormData();
    for (const { file, path } of some) form.append("files", file, path);
    const parameters = label ? { task, label } : {};
    const answer = await read("v1/files", { form, parameters });
    const refused = answer.items.filter(({ error }) => error).map(({ name, error }) => ({ name, message: error.message }));
    const { sent, stored, known, refused: before } = this.step;
    this.step = {
      ...this.step,
      sent: sent + some.length,
      stored: stored + answer.new,
      known: known + answer.known,
      refused: [...before, ...refused],
    };
  }

  async embed() {
    const encoder = state.choice.encoder ?? undefined;
    let job = await read("v1/jobs", { json: { kind: "backfill", encoder } });
    while (!ENDED.includes(job.state)) {
      this.step = { ...this.step, job };
      await new Promise((resolve) => setTimeout(resolve, POLL));
      job = await read(`v1/jobs/${job.id}`);
    }
    this.step = { ...this.step, job };
  }

  stop() {
    this.stopped = true;
  }

  close() {
    state.change({ incoming: null });
  }

  look() {
    this.close();
    location.hash = "#browse";
  }
}

function words({ state: now, progress, error }) {
  if (error) return error;
  const rows = progress ? `${progress.done.toLocaleString()} of ${(progress.total ?? progress.done).toLocaleString()}` : "";
  return { queued: "waits for another job", running: rows || "begins", done: `done. ${rows}` }[now] ?? now;
}

function rootOf(files) {
  const [first] = files[0].path.split("/");
  return files[0].path.includes("/") && files.every(({ path }) => path.startsWith(`${first}/`)) ? first : null;
}

/** Return the task that the files fit best: the one on the screen if it has one of their classes or they have none. */
function taskOf(files) {
  const [known, folders] = [state.task?.classes.map(({ name }) => name) ?? [], classes(files)];
  const fits = state.task && (!folders.length || folders.some((name) => known.includes(name)));
  return fits ? state.task.name : (rootOf(files) ?? state.choice.task ?? "photos");
}

/** Return the names of the folders that hold files, below the one that was dropped. */
function classes(files) {
  const root = rootOf(files);
  return [...new Set(files.map(({ path }) => folderOf(path)).filter((name) => name !== null && name !== root))].sort();
}

/** Yield [label, files] for each request: one label, not too many files, not too many bytes. */
function* requests(files, byFolder, all) {
  const root = rootOf(files);
  const labelOf = ({ path }) => (byFolder ? (folderOf(path) === root ? null : folderOf(path)) : all?.trim() || null);
  for (const [label, some] of Map.groupBy(files, labelOf)) {
    let part = [];
    let bytes = 0;
    for (const each of some) {
      if (part.length && (part.length === AT_ONCE || bytes + each.file.size > MOST_BYTES)) {
        yield [label, part];
        [part, bytes] = [[], 0];
      }
      part.push(each);
      bytes += each.file.size;
    }
    yield [label, part];
  }
}

customElements.define("hw-keep", Keep);

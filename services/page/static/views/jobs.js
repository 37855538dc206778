// Jobs: what runs on the whole store, live, with its log and its result; and a form to start one.

import { KINDS, active, cancel, details, lines, list, save, told } from "../base/jobs.js";
import { EVERYTHING } from "../base/filter.js";
import { View, classMap, html, nothing, repeat } from "../base/part.js";
import { read } from "../base/api.js";
import { state } from "../base/state.js";
import { moment, withoutPaths } from "../base/words.js";
import { table } from "../parts/charts.js";
import "../parts/job_form.js";

const BUSY = 1000; // milliseconds between two looks while a job is at work
const CALM = 5000;
const AT_ONCE = 25;
const FINDINGS = ["mistakes", "suggest", "duplicates"]; // kinds whose file names stored photos, line by line

class Jobs extends View {
  static properties = { jobs: { state: true }, count: { state: true }, opened: { state: true }, shown: { state: true } };

  constructor() {
    super();
    this.jobs = null;
    this.count = 0;
    this.shown = AT_ONCE;
    this.opened = new Map(); // id → details; null until they are there
  }

  connectedCallback() {
    super.connectedCallback();
    this.here = true;
    this.follow();
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    this.here = false;
    clearTimeout(this.timer);
  }

  /** Look at the jobs now, and again as long as the view is shown. */
  async follow() {
    clearTimeout(this.timer);
    await this.look();
    if (this.here) this.timer = setTimeout(() => this.follow(), this.jobs?.some(active) ? BUSY : CALM);
  }

  async look() {
    if (!state.me?.jobs || state.locked) return;
    try {
      const { jobs, count } = await list(this.shown);
      const before = new Map(this.jobs?.map((job) => [job.id, job.state]));
      Object.assign(this, { jobs, count });
      const ended = jobs.filter((job) => before.has(job.id) && before.get(job.id) !== job.state && !active(job));
      if (ended.length) state.change({ heads: (await read("heads")).heads });
      for (const [id, job] of this.opened) if (!job || active(job)) await this.open(id);
    } catch (error) {
      state.fail(error);
    }
  }

  async open(id) {
    this.opened = new Map(this.opened).set(id, await details(id));
  }

  async toggle(event, id) {
    if (event.target.open === this.opened.has(id)) return;
    if (!event.target.open) {
      this.opened.delete(id);
      return;
    }
    this.opened.set(id, null);
    await this.attempt(() => this.open(id));
  }

  async attempt(action) {
    try {
      await action();
    } catch (error) {
      state.fail(error);
    }
  }

  render() {
    if (!state.me) return nothing;
    if (!state.me.jobs) return html`<div class="sheet"><h1>Jobs</h1><p>This service runs no jobs. The same work can be done on the command line: <code>headwater --help</code> lists it.</p></div>`;
    const may = state.may("write");
    return html`<div class="sheet">
      <header class="title">
        <h1>Jobs</h1>
        <button class="main" ?disabled=${!may} title=${may ? "" : "Your key may look at jobs, but not start them."} @click=${() => this.querySelector("hw-job-form").open()}>Start a job</button>
      </header>
      <p class="soft">Work on the whole store. It goes on when this page is closed.</p>
      ${this.jobs && !this.jobs.length ? html`<p>There are no jobs yet.</p>` : nothing}
      <ul class="jobs">${repeat(this.jobs ?? [], ({ id }) => id, (job) => html`<li>${this.job(job, may)}</li>`)}</ul>
      ${this.jobs && this.count > this.jobs.length ? html`<button class="quiet" @click=${this.older}>Older jobs</button>` : nothing}
      <hw-job-form @started=${() => this.follow()}></hw-job-form>
    </div>`;
  }

  async older() {
    this.shown += AT_ONCE;
    await this.look();
  }

  job(job, may) {
    const name = KINDS[job.kind] ?? job.kind;
    return html`<article class="job ${job.state}" aria-label=${name}>
      <div class="row">
        <h2>${name}</h2>
        <span class=${classMap({ state: true, error: job.state === "failed", right: job.state === "done" && !job.partial })}>${told(job)}</span>
        <time class="soft" datetime=${job.created}>${moment(job.created)}</time>
        ${active(job) ? html`<button ?disabled=${!may || job.cancelling} @click=${() => this.stop(job)}>Cancel</button>` : nothing}
      </div>
      ${active(job) ? bar(job, name) : nothing}
      ${job.error ? html`<p class="error">${withoutPaths(job.error)}</p>` : nothing}
      <details @toggle=${(event) => this.toggle(event, job.id)}>
        <summary>Details</summary>
        ${this.opened.get(job.id) ? this.details(this.opened.get(job.id)) : nothing}
      </details>
    </article>`;
  }

  async stop(job) {
    await this.attempt(() => cancel(job.id));
    await this.follow();
  }

  details(job) {
    const { kind, ...asked } = job.request;
    return html`
      ${job.file ? html`<div class="row"><button @click=${() => this.attempt(() => save(job))}>Save ${job.file}</button>${this.findings(job)}</div>` : nothing}
      ${job.result ? html`<h3>Result</h3>${shown(job.result)}` : nothing}
      <h3>Asked for</h3>
      ${shown(asked)}
      ${job.log.length ? html`<h3>Log</h3><pre tabindex="0" aria-label="Log">${withoutPaths(job.log.join("\n"))}</pre>` : nothing}
    `;
  }

  findings(job) {
    if (!FINDINGS.includes(job.kind) || !state.rows) return nothing;
    return html`<button class="main" @click=${() => this.attempt(() => this.photos(job))}>Show the photos</button>`;
  }

  /** Show the photos that a job has found, in its order. */
  async photos(job) {
    const ids = (await lines(job)).flatMap((line) => Object.values(line).filter((value) => ID.test(value)));
    const rows = [...new Set(ids)].map((id) => state.rows.row(id)).filter((row) => row >= 0);
    state.narrow({ ...EVERYTHING, only: { name: KINDS[job.kind], rows: Uint32Array.from(rows) } });
    location.hash = "#browse";
  }
}

const ID = /^[0-9a-f]{64}$/;

function bar({ progress }, name) {
  const { done = 0, total = null } = progress ?? {};
  return html`<progress aria-label=${name} .value=${total ? done : nothing} max=${total ?? 1}></progress>`;
}

const plain = (value) => value === null || typeof value !== "object";
const record = (value) => !plain(value) && !Array.isArray(value);
const empty = (value) => value === null || value === "" || (!plain(value) && !Object.keys(value).length);
const words = (name) => name.replaceAll("_", " ");

/** Return any JSON value as tables of its parts. Empty parts say nothing and are left out. */
function shown(value) {
  if (typeof value === "number") return value.toLocaleString("en", { maximumFractionDigits: 4 });
  if (plain(value)) return withoutPaths(String(value ?? ""));
  if (Array.isArray(value)) return value.every(plain) ? withoutPaths(value.join(", ")) : records(value);
  const parts = Object.entries(value).filter(([, each]) => !empty(each));
  if (parts.length && parts.every(([, each]) => record(each))) return records(parts.map(([name, each]) => ({ name, ...each })));
  return html`<dl>${parts.map(([name, each]) => part(name, each))}</dl>`;
}

/** Return a name and its value; one with parts of its own stands below its name, so that it has the whole width. */
function part(name, value) {
  const deep = classMap({ deep: record(value) || (Array.isArray(value) && value.some(record)) });
  return html`<dt class=${deep}>${words(name)}</dt><dd class=${deep}>${shown(value)}</dd>`;
}

/** Return a table with one row for each record. Parts of records that have parts themselves are left out. */
function records(values) {
  const titles = [...new Set(values.flatMap((each) => Object.keys(each).filter((name) => plain(each[name]))))];
  const rows = values.map((each) => titles.map((name) => shown(each[name] ?? "")));
  return table({ caption: "Result", titles: titles.map(words), rows });
}

customElements.define("hw-jobs", Jobs);

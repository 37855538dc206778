// What the page knows, in one place. Elements read it and call its methods; each change is one event, "change".

import { Failure, bytes, key, read } from "./api.js";
import { EVERYTHING, chosen } from "./filter.js";
import { Labelling } from "./labelling.js";
import { Rows } from "./rows.js";

const ASK_AGAIN = 5000; // milliseconds between two looks at what has changed in the store
const CHOICES = ["task", "encoder", "head", "axes"];

class State extends EventTarget {
  constructor() {
    super();
    this.view = "browse";
    this.me = null; // who is asking: {name, role, keys, jobs}
    this.overview = null; // the store at a glance
    this.heads = [];
    this.choice = { task: null, encoder: null, head: null, axes: null };
    this.rows = null;
    this.filter = EVERYTHING;
    this.selection = new Set(); // numbers of rows
    this.dropped = []; // files that were dropped, with their answers
    this.notice = null; // {text, error, undo}: the last thing that happened
    this.locked = false; // a key is needed
    this.down = null; // the service does not answer: its Failure
    this.loading = false;
    this.labelling = new Labelling(this);
  }

  change(values = {}) {
    Object.assign(this, values);
    this.dispatchEvent(new Event("change"));
  }

  say(text, more = {}) {
    const notice = { text, ...more };
    this.change({ notice });
    setTimeout(() => this.notice === notice && this.change({ notice: null }), more.error ? 15000 : 6000);
  }

  /** Show an error of a request where the user looks; one that concerns the whole page takes its place. */
  fail(error) {
    if (!(error instanceof Failure)) throw error;
    if (error.code === "missing_key" || error.code === "bad_key") {
      key.remove();
      this.change({ locked: true, notice: error.code === "bad_key" ? { text: "This key is not valid.", error: true } : null });
    } else if (error.status === 0) this.change({ down: error });
    else this.say(error.message, { error: true });
  }

  /** True if the key that is used may do what `role` may. */
  may(role) {
    const order = ["read", "write", "admin"];
    return this.me !== null && order.indexOf(this.me.role) >= order.indexOf(role);
  }

  /** Ask for everything that the page shows, and look for changes from now on. */
  async start() {
    this.started = this.refresh();
    await this.started;
    setInterval(() => this.#look(), ASK_AGAIN);
  }

  async refresh() {
    try {
      const [me, overview, { heads }] = await Promise.all([read("v1/me"), read("v1/overview"), read("heads")]);
      this.change({ me, overview, heads, locked: false, down: null });
      await this.choose(this.choice);
    } catch (error) {
      this.fail(error);
    }
  }

  async #look() {
    if (this.locked || document.hidden || this.labelling.busy) return;
    if (!this.me) return this.refresh(); // the service did not answer when the page was opened
    try {
      const [overview, before] = [await read("v1/overview"), this.overview];
      if (!this.down && overview.version === before?.version) return;
      const { heads } = await read("heads");
      const only = !this.down && overview.version_without_labels === before?.version_without_labels;
      this.change({ overview, heads, down: null });
      await this.load(only && this.task ? labelColumns(this.task) : null);
    } catch (error) {
      this.fail(error);
    }
  }

  /** Choose a task, an encoder or a head. What is not named, or is not there, is chosen by what fits. */
  async choose(choice) {
    const next = fitting({ ...this.choice, ...choice }, this.overview, this.heads);
    const same = this.rows && CHOICES.every((name) => next[name] === this.choice[name]);
    if (next.task !== this.choice.task) this.filter = EVERYTHING;
    this.change({ choice: next });
    if (!same) await this.load();
  }

  /** Read the columns of the rows anew; with `columns` only these. */
  async load(columns = null) {
    const asked = this.choice;
    const mark = this.labelling.mark();
    this.change({ loading: true });
    try {
      const parameters = columns ? { task: asked.task, columns } : asked;
      let rows = new Rows(await bytes("v1/rows", { parameters }));
      if (asked !== this.choice) return;
      if (columns && rows.version !== this.rows?.version) return await this.load();
      if (columns) rows = this.rows.relabelled(rows);
      this.labelling.replay(rows, mark);
      if (this.rows !== rows && this.rows) this.#carry(rows);
      this.change({ rows, memo: null });
    } catch (error) {
      if (asked === this.choice) this.fail(error);
      if (asked === this.choice && asked.axes && error.status >= 400 && error.status !== 401) await this.choose({ axes: null });
    } finally {
      this.change({ loading: false });
    }
  }

  /** Keep what is selected and found when the rows have other numbers: assets were added or removed. */
  #carry(rows) {
    this.selection = new Set(rows.find(this.rows, this.selection));
    const { only } = this.filter;
    if (only && rows.version !== this.rows.version) {
      this.filter = { ...this.filter, only: { ...only, rows: Uint32Array.from(rows.find(this.rows, only.rows)) } };
    }
  }

  /** Return the rows that are shown, in their order. @returns {Uint32Array} */
  get shown() {
    if (this.memo?.rows !== this.rows || this.memo?.filter !== this.filter) {
      this.memo = { rows: this.rows, filter: this.filter, shown: this.rows ? chosen(this.rows, this.filter) : new Uint32Array() };
    }
    return this.memo.shown;
  }

  narrow(values) {
    this.change({ filter: { ...this.filter, ...values }, selection: new Set() });
  }

  get task() {
    return this.overview?.tasks.find(({ name }) => name === this.choice.task) ?? null;
  }
}

const labelColumns = ({ many }) => (many ? "label,labels_end,labels_flat,split" : "label,split");

const largest = (list, value) => list.reduce((best, each) => (best && value(best) >= value(each) ? best : each), null);

/** Return the choice with names that exist: the task with the most labels, its newest head, that head's encoder. */
function fitting({ task, encoder, head, axes }, overview, heads) {
  const { tasks } = overview;
  if (!tasks.some(({ name }) => name === task)) task = largest(tasks, ({ labelled }) => labelled)?.name ?? null;
  const own = heads.filter((each) => each.task === task);
  const plain = head && head.split("@")[0];
  if (!own.some(({ name }) => name === plain)) head = largest(own, ({ versions }) => versions.at(-1))?.name ?? null;
  const encoders = overview.encoders.map(({ name }) => name);
  if (!encoders.includes(encoder)) {
    const read = heads.find(({ name }) => name === (head && head.split("@")[0]))?.encoders ?? [];
    encoder = read.find((name) => encoders.includes(name)) ?? encoders[0] ?? null;
  }
  return { task, encoder, head, axes: encoder && axes };
}

export const state = new State();

// Changes of labels: shown at once, saved at once, taken back if the service refuses them, undone in their order.

import { ask } from "./api.js";
import { NONE } from "./rows.js";

const AT_ONCE = 500; // rows of one request
const TO_REMOVE = 100;
const SOURCE = "page";

export class Labelling {
  constructor(state) {
    this.state = state;
    this.done = []; // changes that can be undone: {task, rows, before, after}
    this.busy = 0;
    this.queue = Promise.resolve();
  }

  /** Give every row of `rows` the one label `name`; null removes its label. */
  async set(rows, name) {
    const before = rows.map((row) => this.state.rows.labels(row));
    const after = rows.map(() => (name === null ? [] : [name]));
    const change = { task: this.state.choice.task, rows, before, after };
    if (await this.#apply(change, after)) this.done.push(change);
    const photos = rows.length === 1 ? "1 photo" : `${rows.length.toLocaleString()} photos`;
    return name === null ? `Removed the label of ${photos}.` : `${photos}: ${name}.`;
  }

  /** Take the last change back. */
  async undo() {
    const change = this.done.pop();
    if (change && !(await this.#apply(change, change.before))) this.done.push(change);
    return change;
  }

  /** Show `labels`, then save them. Returns false if the service refuses them; the old ones are then shown again. */
  async #apply(change, labels) {
    const old = labels === change.after ? change.before : change.after;
    this.#show(change.rows, labels);
    this.busy += 1;
    try {
      // One after the other: two changes of one photo must not overtake each other.
      this.queue = this.queue.catch(() => {}).then(() => this.#save(change, labels));
      await this.queue;
      return true;
    } catch (error) {
      this.#show(change.rows, old);
      this.state.fail(error);
      return false;
    } finally {
      this.busy -= 1;
    }
  }

  #show(numbers, labels) {
    const { rows } = this.state;
    const { label } = rows.columns;
    numbers.forEach((row, i) => (label[row] = labels[i].length ? rows.code(labels[i][0]) : NONE));
    this.state.memo = null;
    this.state.change();
  }

  async #save({ task, rows: numbers }, labels) {
    const { rows } = this.state;
    const entries = numbers.map((row, i) => ({ id: rows.id(row), labels: labels[i] }));
    const some = entries.filter((entry) => entry.labels.length);
    const none = entries.filter((entry) => !entry.labels.length).map(({ id }) => id);
    for (const part of parts(some, AT_ONCE)) await ask("v1/labels", { json: { task, labels: part, source: SOURCE } });
    for (const id of parts(none, TO_REMOVE)) await ask("v1/labels", { method: "DELETE", parameters: { task, id } });
  }
}

function* parts(list, length) {
  for (let start = 0; start < list.length; start += length) yield list.slice(start, start + length);
}

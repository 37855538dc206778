// Changes of labels: shown at once, saved at once, taken back if the service refuses them, undone in their order.

import { ask } from "./api.js";
import { photos } from "./words.js";

const AT_ONCE = 2000; // rows of one request
const TO_REMOVE = 100;
const REMEMBERED = 200; // steps
const SOURCE = "page";
const FIRST_TASK = "labels";

export class Labelling {
  constructor(state) {
    this.state = state;
    this.newTask = FIRST_TASK; // name of the task that the first label begins, in a store without one
    this.done = []; // changes that can be undone: {key, task, rows, numbers, before, after}
    this.steps = []; // what was shown: {rows, numbers, labels, ended}, for rows that are read meanwhile
    this.clock = 0; // number of steps that have ended
    this.busy = 0;
    this.queue = Promise.resolve();
  }

  /** Give every row the one label `name`; null removes its labels. Returns a sentence, or null if it failed. */
  async set(numbers, name) {
    return this.#make(numbers, () => (name === null ? [] : [name]), name === null ? "No label" : name);
  }

  /** Add the label `name` to every row; if all of them have it, remove it. Returns a sentence, or null if it failed. */
  async toggle(numbers, name) {
    const has = (labels) => labels.includes(name);
    const all = numbers.every((row) => has(this.state.rows.labels(row)));
    const next = (labels) => (all ? labels.filter((each) => each !== name) : has(labels) ? labels : [...labels, name]);
    return this.#make(numbers, next, all ? `Not ${name}` : name);
  }

  async #make(numbers, next, words) {
    const { rows, choice } = this.state;
    const before = numbers.map((row) => rows.labels(row));
    const change = { key: {}, task: choice.task ?? this.newTask, rows, numbers, before, after: before.map(next) };
    this.done.push(change); // before it is saved: an undo that is asked for meanwhile waits for its turn
    const saved = await this.#apply(change, "after", "before");
    if (saved !== change) this.#replace(change, saved);
    if (!saved) return null;
    if (choice.task === null) await this.state.refresh();
    return `Saved. ${photos(saved.numbers.length)}: ${words}.`;
  }

  #replace(change, saved) {
    const at = this.done.findIndex(({ key }) => key === change.key);
    if (at >= 0) this.done.splice(at, 1, ...(saved ? [saved] : []));
  }

  /** Take the last change back; what it changed is selected again. Returns the change, or undefined. */
  async undo() {
    const change = this.done.pop();
    if (!change) return undefined;
    const { numbers } = moved(change, this.state.rows);
    if (numbers.length > 1) this.state.change({ selection: new Set(numbers) });
    if (await this.#apply(change, "before", "after")) return change;
    this.done.push(change);
    return undefined;
  }

  /** Return the time now, for `replay`. */
  mark() {
    return this.clock;
  }

  /** Show on `rows`, which were asked for at `mark`, what was not saved then: their labels may be older. */
  replay(rows, mark) {
    for (const step of this.steps) if (step.ended > mark) show(step, rows);
    // The columns of a million rows are large: nothing that has ended keeps the old ones.
    this.steps = this.steps.map((step) => (step.ended === Infinity ? step : moved(step, rows)));
    this.done = this.done.map((change) => moved(change, rows));
  }

  /** Show the labels `now`, then save them. Returns what was saved, null if nothing was; of the rest, `old` is shown again. */
  async #apply(change, now, old) {
    const step = { rows: change.rows, numbers: change.numbers, labels: change[now], ended: Infinity };
    const saved = new Uint8Array(change.numbers.length);
    this.steps = [...this.steps.slice(-REMEMBERED), step];
    this.#shown(step);
    this.busy += 1;
    // One after the other: two changes of one photo must not overtake each other.
    const turn = this.queue.then(() => this.#save(change, step.labels, saved));
    this.queue = turn.catch(() => {});
    try {
      await turn;
      return change;
    } catch (error) {
      this.#revert(step, change[old], saved);
      this.state.fail(error);
      return part(change, saved);
    } finally {
      this.busy -= 1;
      step.ended = ++this.clock;
      this.state.change();
    }
  }

  #revert(step, old, saved) {
    step.labels = step.labels.map((labels, i) => (saved[i] ? labels : old[i]));
    const later = this.steps.slice(this.steps.indexOf(step)).filter(({ ended }) => ended === Infinity);
    for (const each of later) this.#shown(each);
  }

  #shown(step) {
    show(step, this.state.rows);
    this.state.memo = null;
    this.state.change();
  }

  async #save({ task, rows, numbers }, labels, saved) {
    const places = numbers.map((_, i) => i);
    const done = (some) => some.forEach((i) => (saved[i] = 1));
    for (const some of parts(places.filter((i) => labels[i].length), AT_ONCE)) {
      const entries = some.map((i) => ({ id: rows.id(numbers[i]), labels: labels[i] }));
      await ask("v1/labels", { json: { task, labels: entries, source: SOURCE } });
      done(some);
    }
    for (const some of parts(places.filter((i) => !labels[i].length), TO_REMOVE)) {
      await ask("v1/labels", { method: "DELETE", parameters: { task, id: some.map((i) => rows.id(numbers[i])) } });
      done(some);
    }
  }
}

function show(step, rows) {
  const { numbers, labels } = moved(step, rows);
  numbers.forEach((row, i) => rows.relabel(row, labels[i]));
}

/** Return a step or a change with the numbers that its assets have in `rows`; assets that are gone are left out. */
function moved(item, rows) {
  if (item.rows.version === rows.version) return { ...item, rows };
  const places = item.numbers.map((_, i) => i).filter((i) => rows.find(item.rows, [item.numbers[i]]).length);
  const some = (list) => list && places.map((i) => list[i]);
  const numbers = rows.find(item.rows, item.numbers);
  return { ...item, rows, numbers, labels: some(item.labels), before: some(item.before), after: some(item.after) };
}

/** Return the part of a change that was saved; null if nothing was. */
function part(change, saved) {
  const some = (list) => list.filter((_, i) => saved[i]);
  const numbers = some(change.numbers);
  return numbers.length ? { ...change, numbers, before: some(change.before), after: some(change.after) } : null;
}

function* parts(list, length) {
  for (let start = 0; start < list.length; start += length) yield list.slice(start, start + length);
}

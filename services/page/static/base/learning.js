// Learning from labels: a new version of a head, compared with the one before. Goes on whatever view is shown.

import { Failure, read } from "./api.js";
import { chosen, newest } from "./heads.js";
import { state } from "./state.js";

const QUIET = 2500; // milliseconds after the last change of a label, in which another one may follow

class Learning {
  constructor() {
    this.possible = null; // answer of GET /v1/learn
    this.live = false;
    this.busy = false;
    this.again = false;
    this.result = null; // answer of POST /v1/learn, with the name of the task
    this.error = null; // why the last training failed
    this.lost = false; // the service did not answer when it was asked
    this.refused = null; // why it is not known what can be learned
    this.choices = new Map(); // task → {encoder, kind}, as far as the user has chosen them
    this.learned = new Map(); // task → changes of labels before the last training: key → number of photos
    this.seen = 0; // number of changes of labels before which `live` has nothing to do
    state.addEventListener("change", () => this.#look());
  }

  /** What can be learned for the task that is shown; null without one. */
  get task() {
    return this.possible?.tasks.find(({ name }) => name === state.choice.task) ?? null;
  }

  /** The head that learns: the one that is shown, if its kind learns from labels, or the last one that did. */
  get head() {
    const { kinds = [], current } = this.task ?? {};
    const own = state.heads.filter(({ task }) => task === state.choice.task);
    const { head } = chosen(own, state.choice.head) ?? {};
    const shown = head && { ...head, version: newest(head) };
    return [shown, current].find((each) => kinds.includes(each?.kind)) ?? null;
  }

  /** Ask what can be learned. The service then starts the process that trains, so that the first time is short too. */
  async look() {
    try {
      Object.assign(this, { possible: await read("v1/learn"), refused: null });
    } catch (error) {
      this.refused = this.#own(error);
      this.lost = error.status === 0;
    }
    state.change();
  }

  /** Number of photos whose labels were changed on this page since the task was learned last; undone ones do not count. */
  get changes() {
    const { task } = state.choice;
    const [now, before] = [changed(task), this.learned.get(task) ?? new Map()];
    const alone = (some, others) => [...some].reduce((sum, [key, count]) => sum + (others.has(key) ? 0 : count), 0);
    return alone(now, before) + alone(before, now);
  }

  get wanted() {
    return this.choices.get(state.choice.task) ?? {};
  }

  choose(wanted) {
    this.choices.set(state.choice.task, { ...this.wanted, ...wanted });
    state.change();
  }

  setLive(live) {
    this.live = live;
    this.seen = state.labelling.clock;
    clearTimeout(this.timer);
    state.change();
  }

  /** Train a new version of the task's head and show its answers in all views. */
  async learn() {
    if (this.busy) {
      this.again = true;
      return;
    }
    const { task } = state.choice;
    const before = changed(task);
    Object.assign(this, { busy: true, error: null, seen: state.labelling.clock });
    state.change();
    try {
      const { head } = this;
      const name = head?.name ?? headName(task);
      const kind = head ? undefined : this.task?.kinds[0];
      const result = await read("v1/learn", { json: { task, name, kind, ...this.wanted } });
      this.result = { ...result, task, name };
      this.learned.set(task, before);
      await this.#show(name);
      if (this.live) state.say(`Learned from your labels in ${result.seconds.toFixed(1)} s.`);
    } catch (error) {
      this.error = this.#own(error);
    }
    this.busy = false;
    state.change();
    await this.look();
    if (this.again) await this.#more();
  }

  forget() {
    this.result = null;
    state.change();
  }

  async #more() {
    this.again = false;
    await this.learn();
  }

  async #show(name) {
    const { heads } = await read("heads");
    state.change({ heads });
    if (state.choice.head === name) await state.load();
    else await state.choose({ head: name });
  }

  /** Ask again when the service is back. Learn some moments after the last change, if `live` is on. */
  #look() {
    if (this.lost && !state.down) {
      this.lost = false;
      this.look();
    }
    const { clock, busy } = state.labelling;
    if (!this.live || busy || clock === this.seen) return;
    this.seen = clock;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.learn(), QUIET);
  }

  /** Return an error that is said where the user learns; null for one that concerns the whole page, which says it. */
  #own(error) {
    if (error instanceof Failure && error.status !== 0 && error.status !== 401) return error;
    state.fail(error);
    return null;
  }
}

/** Return the changes of a task's labels that are not undone: key → number of photos. */
function changed(task) {
  return new Map(state.labelling.done.filter((each) => each.task === task).map(({ key, numbers }) => [key, numbers.length]));
}

/** Return a name for the first head of a task: letters, digits, _ and -. */
function headName(task) {
  return task.replace(/[^A-Za-z0-9_-]+/g, "-").replace(/^[-_]+/, "").slice(0, 64) || "head";
}

export const learning = new Learning();

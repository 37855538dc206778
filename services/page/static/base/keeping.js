// Storing many files and embedding them. Goes on whatever view is shown.

import { read } from "./api.js";
import { folderOf } from "./files.js";
import { cancel, far, run } from "./jobs.js";
import { state } from "./state.js";
import { number } from "./words.js";

const AT_ONCE = 24; // files of one request
const ENCODERS = { image: "lite0", audio: "melstat" }; // those that every installation has
const MOST_BYTES = 16e6; // of one request; a larger file is sent alone

class Keeping {
  constructor() {
    this.step = null; // {sent, stored, known, refused: [{name, message}], job, error, partial, ended}; null before the first file
    this.files = [];
  }

  /** True while files are stored or embedded. */
  get busy() {
    return this.step !== null && !this.step.ended;
  }

  /** How far it is, in a few words. */
  get words() {
    const { job, sent } = this.step;
    if (!job) return `${number(sent)} of ${number(this.files.length)} stored`;
    return job.progress || job.state === "queued" ? far(job) : "the encoder starts, which takes some seconds";
  }

  /** Store the files, with their folders as labels or one label for all, and embed them. */
  async begin(files, { task, byFolder, label }) {
    Object.assign(this, { files, stopped: false });
    this.step = { sent: 0, stored: 0, known: 0, refused: [], job: null, error: null, ended: false };
    state.labelling.newTask = task; // the first label begins it if the folders give none
    try {
      for (const [each, some] of requests(files, byFolder, label)) {
        if (!this.stopped) await this.#send(task, each, some);
      }
      await show(task);
      if (!this.stopped && this.step.stored + this.step.known) await this.#embed();
    } catch (error) {
      this.#step({ error: this.stopped ? null : error.message });
    }
    await show(task);
    this.#step({ ended: true });
  }

  /** Store no further files, and cancel the embedding. What is stored and embedded stays. */
  async stop() {
    this.stopped = true;
    const { job } = this.step;
    try {
      if (job) await cancel(job.id);
    } catch (error) {
      state.fail(error);
    }
  }

  forget() {
    this.step = null;
  }

  #step(values) {
    this.step = { ...this.step, ...values };
    state.change();
  }

  async #send(task, label, some) {
    const form = new FormData();
    for (const { file, path } of some) form.append("files", file, path);
    const answer = await read("v1/files", { form, parameters: label ? { task, label } : {} });
    const refused = answer.items.filter(({ error }) => error).map(({ name, error }) => ({ name, message: error.message }));
    const { sent, stored, known, refused: before } = this.step;
    this.#step({ sent: sent + some.length, stored: stored + answer.new, known: known + answer.known, refused: [...before, ...refused] });
  }

  async #embed() {
    const jobs = await embed((job) => {
      if (this.stopped && this.step.job?.id !== job.id) cancel(job.id).catch((error) => state.fail(error));
      this.#step({ job });
    });
    this.#step({ partial: jobs.some(({ partial }) => partial) });
  }
}

/**
 * Embed all that is stored and has no vector yet: one job for each encoder that this takes. Throws Failure.
 *
 * @param {(job: object) => void} seen called with each state of each job
 * @returns {Promise<object[]>} the jobs
 */
export async function embed(seen) {
  const jobs = [];
  for (const encoder of embedders(state.overview, state.choice.encoder)) jobs.push(await run({ kind: "backfill", encoder }, seen));
  return jobs;
}

/** Return encoders that embed every stored modality: the chosen one, or another that is in use, or one that is installed. */
export function embedders({ modalities, encoders }, chosen) {
  const able = encoders.filter(({ network }) => network !== false).sort((a, b) => (b.name === chosen) - (a.name === chosen));
  const names = Object.keys(modalities).map((modality) => {
    const used = able.find((each) => each.modalities?.includes(modality));
    return used?.name ?? ENCODERS[modality];
  });
  return [...new Set(names.filter(Boolean))];
}

/** Show what is in the store now, and the task of the new photos. */
async function show(task) {
  await state.refresh();
  await state.choose({ task });
  await state.load();
}

/** Return the folder that all files lie in, which names no class; null if there is none. */
export function rootOf(files) {
  const [first] = files[0].path.split("/");
  return files[0].path.includes("/") && files.every(({ path }) => path.startsWith(`${first}/`)) ? first : null;
}

/** Return the number of files by the name of their folder, below the one that was dropped. @returns {Map<string, number>} */
export function folders(files) {
  const root = rootOf(files);
  const found = new Map();
  for (const { path } of files) {
    const name = folderOf(path);
    if (name !== null && name !== root) found.set(name, (found.get(name) ?? 0) + 1);
  }
  return new Map([...found].sort());
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

export const keeping = new Keeping();

// Jobs of the service, from the request to the result.

import { Failure, ask, read } from "./api.js";
import { number } from "./words.js";

const ASK_AGAIN = 600; // milliseconds

const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

/** The kind of a job that measures what more labels would bring. */
export const LEARNING_CURVE = "learning-curve";

export const active = ({ state }) => state === "queued" || state === "running";

/** Start a job. @param {object} request the body of POST /v1/jobs. Throws Failure. */
export const start = (request) => read("v1/jobs", { json: request });

/** Return {count, jobs}: the number of all jobs, and the newest of them. Throws Failure. */
export const list = (limit) => read("v1/jobs", { parameters: { limit } });

/** Return a job with its log and result. Throws Failure. */
export const details = (id) => read(`v1/jobs/${id}`);

/** Cancel a job. Throws Failure. */
export const cancel = (id) => read(`v1/jobs/${id}/cancel`, { method: "POST" });

/**
 * Start a job and wait for its end. Throws Failure, also if the job fails.
 *
 * @param {object} request the body of POST /v1/jobs
 * @param {(job: object) => void} seen called with each state of the job
 */
export async function run(request, seen = () => {}) {
  let job = await start(request);
  while (active(job)) {
    seen(job);
    await pause(ASK_AGAIN);
    job = await details(job.id);
  }
  if (job.state !== "done") throw new Failure(409, job.state, job.error ?? `The job was ${job.state}.`);
  return job;
}

/** Return the lines of the file that a job has made, as objects. Throws Failure. */
export async function lines(job) {
  const text = await (await ask(`v1/jobs/${job.id}/result`)).text();
  return text.split("\n").filter(Boolean).map((line) => JSON.parse(line));
}

/** Save the file that a job has made. It is fetched, because a link cannot send the key. Throws Failure. */
export async function save(job) {
  const url = URL.createObjectURL(await (await ask(`v1/jobs/${job.id}/result`)).blob());
  Object.assign(document.createElement("a"), { href: url, download: job.file }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000); // the browser may still be reading it
}

/** What the kinds of jobs are called. */
export const KINDS = {
  ingest: "Add a folder",
  backfill: "Embed what is new",
  train: "Train a head",
  compare: "Compare heads",
  [LEARNING_CURVE]: "Would more labels help?",
  predict: "Write predictions to a file",
  duplicates: "Find near-duplicates",
  mistakes: "Find wrong labels",
  suggest: "Suggest what to label",
  cluster: "Group without labels",
};

/** Return how far a job is that has not ended, in a word or two. */
export function far({ state, position, progress }) {
  if (state === "queued") return position > 1 ? `waits, number ${position} in the queue` : "starts";
  if (!progress) return "at work";
  return progress.total ? `${Math.floor((100 * progress.done) / progress.total)} %` : `${progress.done} done`;
}

/** Return the state of a job in words. */
export function told(job) {
  const { state, progress, cancelling, partial } = job;
  if (cancelling) return "stopping";
  if (!active(job)) return partial ? "done, some items left out" : state;
  if (state === "queued" || !progress?.total) return far(job);
  return [`${number(progress.done)} of ${number(progress.total)}`, progress.note].filter(Boolean).join(", ");
}

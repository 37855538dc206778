// Jobs of the service, from the request to the result.

import { Failure, ask, read } from "./api.js";

const ASK_AGAIN = 600; // milliseconds

const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

/**
 * Start a job and wait for its end. Throws Failure, also if the job fails.
 *
 * @param {object} request the body of POST /v1/jobs
 * @param {(job: object) => void} seen called with each state of the job
 */
export async function run(request, seen = () => {}) {
  let job = await read("v1/jobs", { json: request });
  while (job.state === "queued" || job.state === "running") {
    seen(job);
    await pause(ASK_AGAIN);
    job = await read(`v1/jobs/${job.id}`);
  }
  if (job.state !== "done") throw new Failure(409, job.state, job.error ?? `The job was ${job.state}.`);
  return job;
}

/** Return the lines of the file that a job has made, as objects. Throws Failure. */
export async function lines(job) {
  const text = await (await ask(`v1/jobs/${job.id}/result`)).text();
  return text.split("\n").filter(Boolean).map((line) => JSON.parse(line));
}

/** Return how far a job is, in words. */
export function far({ state, position, progress }) {
  if (state === "queued") return position > 1 ? `waits, number ${position} in the queue` : "starts";
  if (!progress) return "at work";
  return progress.total ? `${Math.floor((100 * progress.done) / progress.total)} %` : `${progress.done} done`;
}

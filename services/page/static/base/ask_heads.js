// Answers of heads for one dropped file, and the training photos that resemble it most.

import { read } from "./api.js";

const SIMILAR = 6;

/**
 * Ask heads about a file.
 *
 * @param {File} file
 * @param {string[]} heads names
 * @returns {Promise<{answers: object[], error?: {code: string, message: string}}>}
 */
export async function classify(file, heads) {
  const form = new FormData();
  form.append("files", file, file.name);
  const { items } = await read("classify", { form, parameters: { head: heads } });
  return items[0];
}

/** Return the stored photos that are most like a file: those that were trained on, if the task has some. */
export async function similar(file, encoder, task) {
  const within = task ? { task: task.name, split: task.classes.some(({ train }) => train) ? "train" : null } : {};
  const form = new FormData();
  form.append("files", file, file.name);
  const { hits } = await read("search", { form, parameters: { encoder, k: SIMILAR, ...within } });
  return hits;
}

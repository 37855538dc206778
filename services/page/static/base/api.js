// Requests to the service that serves this page. A key, where the service wants one, is kept for this tab only.

import { withoutPaths } from "./words.js";

const KEY = "headwater-key";
const TOO_MANY = "too_many_requests"; // the key allows no more at the moment
const PATIENCE = 3; // times that such a request is sent again

/** An answer that is an error of the service, or no answer at all (status 0). */
export class Failure extends Error {
  constructor(status, code, message) {
    super(withoutPaths(message));
    this.status = status;
    this.code = code;
  }
}

export const key = {
  get: () => sessionStorage.getItem(KEY),
  set: (secret) => sessionStorage.setItem(KEY, secret),
  remove: () => sessionStorage.removeItem(KEY),
};

/** Return the parameters of a query; those without a value are left out, and a list is repeated. */
function query(parameters) {
  const found = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const each of Array.isArray(value) ? value : [value]) if (each !== undefined && each !== null) found.append(name, each);
  }
  const text = found.toString();
  return text && `?${text}`;
}

/**
 * Send a request and return the answer. Throws Failure.
 *
 * @param {string} path relative to the page, such as "v1/overview"
 * @param {{method?: string, parameters?: object, json?: object, form?: FormData, signal?: AbortSignal}} options
 * @returns {Promise<Response>}
 */
export async function ask(path, { method, parameters = {}, json, form, signal } = {}) {
  const headers = {};
  if (key.get()) headers.Authorization = `Bearer ${key.get()}`;
  if (json) headers["Content-Type"] = "application/json";
  const body = json ? JSON.stringify(json) : form;
  const request = { method: method ?? (body ? "POST" : "GET"), headers, body, signal };
  for (let left = PATIENCE; ; left--) {
    const answer = await send(path + query(parameters), request);
    if (answer.ok) return answer;
    const { error } = await answer.json().catch(() => ({}));
    if (error?.code !== TOO_MANY || !left) throw new Failure(answer.status, error?.code ?? "unknown", error?.message ?? `The service answered ${answer.status}.`);
    await new Promise((done) => setTimeout(done, 1000 * Number(answer.headers.get("Retry-After") ?? 1)));
  }
}

async function send(url, request) {
  try {
    return await fetch(url, request);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure(0, "no_answer", "The service does not answer. Is it still running? Start it with: headwater up");
  }
}

/** Send a request and return the JSON of the answer. Throws Failure. */
export const read = async (path, options) => (await ask(path, options)).json();

/** Send a request and return the bytes of the answer. Throws Failure. */
export const bytes = async (path, options) => (await ask(path, options)).arrayBuffer();

/** Return the JSON header of a framed body (4 bytes length, header, contents) and where the contents begin. */
export function unframe(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  return { header, start: 4 + length };
}

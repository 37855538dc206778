// Pictures of stored assets. What is asked for within one frame is one request; what is out of sight is not asked for.

import { bytes, unframe } from "./api.js";

const AT_ONCE = 48; // pictures of one request
const REQUESTS = 3;
const KEPT = 3000;
const PATIENCE = [1000, 2000, 5000]; // milliseconds before the next attempt, while the service cannot answer

class Thumbs {
  /** @param {128|256|512} size longest side in pixels */
  constructor(size) {
    this.size = size;
    this.kept = new Map(); // id → {url} or {error}, the least recently used first
    this.wanted = new Map(); // id → functions to call
    this.under_way = new Map(); // id → functions to call
    this.requests = 0;
    this.failures = 0; // requests without an answer, one after the other
    this.planned = false;
  }

  /** Return {url} or {error} at once if it is there. */
  at_once(id) {
    const found = this.kept.get(id);
    if (found) {
      this.kept.delete(id);
      this.kept.set(id, found);
    }
    return found;
  }

  /** Call `done` with {url} or {error} when it is there. Returns a function that takes the wish back. */
  want(id, done) {
    const functions = this.under_way.get(id) ?? this.wanted.get(id) ?? new Set();
    functions.add(done);
    if (!this.under_way.has(id)) {
      this.wanted.delete(id);
      this.wanted.set(id, functions); // now the last: the newest wishes are served first
      this.#plan();
    }
    return () => {
      functions.delete(done);
      if (!functions.size && this.wanted.get(id) === functions) this.wanted.delete(id);
    };
  }

  #plan() {
    if (this.planned) return;
    this.planned = true;
    const go = () => {
      this.planned = false;
      while (this.requests < REQUESTS && this.wanted.size) this.#fetch();
    };
    if (this.failures) setTimeout(go, PATIENCE[Math.min(this.failures, PATIENCE.length) - 1]);
    else requestAnimationFrame(go);
  }

  async #fetch() {
    const ids = [...this.wanted.keys()].slice(-AT_ONCE);
    for (const id of ids) {
      this.under_way.set(id, this.wanted.get(id));
      this.wanted.delete(id);
    }
    this.requests += 1;
    try {
      const found = this.#pictures(await bytes("v1/thumbnails", { json: { ids, size: this.size } }));
      this.failures = 0;
      for (const id of ids) this.#answer(id, this.#keep(id, found.get(id)));
    } catch (error) {
      this.#failed(ids, error);
    } finally {
      this.requests -= 1;
      if (this.wanted.size) this.#plan();
    }
  }

  /** A request that failed says nothing about its pictures: nothing is kept, and what can pass is asked for again. */
  #failed(ids, error) {
    const passing = error.status === 0 || error.status === 429 || error.status >= 500;
    this.failures = passing ? this.failures + 1 : 0;
    for (const id of ids) {
      const functions = this.under_way.get(id);
      if (!passing) this.#answer(id, { error: error.message });
      else if (functions.size && !this.wanted.has(id)) this.wanted.set(id, functions);
      this.under_way.delete(id);
    }
  }

  #answer(id, found) {
    const functions = this.under_way.get(id);
    this.under_way.delete(id);
    for (const done of functions) done(found);
  }

  #pictures(buffer) {
    const { header, start } = unframe(buffer);
    let at = start;
    return new Map(
      header.items.map(({ id, type, bytes: size, error }) => {
        if (error) return [id, { error: error.message }];
        const url = URL.createObjectURL(new Blob([new Uint8Array(buffer, at, size)], { type }));
        at += size;
        return [id, { url }];
      }),
    );
  }

  #keep(id, found = { error: "There is no picture." }) {
    this.kept.set(id, found);
    if (this.kept.size > KEPT) {
      const [[oldest, { url }]] = this.kept;
      this.kept.delete(oldest);
      if (url) URL.revokeObjectURL(url);
    }
    return found;
  }
}

const SIZES = [128, 256, 512];
const made = new Map();

/** Return the pictures that are sharp where their longest side takes `pixels` of the screen; the same object each time. */
export function thumbs(pixels) {
  const size = SIZES.find((each) => each >= pixels * 0.8) ?? SIZES.at(-1); // a little blur costs less than four times the bytes
  if (!made.has(size)) made.set(size, new Thumbs(size));
  return made.get(size);
}

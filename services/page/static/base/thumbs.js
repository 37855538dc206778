// Pictures of stored assets. What is asked for within one frame is one request; what is out of sight is not asked for.

import { bytes, unframe } from "./api.js";

const AT_ONCE = 48;
const REQUESTS = 3;
const KEPT = 3000;

export class Thumbs {
  /** @param {128|256|512} size longest side in pixels */
  constructor(size) {
    this.size = size;
    this.kept = new Map(); // id → {url} or {error}, the least recently used first
    this.wanted = new Map(); // id → functions to call
    this.under_way = 0;
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

  /** Call `done` when the picture of `id` is there. Returns a function that takes the wish back. */
  want(id, done) {
    const functions = this.wanted.get(id) ?? new Set();
    this.wanted.delete(id);
    this.wanted.set(id, functions.add(done)); // now the last: the newest wishes are served first
    this.#plan();
    return () => {
      functions.delete(done);
      if (!functions.size && this.wanted.get(id) === functions) this.wanted.delete(id);
    };
  }

  #plan() {
    if (this.planned) return;
    this.planned = true;
    requestAnimationFrame(() => {
      this.planned = false;
      while (this.under_way < REQUESTS && this.wanted.size) this.#fetch();
    });
  }

  async #fetch() {
    const ids = [...this.wanted.keys()].slice(-AT_ONCE);
    const calls = ids.map((id) => this.wanted.get(id));
    ids.forEach((id) => this.wanted.delete(id));
    this.under_way += 1;
    try {
      const found = this.#pictures(await bytes("v1/thumbnails", { json: { ids, size: this.size } }));
      ids.forEach((id) => this.#keep(id, found.get(id)));
    } catch (error) {
      ids.forEach((id) => this.#keep(id, { error: error.message }));
    } finally {
      this.under_way -= 1;
    }
    calls.forEach((functions) => functions.forEach((done) => done()));
    if (this.wanted.size) this.#plan();
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
    if (this.kept.size <= KEPT) return;
    const [[oldest, { url }]] = this.kept;
    this.kept.delete(oldest);
    if (url) URL.revokeObjectURL(url);
  }
}

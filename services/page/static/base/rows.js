// The stored assets as columns: one typed array each, as the service sent them, without a copy.

import { unframe } from "./api.js";

const ARRAYS = {
  uint8: Uint8Array,
  uint16: Uint16Array,
  uint32: Uint32Array,
  int32: Int32Array,
  float32: Float32Array,
};
const ID_BYTES = 32;
const WORDS = ID_BYTES / 4;
const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

export const SPLITS = ["none", "train", "val", "test", "ood"];
export const NONE = -1;

function hash(words, row) {
  let value = 0;
  for (let i = row * WORDS; i < (row + 1) * WORDS; i++) value = Math.imul(value ^ words[i], 0x9e3779b1) ^ (value >>> 15);
  return (value ^ (value >>> 16)) >>> 0;
}

function same(one, row, two, other) {
  for (let i = 0; i < WORDS; i++) if (one[row * WORDS + i] !== two[other * WORDS + i]) return false;
  return true;
}

export class Rows {
  /** @param {ArrayBuffer} buffer an answer of GET /v1/rows */
  constructor(buffer) {
    const { header, start } = unframe(buffer);
    Object.assign(this, { count: header.rows, version: header.version, names: header.labels });
    Object.assign(this, { head: header.head, encoder: header.encoder, axes: header.axes, modalities: header.modalities });
    this.columns = {};
    for (const { name, dtype, bytes, offset } of header.columns) {
      const Kind = ARRAYS[dtype];
      this.columns[name] = new Kind(buffer, start + offset, bytes / Kind.BYTES_PER_ELEMENT);
    }
    this.edits = new Map(); // row → codes of its labels, where the page changed them: `labels_flat` has a fixed size
    this.edition = 0; // grows with each change of a label
    this.table = null;
  }

  /** Take over the columns of `other`, which has the same rows: the answers of another head, or other axes. */
  merge(other) {
    const codes = other.names.map((name) => this.code(name));
    for (const name of ["prediction", "predictions_flat", "label", "labels_flat"]) {
      if (other.columns[name]) other.columns[name] = other.columns[name].map((code) => (code < 0 ? code : codes[code]));
    }
    Object.assign(this.columns, other.columns);
    for (const name of ["head", "encoder", "axes"]) this[name] = other[name] ?? this[name];
  }

  /** Take over the labels of `other`, which has the same rows. Returns these rows. */
  relabelled(other) {
    Object.assign(this.columns, { labels_end: undefined, labels_flat: undefined });
    this.merge(other);
    this.edits.clear();
    this.edition += 1;
    return this;
  }

  id(row) {
    let text = "";
    for (let i = row * ID_BYTES; i < (row + 1) * ID_BYTES; i++) text += HEX[this.columns.id[i]];
    return text;
  }

  /** Return the row of an id, or -1. */
  row(id) {
    if (!/^[0-9a-f]{64}$/.test(id)) return NONE;
    const bytes = Uint8Array.from({ length: ID_BYTES }, (_, i) => parseInt(id.slice(2 * i, 2 * i + 2), 16));
    return this.#find(new Uint32Array(bytes.buffer), 0);
  }

  /** Return the numbers here of rows of `older`. Rows that are gone are left out. */
  find(older, numbers) {
    if (older === this || older.version === this.version) return numbers;
    return Array.from(numbers, (row) => this.#find(older.#words, row)).filter((row) => row !== NONE);
  }

  get #words() {
    const { id } = this.columns;
    return new Uint32Array(id.buffer, id.byteOffset, this.count * WORDS);
  }

  /** Return the row whose id is the one at `other` of `ids`, or -1. */
  #find(ids, other) {
    this.table ??= this.#tabulate();
    const words = this.#words;
    for (let slot = hash(ids, other); ; slot++) {
      const row = this.table[slot & (this.table.length - 1)] - 1;
      if (row === NONE || same(words, row, ids, other)) return row;
    }
  }

  /** Return a hash table of the ids, open addressing: 1 + row, or 0. A Map of a million strings takes two seconds. */
  #tabulate() {
    const words = this.#words;
    const table = new Int32Array(2 ** Math.ceil(Math.log2(2 * this.count + 1)));
    for (let row = 0; row < this.count; row++) {
      let slot = hash(words, row);
      while (table[slot & (table.length - 1)]) slot++;
      table[slot & (table.length - 1)] = row + 1;
    }
    return table;
  }

  /** Return the code of a label. A new label gets the next one. */
  code(name) {
    const found = this.names.indexOf(name);
    return found < 0 ? this.names.push(name) - 1 : found;
  }

  /** Return the codes of all labels of a row. */
  labelCodes(row) {
    return this.edits.get(row) ?? this.#codes(row, "label", "labels");
  }

  /** Return the codes of all labels that the head predicts for a row. */
  predictionCodes(row) {
    return this.#codes(row, "prediction", "predictions");
  }

  #codes(row, one, many) {
    const { [one]: first, [`${many}_end`]: ends, [`${many}_flat`]: flat } = this.columns;
    if (ends) return flat.subarray(row && ends[row - 1], ends[row]);
    return first && first[row] >= 0 ? first.subarray(row, row + 1) : [];
  }

  /** Return all labels of a row, as names. */
  labels(row) {
    return Array.from(this.labelCodes(row), (code) => this.names[code]);
  }

  /** Return all labels that the head predicts for a row, as names. */
  predictions(row) {
    return Array.from(this.predictionCodes(row), (code) => this.names[code]);
  }

  /** Give a row the labels `names`. */
  relabel(row, names) {
    this.columns.label ??= new Int32Array(this.count).fill(NONE);
    const codes = names.map((name) => this.code(name));
    this.edition += 1;
    this.columns.label[row] = codes[0] ?? NONE;
    if (this.columns.labels_end || codes.length > 1) this.edits.set(row, codes);
    else this.edits.delete(row);
  }

  /** Return what the labels of now add up to: {labelled, wrong, classes}, `classes` being the rows of each code. */
  get totals() {
    if (this.sums?.edition !== this.edition) this.sums = { edition: this.edition, ...this.#count() };
    return this.sums;
  }

  #count() {
    const classes = new Uint32Array(this.names.length);
    let [labelled, wrong] = [0, 0];
    const { label } = this.columns;
    for (let row = 0; label && row < this.count; row++) {
      if (label[row] < 0) continue;
      labelled += 1;
      for (const code of this.labelCodes(row)) classes[code] += 1;
      if (this.disagrees(row)) wrong += 1;
    }
    return { labelled, wrong, classes };
  }

  /** True if the head answers for the row. A head of several labels may answer that none applies. */
  answered(row) {
    const { prediction, predictions_end: many, margin } = this.columns;
    return Boolean(prediction) && (prediction[row] >= 0 || Boolean(many && margin && !Number.isNaN(margin[row])));
  }

  /** True if the row has a label and an answer, and they differ. */
  disagrees(row) {
    const { label, prediction, predictions_end: several } = this.columns;
    if (!label || label[row] < 0 || !this.answered(row)) return false;
    if (!several && !this.columns.labels_end) return label[row] !== prediction[row];
    const [one, two] = [this.labelCodes(row), this.predictionCodes(row)];
    return one.length !== two.length || !one.every((code) => two.includes(code));
  }

  /** True if the row has a label and an answer, and they are the same. */
  agrees(row) {
    return this.columns.label?.[row] >= 0 && this.answered(row) && !this.disagrees(row);
  }

  modality(row) {
    return this.modalities[this.columns.modality[row]];
  }

  split(row) {
    return SPLITS[this.columns.split?.[row] ?? 0];
  }
}

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
const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

export const SPLITS = ["none", "train", "val", "test", "ood"];
export const NONE = -1;

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
    this.numbers = null;
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

  id(row) {
    let text = "";
    for (let i = row * ID_BYTES; i < (row + 1) * ID_BYTES; i++) text += HEX[this.columns.id[i]];
    return text;
  }

  /** Return the row of an id, or -1. The table of all ids is made at the first call. */
  row(id) {
    if (!this.numbers) {
      this.numbers = new Map();
      for (let row = 0; row < this.count; row++) this.numbers.set(this.id(row), row);
    }
    return this.numbers.get(id) ?? NONE;
  }

  /** Return the numbers here of rows of `older`. New assets come last, so most rows keep their number. Lost rows are left out. */
  find(older, numbers) {
    if (older === this || older.version === this.version) return numbers;
    const here = (row) => (row < this.count && this.#same(older, row) ? row : this.row(older.id(row)));
    return Array.from(numbers, here).filter((row) => row !== NONE);
  }

  #same(older, row) {
    const [one, two] = [this.columns.id, older.columns.id];
    for (let i = row * ID_BYTES; i < (row + 1) * ID_BYTES; i++) if (one[i] !== two[i]) return false;
    return true;
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
    this.columns.label[row] = codes[0] ?? NONE;
    if (this.columns.labels_end || codes.length > 1) this.edits.set(row, codes);
    else this.edits.delete(row);
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

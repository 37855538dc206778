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

  /** Return the code of a label. A new label gets the next one. */
  code(name) {
    const found = this.names.indexOf(name);
    return found < 0 ? this.names.push(name) - 1 : found;
  }

  /** Return all labels of a row, as names. */
  labels(row) {
    return this.#named(row, "label", "labels");
  }

  /** Return all labels that the head predicts for a row, as names. */
  predictions(row) {
    return this.#named(row, "prediction", "predictions");
  }

  #named(row, one, many) {
    const { [one]: first, [`${many}_end`]: ends, [`${many}_flat`]: flat } = this.columns;
    if (ends) return Array.from(flat.subarray(row && ends[row - 1], ends[row]), (code) => this.names[code]);
    return first && first[row] >= 0 ? [this.names[first[row]]] : [];
  }

  /** True if the row has a label and an answer, and they differ. */
  disagrees(row) {
    const { label, prediction } = this.columns;
    if (!label || !prediction || label[row] < 0 || prediction[row] < 0) return false;
    if (!this.columns.labels_end) return label[row] !== prediction[row];
    return this.labels(row).sort().join("\n") !== this.predictions(row).sort().join("\n");
  }

  modality(row) {
    return this.modalities[this.columns.modality[row]];
  }

  split(row) {
    return SPLITS[this.columns.split?.[row] ?? 0];
  }
}

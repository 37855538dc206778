// Which rows are shown, and in which order. Pure functions of the columns: 1,000,000 rows take some milliseconds.

import { NONE, SPLITS } from "./rows.js";
import { UNLIKE, UNSURE } from "./words.js";

/** What can be shown, in the words of the page. Each test is made once for the rows, then called for each row. */
export const SHOWN = {
  all: { name: "Everything", test: () => () => true },
  unlabelled: { name: "Without a label", test: ({ columns: { label } }) => (row) => !label || label[row] < 0 },
  labelled: { name: "With a label", needs: "label", test: ({ columns: { label } }) => (row) => label[row] >= 0 },
  disagree: { name: "Head disagrees", needs: "prediction", test: (rows) => (row) => rows.disagrees(row) },
  agree: { name: "Head agrees", needs: "prediction", test: (rows) => (row) => rows.agrees(row) },
  unsure: {
    name: "Head is not sure",
    needs: "probability",
    test: ({ columns: { probability } }) => (row) => probability[row] < UNSURE,
  },
  unlike: {
    name: "Unusual photos",
    needs: "outlier",
    test: ({ columns: { outlier } }) => (row) => outlier[row] >= UNLIKE,
  },
  bare: { name: "Not embedded yet", needs: "vector", test: ({ columns: { vector } }) => (row) => vector[row] === 0 },
};

const LAST = 0xffffffff; // rank of a row without a value

const column = (name, sign = 1, none = NaN) => ({ columns }) => ({ values: columns[name], sign, none });

/** Orders, in the words of the page. Rows without a value come last. */
export const ORDERS = {
  stored: { name: "As stored" },
  unsure: { name: "Least sure first", needs: "margin", by: column("margin") },
  unlike: { name: "Most unusual first", needs: "outlier", by: column("outlier", -1) },
  sure: { name: "Surest first", needs: "probability", by: column("probability", -1) },
  label: { name: "By label", needs: "label", by: column("label", 1, NONE) },
  prediction: { name: "By answer", needs: "prediction", by: column("prediction", 1, NONE) },
};

export const EVERYTHING = Object.freeze({
  show: "all",
  label: null,
  prediction: null,
  split: null,
  modality: null,
  task: false,
  only: null, // rows in an order of their own: a search, a lasso, a job's findings. {name, rows: Uint32Array}
  order: "stored",
});

/** Return the rows that pass `filter`, in its order. @returns {Uint32Array} */
export function chosen(rows, filter) {
  const test = tests(rows, filter);
  const candidates = filter.only?.rows;
  const found = new Uint32Array(candidates ? candidates.length : rows.count);
  let count = 0;
  if (candidates) for (const row of candidates) if (test(row)) found[count++] = row;
  if (!candidates) for (let row = 0; row < rows.count; row++) if (test(row)) found[count++] = row;
  return ordered(found.subarray(0, count), rows, ORDERS[filter.order]);
}

function tests(rows, filter) {
  const { columns } = rows;
  const all = [];
  const { show } = filter;
  if (show !== "all" && (!SHOWN[show].needs || columns[SHOWN[show].needs])) all.push(SHOWN[show].test(rows));
  if (filter.label !== null) all.push(named(rows, "label", "labels", filter.label));
  if (filter.prediction !== null) all.push(named(rows, "prediction", "predictions", filter.prediction));
  if (filter.split !== null && columns.split) all.push(equal(columns.split, SPLITS.indexOf(filter.split)));
  if (filter.modality !== null) all.push(equal(columns.modality, rows.modalities.indexOf(filter.modality)));
  if (filter.task && columns.label) all.push((row) => columns.label[row] >= 0);
  return (row) => all.every((test) => test(row));
}

const equal = (values, value) => (row) => values[row] === value;

function named(rows, one, many, name) {
  const code = rows.names.indexOf(name);
  const { [one]: first, [`${many}_end`]: ends } = rows.columns;
  if (code < 0 || !first) return () => false;
  if (!ends && !rows.edits.size) return equal(first, code);
  const codes = one === "label" ? (row) => rows.labelCodes(row) : (row) => rows.predictionCodes(row);
  return (row) => codes(row).includes(code);
}

function ordered(found, rows, { by, needs } = {}) {
  if (!by || !rows.columns[needs]) return found;
  const { values, sign, none } = by(rows);
  // Pairs of numbers, the rank above the place: sorted as integers of 64 bits, without a call for each comparison.
  const pairs = new Uint32Array(2 * found.length);
  const rank = new Float32Array(1);
  const bits = new Uint32Array(rank.buffer);
  for (let place = 0; place < found.length; place++) {
    const value = values[found[place]];
    rank[0] = sign * value + 0; // no -0, which is another number than 0 in its bits
    pairs[2 * place] = place;
    pairs[2 * place + 1] = Number.isNaN(value) || value === none ? LAST : bits[0] >>> 31 ? ~bits[0] : bits[0] | 0x80000000;
  }
  new BigUint64Array(pairs.buffer).sort();
  return found.map((_, place) => found[pairs[2 * place]]);
}

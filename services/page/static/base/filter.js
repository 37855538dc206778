// Which rows are shown, and in which order. Pure functions of the columns: 1,000,000 rows take some milliseconds.

import { NONE, SPLITS } from "./rows.js";

/** What can be shown, in the words of the page. Each test is made once for the rows, then called for each row. */
export const SHOWN = {
  all: { name: "Everything", test: () => () => true },
  unlabelled: { name: "Without a label", test: ({ columns: { label } }) => (row) => !label || label[row] < 0 },
  labelled: { name: "With a label", test: ({ columns: { label } }) => (row) => label && label[row] >= 0 },
  disagree: { name: "Label and head disagree", needs: "prediction", test: (rows) => (row) => rows.disagrees(row) },
  unsure: {
    name: "The head is unsure",
    needs: "probability",
    test: ({ columns: { probability } }) => (row) => probability[row] < 0.7,
  },
  unlike: {
    name: "Unlike the training photos",
    needs: "outlier",
    test: ({ columns: { outlier } }) => (row) => outlier[row] >= 95,
  },
};

const column = (name, sign = 1) => ({ columns }) => ({ values: columns[name], sign });

/** Orders, in the words of the page. Rows without a value come last. */
export const ORDERS = {
  stored: { name: "As stored" },
  unsure: { name: "Least sure first", needs: "margin", by: column("margin") },
  unlike: { name: "Most unusual first", needs: "outlier", by: column("outlier", -1) },
  sure: { name: "Surest first", needs: "probability", by: column("probability", -1) },
  label: { name: "By label", needs: "label", by: column("label") },
  prediction: { name: "By answer of the head", needs: "prediction", by: column("prediction") },
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
  const { [one]: first, [`${many}_end`]: ends, [`${many}_flat`]: flat } = rows.columns;
  if (code < 0 || !first) return () => false;
  return ends ? (row) => flat.subarray(row && ends[row - 1], ends[row]).includes(code) : equal(first, code);
}

function ordered(found, rows, { by, needs } = {}) {
  if (!by || !rows.columns[needs]) return found;
  const { values, sign } = by(rows);
  const rank = (row) => {
    const value = values[row];
    return Number.isNaN(value) || value === NONE ? Infinity : sign * value;
  };
  const ranks = Float64Array.from(found, rank);
  const places = Uint32Array.from(found, (_, place) => place);
  places.sort((a, b) => (ranks[a] === ranks[b] ? a - b : ranks[a] - ranks[b]));
  return places.map((place) => found[place]);
}

// What the colours of the map can mean: pure functions of the columns. Each gives one byte a row, and groups with names.

import { NEUTRAL, byteOf, bytesOf } from "../../base/colours.js";
import { NONE, SPLITS } from "../../base/rows.js";

const SPLIT_NAMES = ["In no split", "Training", "Validation", "Test", "Out-of-distribution"];
const SURE = [0, 0.5, 0.7, 0.9, 0.99, 1]; // each part takes a fifth of the scale: most probabilities are near 1
const SURE_NAMES = ["Below 50 %", "50 to 70 %", "70 to 90 %", "90 to 99 %", "99 % and more"];
const [SAME, DIFFERENT] = [0, 1];

/**
 * What can be asked for, in the words of the page. `term` is the word of the field, `needs` a column, `first` the group
 * that stands out until another is chosen.
 */
export const COLOURINGS = {
  label: { name: "Label", term: "the label that was given", needs: "label", make: (rows) => classes(rows, "label", "Without a label") },
  prediction: {
    name: "Answer of the head",
    term: "the predicted class",
    needs: "prediction",
    make: (rows) => classes(rows, "prediction", "Without an answer"),
  },
  probability: { name: "How sure the head is", term: "the probability of the predicted class", needs: "probability", make: sureness },
  disagreement: {
    name: "Label and head disagree",
    term: "the predicted class is not the label",
    needs: "prediction",
    first: DIFFERENT,
    make: agreement,
  },
  split: { name: "Split", term: "what the photo is used for: training, validation or test", needs: "split", make: splits },
  modality: { name: "Kind of file", term: "the modality: image, audio, video and others", needs: "modality", make: modalities },
};

/**
 * Return the colouring `by` of the rows.
 *
 * @returns {{kind: string, codes: Uint8Array, group: ArrayLike<number>, groups: {code, name, byte}[], named: boolean}} `codes`
 *   has a byte of the table `kind` for each row, `group` the code of one of `groups`; `named`: the groups are classes
 */
export const colouring = (rows, by) => COLOURINGS[by].make(rows);

/** Return the codes of all rows by a table from group to byte. */
const painted = (group, bytes) => Uint8Array.from(group, (code) => (code < 0 ? NEUTRAL : bytes[code]));

function classes({ columns, names }, column, none) {
  const { kind, bytes } = bytesOf(names);
  const groups = [...names.map((name, code) => ({ code, name, byte: bytes[code] })), { code: NONE, name: none, byte: NEUTRAL }];
  return { kind, codes: painted(columns[column], bytes), group: columns[column], groups, named: true };
}

function sureness({ columns: { probability } }) {
  const parts = SURE_NAMES.length;
  const part = (value) => Math.min(SURE.findLastIndex((least) => value >= least), parts - 1); // NONE for NaN
  const share = (value, at = part(value)) => (at < 0 ? NaN : (at + (value - SURE[at]) / (SURE[at + 1] - SURE[at])) / parts);
  const groups = SURE_NAMES.map((name, code) => ({ code, name, byte: byteOf((code + 0.5) / parts) }));
  groups.push({ code: NONE, name: "Without an answer", byte: NEUTRAL });
  return { kind: "scale", codes: Uint8Array.from(probability, (value) => byteOf(share(value))), group: Int8Array.from(probability, part), groups, named: false };
}

function agreement(rows) {
  const { label, prediction } = rows.columns;
  const compared = (row) => label && label[row] >= 0 && prediction[row] >= 0;
  const group = Int8Array.from({ length: rows.count }, (_, row) => (compared(row) ? Number(rows.disagrees(row)) : NONE));
  const groups = [
    { code: DIFFERENT, name: "They disagree", byte: DIFFERENT },
    { code: SAME, name: "They agree", byte: SAME },
    { code: NONE, name: "One is missing", byte: NEUTRAL },
  ];
  return { kind: "agreement", codes: painted(group, [SAME, DIFFERENT]), group, groups, named: false };
}

function modalities({ columns: { modality }, modalities: names }) {
  const { kind, bytes } = bytesOf(names);
  const groups = names.map((name, code) => ({ code, name, byte: bytes[code] }));
  return { kind, codes: painted(modality, bytes), group: modality, groups, named: false };
}

function splits({ columns: { split } }) {
  const bytes = SPLITS.map((_, code) => (code ? code - 1 : NEUTRAL));
  const groups = SPLITS.map((_, code) => ({ code, name: SPLIT_NAMES[code], byte: bytes[code] }));
  return { kind: "classes", codes: painted(split, bytes), group: split, groups, named: false };
}

/** Return how many of the shown rows have a place, by group. @returns {Map<number, number>} */
export function counted(group, shown, x) {
  const counts = new Map();
  for (const row of shown) if (x[row] === x[row]) counts.set(group[row], (counts.get(group[row]) ?? 0) + 1);
  return counts;
}

/** Return 1 for each row that is drawn strongly: it is shown, and of the chosen group. Null if that is every row. */
export function strength(count, shown, group, chosen) {
  if (shown.length === count && chosen === null) return null;
  const strong = new Uint8Array(count);
  for (const row of shown) if (chosen === null || group[row] === chosen) strong[row] = 1;
  return strong;
}

const SAMPLE = 100_000;
const MOST_MARKS = 60;

/** Return names with places, the largest group first: where the middle (median) of the shown rows of each group is. */
export function marks({ group, groups, named }, shown, { x, y }, chosen) {
  if (!named) return [];
  const step = Math.max(1, Math.floor(shown.length / SAMPLE));
  const members = new Map();
  for (let i = 0; i < shown.length; i += step) {
    const row = shown[i];
    if (x[row] === x[row] && group[row] >= 0 && (chosen === null || group[row] === chosen))
      members.get(group[row])?.push(row) ?? members.set(group[row], [row]);
  }
  const middle = (rows, values) => Float32Array.from(rows, (row) => values[row]).sort()[rows.length >> 1];
  return [...members]
    .sort(([, a], [, b]) => b.length - a.length)
    .slice(0, MOST_MARKS)
    .map(([code, rows]) => ({ name: groups[code].name, x: middle(rows, x), y: middle(rows, y) }));
}

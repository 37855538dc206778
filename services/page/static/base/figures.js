// The figures of a report in the words of the page. Reports of heads with one class and with several labels differ.

import { number, percent } from "./words.js";

const ORDER = ["test", "val"]; // splits that say how good a head is, the better witness first
const SAID = { test: "test", val: "validation" };

/** Return the name and the figures of the split that says how good the head is; null without one. */
export function best(report) {
  const split = ORDER.find((each) => report.evaluations[each]);
  return split ? { split, figures: report.evaluations[split] } : null;
}

/** Return the one figure of a version, in 0…1, with its interval if it has one. */
export const main = ({ accuracy, accuracy_low: low, accuracy_high: high, micro_f1: f1 }) =>
  accuracy === undefined ? { value: f1, name: "F1 on held-out photos" } : { value: accuracy, low, high, name: "right on held-out photos" };

/** Return {headline, below}: how good the head is, in plain words. */
export function plain({ split, figures }) {
  const { rows, accuracy, accuracy_low: low, accuracy_high: high } = figures;
  const of = `${number(rows)} ${SAID[split]} photos`;
  if (accuracy === undefined) {
    return {
      headline: `F1 ${figures.micro_f1.toFixed(3)} on ${of}`,
      below: `Of the labels that it gives and those that it should give, about ${percent(figures.micro_f1)} match.`,
    };
  }
  return {
    headline: `Right on ${number(Math.round(accuracy * rows))} of ${of}`,
    below: `${accuracy.toFixed(3)}; with other photos like these likely between ${low.toFixed(3)} and ${high.toFixed(3)}.`,
  };
}

/** What each figure that is one number is called, and what it means. */
export const TERMS = {
  accuracy: ["accuracy", "The share of photos on which the head is right."],
  balanced_accuracy: ["balanced accuracy", "The mean over the classes of the share of their photos that are right: each class counts the same, however rare it is."],
  map: ["mAP", "Mean average precision: how well photos with a label are ranked before those without it. 1 is perfect."],
  micro_f1: ["F1", "F1 of all decisions together: high only if the head finds most labels and gives few wrong ones."],
  macro_f1: ["macro-F1", "The mean F1 of the classes: each class counts the same, however rare it is."],
  nll: ["NLL", "The mean of −log of the probability that the head gave the right answer: 0 is perfect, lower is better."],
  ece: ["ECE", "Expected calibration error: the mean difference between how sure the head says it is and how often it is right. 0 is perfect."],
  aurc: ["AURC", "The error rate if the head answers only the photos of which it is most sure, averaged over all numbers of such photos. 0 is perfect."],
};

/** Return the classes of a report, those with the lowest F1 first. */
export function classes({ per_class: one, per_label: many }) {
  const found = (one ?? many).map(({ class: name, label, ...rest }) => ({ name: name ?? label, ...rest }));
  return found.filter(({ support }) => support).sort((a, b) => a.f1 - b.f1);
}

/** Return the bins of a reliability diagram: what the head says, what is true, and how many answers. */
export const bins = ({ reliability = [] }) =>
  reliability.map(({ confidence, accuracy, rows, probability, share, labels }) => ({
    said: confidence ?? probability,
    real: accuracy ?? share,
    rows: rows ?? labels,
  }));

/** Return a sentence on the answers of which the head is surest. */
export function trust(found) {
  const sure = found.filter(({ said }) => said >= 0.9);
  const rows = sure.reduce((sum, each) => sum + each.rows, 0);
  if (!rows) return "It is never more than 90 % sure.";
  const mean = (name) => sure.reduce((sum, each) => sum + each[name] * each.rows, 0) / rows;
  return `Where it is surest, it says ${percent(mean("said"))} on average, and is right in ${percent(mean("real"))}.`;
}

const ENOUGH = 0.95;

/** Return a sentence on what is gained if unsure answers are left to people. */
export function abstain(points) {
  const good = points.filter(({ accuracy }) => accuracy >= ENOUGH).at(-1);
  if (!good) return `However sure it is, it is right on less than ${percent(ENOUGH)}.`;
  const { answered, accuracy, min_probability: least } = good;
  return answered === 1
    ? `It can answer all photos and is right on ${percent(accuracy)}.`
    : `If it answers only when it is at least ${percent(least)} sure, it answers ${percent(answered)} of the photos and is right on ${percent(accuracy)} of them.`;
}

// What the page says about a photo, in plain words. The term behind a word is its `title`.

export const number = (count) => count.toLocaleString("en");

/** Return a time of the service, as the user's clock shows it. */
export const moment = (text) => new Date(text).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });

export const photos = (count) => (count === 1 ? "1 photo" : `${number(count)} photos`);

/** Return a share as whole percent; only exactly all is 100 %. */
export const percent = (share) => `${share < 1 ? Math.min(99, Math.round(share * 100)) : 100}\u00a0%`;

export const SPLIT_NAMES = { train: "For learning", val: "For choosing", test: "For testing", ood: "Not of these classes", none: "Without a split" };

export const SPLIT_TERMS = {
  train: "Training rows: the head learns from them.",
  val: "Validation rows: thresholds and settings are chosen with them.",
  test: "Test rows: held out. They say how good the head is.",
  ood: "Out-of-distribution rows: examples of what the head should not answer for.",
  none: "This photo has no label in this task, so it is in no split.",
};

const PART = String.raw`[^\s"'\\/<>|:;,()[\]{}]+`;
const PATH = new RegExp(String.raw`(?<![\w.:/\\…])(?:file://)?/(?:${PART}/)*(${PART})`, "g");

/** Return a text in which each path of the service's machine is cut to its last part. */
export const withoutPaths = (text) => text.replace(PATH, "…/$1");

const SURE = [
  [0.95, "very sure"],
  [0.85, "sure"],
  [0.7, "fairly sure"],
  [0, "not sure"],
];

export const sure = (probability) => SURE.find(([from]) => probability >= from)?.[1] ?? "not sure";

export const UNLIKE = 95; // outlier percentile from which a photo counts as unlike the training photos

export const UNSURE = 0.7; // probability below which the head counts as not sure

const SIGNS = { agree: "✓", differ: "≠", open: "?", plain: "" };

/** Return what stands below a photo: {kind, sign, label, answer}. The kind is agree, differ, open (no label yet) or plain. */
export function caption(rows, row) {
  const label = rows.labels(row).join(", ");
  const answered = rows.answered(row);
  const kind = !answered ? "plain" : !label ? "open" : rows.disagrees(row) ? "differ" : "agree";
  const other = kind === "differ" || kind === "open";
  const answer = other ? rows.predictions(row).join(", ") || "none of the labels" : doubts(rows, row, kind);
  return { kind, sign: SIGNS[kind], label, answer };
}

/** Return why an answer that agrees with the label deserves a look. */
function doubts({ columns: { probability } }, row, kind) {
  return kind === "agree" && probability?.[row] < UNSURE ? "not sure" : "";
}

const SAID = { agree: "the head agrees", differ: "the head says", open: "the head says" };

/** Return the same as one sentence, for who hears the page. */
export function spoken(rows, row) {
  const { kind, label, answer } = caption(rows, row);
  const first = label ? `Label ${label}` : "No label";
  return kind === "plain" ? first : `${first}, ${SAID[kind]} ${answer}`.trim();
}

// Small charts of a report. What a chart shows is also a sentence or a table, for who cannot see it.

import { html, nothing, svg } from "../base/part.js";
import { number, percent } from "../base/words.js";

const WIDE = 320;
const HIGH = 200;
const LEFT = 40; // room for the numbers of an axis
const RIGHT = 22;
const BELOW = 34;
const TICKS = [0, 0.25, 0.5, 0.75, 1];

/** Return a word of the trade that says what it means when it is pointed at, focused or tapped. */
export const term = (word, meaning) =>
  html`<button type="button" class="term" data-meaning=${meaning} aria-label=${`${word}: ${meaning}`}>${word}</button>`;

/** Return a table; the first cell of a row is its title. @param {{titles: unknown[], rows: unknown[][]}} */
export const table = ({ titles, rows, caption = "" }) => html`
  <div class="wide" tabindex="0" role="region" aria-label=${caption || "Table"}>
    <table>
      <thead>
        <tr>${titles.map((title) => html`<th scope="col">${title}</th>`)}</tr>
      </thead>
      <tbody>
        ${rows.map(([first, ...rest]) => html`<tr><th scope="row">${first}</th>${rest.map((cell) => html`<td>${cell}</td>`)}</tr>`)}
      </tbody>
    </table>
  </div>
`;

/** Return a bar from 0 to 1 with its number beside it. Cells of tables: the number is the text of the bar. */
export const bar = (share, text, kind = "") => html`
  <span class="gauge">
    <svg class=${kind} aria-hidden="true" preserveAspectRatio="none" viewBox="0 0 100 10">
      <rect class="track" width="100" height="10"></rect>
      <rect class="filled" width=${100 * Math.max(0, Math.min(1, share))} height="10"></rect>
    </svg>
    <span>${text}</span>
  </span>
`;

/**
 * Return a bar for each class, three figures each.
 *
 * @param {{name: string, precision: number, recall: number, f1: number, support: number}[]} classes
 */
export const classBars = (classes, title = "class") =>
  table({
    caption: "How good it is at each class",
    titles: [
      title,
      term("finds", "Recall: of the photos of this class, the share that the head recognises."),
      term("is right", "Precision: of the photos that the head gives this class, the share that belongs to it."),
      term("both", "F1: the harmonic mean of precision and recall. It is high only if both are."),
      "photos",
    ],
    rows: classes.map(({ name, precision, recall, f1, support }) => [
      name,
      bar(recall, percent(recall)),
      bar(precision, percent(precision)),
      bar(f1, f1.toFixed(2), "strong"),
      number(support),
    ]),
  });

const SPLITS = [
  ["train", "for learning"],
  ["val", "for choosing"],
  ["test", "for testing"],
];

/**
 * Return how many labelled photos each class has, by split.
 *
 * @param {{name: string, train: number, val: number, test: number}[]} classes
 */
export function balance(classes) {
  const sum = (each) => SPLITS.reduce((total, [split]) => total + each[split], 0);
  const most = Math.max(1, ...classes.map(sum));
  return html`
    <p class="key" aria-hidden="true">${SPLITS.map(([split, name]) => html`<span class=${split}>${name}</span>`)}</p>
    ${table({
      caption: "Labelled photos of each class",
      titles: ["class", "photos", ...SPLITS.map(([split, name]) => term(split, `Photos ${name}.`))],
      rows: classes.map((each) => [each.name, stack(each, most, sum(each)), ...SPLITS.map(([split]) => number(each[split]))]),
    })}
  `;
}

function stack(counts, most, all) {
  let at = 0;
  const parts = SPLITS.map(([split]) => {
    const from = at;
    at += (100 * counts[split]) / most;
    return svg`<rect class=${split} x=${from} width=${at - from} height="10"></rect>`;
  });
  return html`<span class="gauge stack">
    <svg aria-hidden="true" preserveAspectRatio="none" viewBox="0 0 100 10">${parts}</svg><span>${number(all)}</span>
  </span>`;
}

/**
 * Return a matrix of true classes (rows) and answers (columns). A cell is a button: `open(label, prediction)`.
 *
 * @param {string[]} names
 * @param {(label: string, prediction: string) => number} count
 */
export function confusion(names, count, open) {
  const most = Math.max(1, ...names.flatMap((label) => names.map((each) => (each === label ? 0 : count(label, each)))));
  const cell = (label, prediction) => {
    const found = count(label, prediction);
    if (!found) return html`<span class="soft">·</span>`;
    const kind = label === prediction ? "right" : `wrong heat${Math.ceil((4 * found) / most)}`;
    const said = label === prediction ? `${found} photos of ${label}, recognised` : `${found} photos of ${label}, taken for ${prediction}`;
    return html`<button class="count ${kind}" aria-label=${said} title=${said} @click=${() => open(label, prediction)}>${number(found)}</button>`;
  };
  return html`<div class="confusion">
    ${table({
      caption: "Labels and answers",
      titles: ["label ↓ answer →", ...names],
      rows: names.map((label) => [label, ...names.map((prediction) => cell(label, prediction))]),
    })}
  </div>`;
}

/** Return the drawing of a chart whose x and y go over the given ranges, with its axes. */
function plot({ said, x, y, content }) {
  const [[left, right], [low, high]] = [x.range, y.range];
  const across = (value) => LEFT + ((value - left) / (right - left)) * (WIDE - LEFT - RIGHT);
  const up = (value) => HIGH - BELOW - ((value - low) / (high - low)) * (HIGH - BELOW - 10);
  return html`<svg class="plot" viewBox="0 0 ${WIDE} ${HIGH}" role="img" aria-label=${said}>
    ${y.ticks.map(
      (tick) => svg`<line class="grid" x1=${LEFT} x2=${WIDE - RIGHT} y1=${up(tick)} y2=${up(tick)}></line>
        <text x=${LEFT - 6} y=${up(tick) + 4} text-anchor="end">${y.text(tick)}</text>`,
    )}
    ${x.ticks.map((tick) => svg`<text x=${across(tick)} y=${HIGH - BELOW + 14} text-anchor="middle">${x.text(tick)}</text>`)}
    <text class="title" x=${(LEFT + WIDE - RIGHT) / 2} y=${HIGH - 4} text-anchor="middle">${x.title}</text>
    ${content(across, up)}
  </svg>`;
}

const path = (points) => points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

const chart = (drawing, values) => html`<figure>
  ${drawing}
  <details><summary>As a table</summary>${table(values)}</details>
</figure>`;

/**
 * Return how often the head is right (y) where it says that it is as sure as x.
 *
 * @param {{said: number, real: number, rows: number}[]} bins
 */
export function reliability(bins) {
  const most = Math.max(1, ...bins.map(({ rows }) => rows));
  const share = { range: [0, 1], ticks: TICKS, text: percent };
  const drawing = plot({
    said: "How often the head is right, against how sure it says it is. On the diagonal both are the same.",
    x: { ...share, title: "how sure it says it is" },
    y: share,
    content: (across, up) => svg`
      <path class="even" d=${path([[across(0), up(0)], [across(1), up(1)]])}></path>
      <path class="curve" d=${path(bins.map(({ said, real }) => [across(said), up(real)]))}></path>
      ${bins.map(({ said, real, rows }) => svg`<circle cx=${across(said)} cy=${up(real)} r=${2.5 + 5 * Math.sqrt(rows / most)}>
        <title>${number(rows)} answers: says ${percent(said)}, right ${percent(real)}</title>
      </circle>`)}
    `,
  });
  const rows = bins.map(({ said, real, rows }) => [percent(said), percent(real), number(rows)]);
  return chart(drawing, { titles: ["it says", "it is right", "answers"], rows, caption: "How sure, and how often right" });
}

/**
 * Return how often the head is right (y) if it answers only the share x of the photos, those of which it is most sure.
 *
 * @param {{answered: number, accuracy: number, min_probability: number}[]} points
 */
export function riskCoverage(points) {
  const floor = Math.max(0, Math.floor(Math.min(...points.map(({ accuracy }) => accuracy)) * 10 - 0.5) / 10);
  const middle = (floor + 1) / 2;
  const drawing = plot({
    said: "How often the head is right, against the share of the photos that it answers.",
    x: { range: [0, 1], ticks: TICKS, text: percent, title: "answers this share of the photos" },
    y: { range: [floor, 1], ticks: [floor, middle, 1], text: percent },
    content: (across, up) => svg`
      <path class="curve" d=${path(points.map(({ answered, accuracy }) => [across(answered), up(accuracy)]))}></path>
      ${points.map(({ answered, accuracy, min_probability: least }) => svg`<circle cx=${across(answered)} cy=${up(accuracy)} r="3">
        <title>answers ${percent(answered)}, those of which it is at least ${percent(least)} sure: right ${percent(accuracy)}</title>
      </circle>`)}
    `,
  });
  const rows = points.map(({ answered, accuracy, min_probability: least }) => [percent(answered), percent(accuracy), percent(least)]);
  return chart(drawing, { titles: ["answers", "is right", "if at least this sure"], rows, caption: "Fewer answers, fewer mistakes" });
}

/**
 * Return a figure of each version, against the number of photos that it learned from: at least two numbers.
 *
 * @param {{rows: number, value: number, low?: number, high?: number, name: string}[]} versions the oldest first
 */
export function progress(versions, title) {
  const points = [...versions].sort((a, b) => a.rows - b.rows);
  const [least, most] = [points[0].rows, points.at(-1).rows];
  const newest = [...new Map(points.map((each) => [each.rows, each])).values()]; // one for each number of photos
  const floor = Math.max(0, Math.floor(Math.min(...points.map(({ value, low }) => low ?? value)) * 10) / 10);
  const drawing = plot({
    said: `${title}, against the number of photos that a version learned from.`,
    x: { range: [least, most], ticks: [least, most], text: number, title: "photos for learning" },
    y: { range: [floor, 1], ticks: [floor, (floor + 1) / 2, 1], text: percent },
    content: (across, up) => svg`
      ${points
        .filter(({ low }) => low !== undefined)
        .map(({ rows, low, high }) => svg`<path class="interval" d=${path([[across(rows), up(low)], [across(rows), up(high)]])}></path>`)}
      <path class="curve" d=${path(newest.map(({ rows, value }) => [across(rows), up(value)]))}></path>
      ${points.map(({ rows, value, name }) => svg`<circle cx=${across(rows)} cy=${up(value)} r="4"><title>${name}: ${percent(value)}</title></circle>`)}
    `,
  });
  const rows = points.map(({ name, rows, value, low, high }) => [
    name,
    number(rows),
    percent(value),
    low === undefined ? "" : `${percent(low)} to ${percent(high)}`,
  ]);
  return chart(drawing, { titles: ["version", "photos", title, "likely between"], rows, caption: title });
}

/**
 * Return how good heads are that learned from ever more photos, and dashed what twice as many would bring.
 *
 * @param {{points: {rows: number, value: number, low: number, high: number}[], next: ?{mean: number, low: number, high: number}}} curve
 */
export function learning({ points, next }, title) {
  const last = points.at(-1);
  const doubled = next && { rows: 2 * last.rows, ...plus(last.value, next) };
  const all = doubled ? [...points, doubled] : points;
  const place = ({ rows }) => Math.log2(rows); // each doubling is a step of the same width
  const ticks = all.map(place);
  const floor = Math.max(0, Math.floor(Math.min(...all.map(({ low }) => low)) * 10) / 10);
  const drawing = plot({
    said: `${title}, against the number of photos that a head learned from.`,
    x: { range: [ticks[0], ticks.at(-1)], ticks, text: (tick) => number(Math.round(2 ** tick)), title: "photos for learning" },
    y: { range: [floor, 1], ticks: [floor, (floor + 1) / 2, 1], text: percent },
    content: (across, up) => svg`
      ${all.map((each) => svg`<path class="interval" d=${path([[across(place(each)), up(each.low)], [across(place(each)), up(each.high)]])}></path>`)}
      <path class="curve" d=${path(points.map((each) => [across(place(each)), up(each.value)]))}></path>
      ${doubled ? svg`<path class="even" d=${path([last, doubled].map((each) => [across(place(each)), up(each.value)]))}></path>` : nothing}
      ${points.map((each) => svg`<circle cx=${across(place(each))} cy=${up(each.value)} r="4"><title>${number(each.rows)} photos: ${percent(each.value)}</title></circle>`)}
    `,
  });
  const rows = all.map(({ rows, value, low, high }) => [
    rows > last.rows ? `${number(rows)}, predicted` : number(rows),
    percent(value),
    `${percent(low)} to ${percent(high)}`,
  ]);
  return chart(drawing, { titles: ["photos for learning", title, "likely between"], rows, caption: title });
}

const plus = (value, gain) => ({
  value: Math.min(1, value + gain.mean),
  low: Math.min(1, value + gain.low),
  high: Math.min(1, value + gain.high),
});

// Heads: their versions, which version programs get, and the report of one version with the photos behind its figures.

import { EVERYTHING } from "../base/filter.js";
import { TERMS, abstain, best, bins, classes, main, plain, trust } from "../base/figures.js";
import { PRODUCTION, aliases, chosen, newest, report, show, use, versions, when } from "../base/heads.js";
import { View, classMap, html, nothing } from "../base/part.js";
import { LEARNING_CURVE, active, details, far, list, run } from "../base/jobs.js";
import { state } from "../base/state.js";
import { number, percent, photos } from "../base/words.js";
import { balance, classBars, confusion, learning, progress, reliability, riskCoverage, table, term } from "../parts/charts.js";
import { strip } from "../parts/strip.js";

const MOST = 12; // worst mistakes that are shown
const MATRIX = 12; // classes up to which the whole matrix is shown
const PAIRS = 12;
const BARS = 20;
const HISTORY = 12; // versions whose figures are compared
const JOBS = 50; // newest jobs among which an earlier learning curve is looked for

class Heads extends View {
  static properties = {
    report: { state: true },
    history: { state: true },
    error: { state: true },
    all: { state: true },
    curves: { state: true },
    measuring: { state: true },
  };

  constructor() {
    super();
    this.kept = new Map(); // name@version → report: a version never changes
    this.curves = new Map(); // name@version → learning curve; null while it is unknown
    this.measuring = new Map(); // name@version → the job that measures one
    this.report = this.error = null;
    this.history = [];
    this.all = false;
  }

  get own() {
    return state.heads.filter(({ task }) => task === state.choice.task);
  }

  get chosen() {
    return chosen(this.own, state.choice.head);
  }

  willUpdate() {
    const found = this.chosen;
    const wanted = found && `${found.head.name}@${found.version}`;
    const back = this.lost && !state.down; // the service, which did not answer
    if (wanted === this.wanted && !back) return;
    this.lost = false;
    this.wanted = wanted;
    this.all = false;
    if (found) this.ask(wanted, found);
  }

  async ask(wanted, { head, version }) {
    Object.assign(this, { report: null, error: null, history: [] });
    try {
      const found = await this.read(head.name, version);
      if (wanted === this.wanted) this.report = found;
      const some = versions(head).slice(0, HISTORY).reverse();
      const reports = await Promise.all(some.map((each) => this.read(head.name, each).catch(() => null)));
      if (wanted === this.wanted) this.history = reports.filter((each) => each && best(each));
      await this.look(wanted);
    } catch (error) {
      if (error.status === 0 || error.status === 401) state.fail(error);
      else if (wanted === this.wanted) this.error = error;
      this.lost = error.status === 0;
    }
  }

  async read(name, version) {
    const key = `${name}@${version}`;
    if (!this.kept.has(key)) this.kept.set(key, { version, ...(await report(name, version)) });
    return this.kept.get(key);
  }

  /** Look for a learning curve of this version that an earlier job has measured. */
  async look(wanted) {
    if (!state.me?.jobs || this.curves.has(wanted)) return;
    this.curves.set(wanted, null);
    const { jobs } = await list(JOBS);
    for (const { id } of jobs.filter(({ kind, state: now }) => kind === LEARNING_CURVE && now === "done")) {
      const { result } = await details(id);
      if (!this.curves.get(result.head)) this.curves = new Map(this.curves).set(result.head, result);
    }
  }

  /** Let a job measure heads like this version that learned from fewer photos. */
  async measure(wanted) {
    const seen = (job) => (this.measuring = new Map(this.measuring).set(wanted, job));
    try {
      seen({ state: "queued" });
      const { result } = await run({ kind: LEARNING_CURVE, head: wanted }, seen);
      this.curves = new Map(this.curves).set(result.head, result);
    } catch (error) {
      state.fail(error);
    }
    this.measuring = new Map(this.measuring);
    this.measuring.delete(wanted);
  }

  render() {
    if (!state.overview) return nothing;
    if (!this.own.length) {
      return html`<div class="sheet"><h1>Heads</h1>
        <p>No head has learned ${state.task ? html`the task ${state.task.name}` : "anything"} yet. <a href="#learn">Let one learn from your labels</a>.</p></div>`;
    }
    return html`<div class="beside">
      <div class="controls">${this.own.map((head) => this.list(head))}</div>
      <div class="sheet" tabindex="-1">${this.chosen ? this.page(this.chosen) : nothing}</div>
    </div>`;
  }

  list(head) {
    const here = this.chosen;
    return html`<section class="versions">
      <h2>${head.name}</h2>
      <ul>
        ${versions(head).map((version) => {
          const current = here?.head === head && here.version === version;
          return html`<li><button class=${classMap({ quiet: true, here: current })} aria-current=${current ? "true" : "false"} @click=${() => show(head, version)}>
            ${when(version)} ${this.marks(head, version)}
          </button></li>`;
        })}
      </ul>
    </section>`;
  }

  marks(head, version) {
    const last = version === newest(head) ? html`<span class="badge" title=${`What programs that ask for ${head.name} get.`}>latest</span>` : nothing;
    return html`${last}${aliases(head, version).map(
      (alias) => html`<span class="badge strong" title=${`Programs that ask for ${head.name}@${alias} get this version.`}>${alias}</span>`,
    )}`;
  }

  page({ head, version }) {
    return html`
      <header class="title">
        <h1>${head.name} <span class="soft">of ${when(version)}</span></h1>
        ${this.marks(head, version)} ${this.actions(head, version)}
      </header>
      ${this.error ? html`<p class="error" role="alert">${this.error.message}</p>` : nothing}
      ${this.report ? this.figures(this.report, head) : nothing}
    `;
  }

  actions(head, version) {
    const used = head.aliases[PRODUCTION];
    if (used === version) return nothing;
    const back = used && version < used;
    const may = state.may("admin");
    return html`<button class="main" ?disabled=${!may} title=${may ? "" : "Only a key with the role admin may decide this."} @click=${() => use(head, version)}>
      ${back ? "Go back to this version" : "Use this version"}
    </button>`;
  }

  figures(report, head) {
    const found = best(report);
    if (!found) return html`<p>There were no validation or test photos, so nobody knows how good it is. <a href="#browse">Put some labels into the split test</a>.</p>${this.made(report, head)}`;
    const { headline, below } = plain(found);
    return html`
      <p class="verdict">${headline}</p>
      <p>${below}</p>
      ${report.notes.map((note) => html`<p class="caution">${note}</p>`)}
      ${this.numbers(report)} ${this.mistakes()} ${this.mixUps(found)} ${this.each(found.figures)} ${this.sureness(found.figures)}
      ${this.balance()} ${this.more()} ${this.made(report, head)}
    `;
  }

  numbers({ evaluations }) {
    const splits = Object.keys(evaluations);
    const known = Object.entries(TERMS).filter(([name]) => splits.some((split) => evaluations[split][name] !== undefined));
    const row = ([name, [word, meaning]]) => [term(word, meaning), ...splits.map((split) => evaluations[split][name]?.toFixed(3) ?? "")];
    return html`<details>
      <summary>More figures</summary>
      ${table({
        caption: "Figures by split",
        titles: ["", ...splits],
        rows: [["photos", ...splits.map((split) => number(evaluations[split].rows))], ...known.map(row)],
      })}
    </details>`;
  }

  /** Held-out photos on which label and head disagree, those of which the head is surest first. */
  mistakes() {
    const { rows } = state;
    if (!rows?.columns.prediction) return nothing;
    const found = worst(rows);
    if (!found.length) return html`<section><h2>Mistakes</h2><p>None: label and head agree on all held-out photos.</p></section>`;
    return html`<section>
      <h2>Its worst mistakes</h2>
      <p class="soft">Test and validation photos on which label and head disagree, those of which it is surest first. Some may be wrong labels: click one to look.</p>
      ${strip(found.slice(0, MOST), (row) => said(rows, row), "Worst mistakes")}
      <button class="quiet" @click=${() => this.open({ only: { name: "Mistakes", rows: found } })}>See all ${number(found.length)} in Photos</button>
    </section>`;
  }

  open(filter) {
    state.narrow({ ...EVERYTHING, ...filter });
    location.hash = "#browse";
  }

  /** Which classes are taken for which others, with the way to their photos. */
  mixUps({ split, figures }) {
    if (!figures.confusion) return nothing;
    const counts = new Map(figures.confusion.map(([label, prediction, count]) => [`${label}\n${prediction}`, count]));
    const wrong = figures.confusion.filter(([label, prediction]) => label !== prediction).sort((a, b) => b[2] - a[2]);
    const open = (label, prediction) => this.open({ label, prediction, split });
    const names = figures.per_class.map(({ class: name }) => name);
    return html`<section>
      <h2>What it mixes up</h2>
      ${wrong.length ? nothing : html`<p>Nothing.</p>`}
      <ul class="pairs">
        ${wrong.slice(0, PAIRS).map(([label, prediction, count]) => html`<li><button @click=${() => open(label, prediction)}>
          <b>${label}</b> taken for <b>${prediction}</b> <span class="soft">${photos(count)}</span></button></li>`)}
      </ul>
      ${names.length <= MATRIX ? confusion(names, (label, prediction) => counts.get(`${label}\n${prediction}`) ?? 0, open) : nothing}
      <p class="soft">Counted when this version learned. Labels that were changed since then can make the photos differ.</p>
    </section>`;
  }

  each(figures) {
    const found = classes(figures);
    const shown = this.all ? found : found.slice(0, BARS);
    return html`<section>
      <h2>How good it is at each ${figures.per_label ? "label" : "class"}</h2>
      ${classBars(shown, figures.per_label ? "label" : "class")}
      ${shown.length < found.length ? html`<button class="quiet" @click=${() => (this.all = true)}>Show all ${number(found.length)}, the weakest come first</button>` : nothing}
    </section>`;
  }

  sureness(figures) {
    const found = bins(figures);
    const points = figures.risk_coverage;
    return html`<section class="charts">
      ${found.length ? html`<div><h2>Can you believe how sure it is?</h2><p>${trust(found)} ${error(figures)}</p>${reliability(found)}</div>` : nothing}
      ${points?.length ? html`<div><h2>If it answers only when it is sure</h2><p>${abstain(points)} ${area(figures)}</p>${riskCoverage(points)}</div>` : nothing}
    </section>`;
  }

  balance() {
    return state.task ? html`<section><h2>Labelled photos of each class</h2>${balance(state.task.classes.slice(0, 40))}</section>` : nothing;
  }

  /** Would more labels help? Heads of parts of the photos show it, and versions that learned from different numbers. */
  more() {
    const points = this.history.map((each) => ({ rows: each.rows.train ?? 0, name: when(each.version), ...main(best(each).figures) }));
    const differ = new Set(points.map(({ rows }) => rows)).size > 1;
    return html`<section>
      <h2>Would more labels help?</h2>
      ${this.curve()}
      ${differ ? html`<p>${gain(points)}</p>${progress(points, main(best(this.history[0]).figures).name)}` : nothing}
    </section>`;
  }

  curve() {
    const found = this.curves.get(this.wanted);
    if (found) {
      return html`<p>${promise(found)} <span class="soft">${earlier(found)}</span></p>
        ${learning(found, found.figure === "F1" ? "F1 of a photo’s labels" : "right on held-out photos")}`;
    }
    const job = this.measuring.get(this.wanted);
    if (job) return html`<p role="status">Learning from fewer photos: ${active(job) ? far(job) : "reading the result"}.</p>`;
    if (!state.me?.jobs) return html`<p>This service runs no jobs, so it cannot find out.</p>`;
    const may = state.may("write");
    return html`<p>Heads that learn from a half, a quarter and fewer of the same photos show how much each doubling brings. Nothing is changed.</p>
      <button ?disabled=${!may} title=${may ? "" : "Your key may only read."} @click=${() => this.measure(this.wanted)}>Find out</button>`;
  }

  made(report, head) {
    const rows = Object.entries({ ...report.parameters, ...report.settings }).filter(([, value]) => value === null || typeof value !== "object");
    return html`<details>
      <summary>How it was made</summary>
      <p>A ${report.kind} head on vectors of ${report.encoders.join(", ")}. It knows ${number(head.classes.length)} classes and learned from ${photos(report.rows.train ?? 0)}.</p>
      ${table({ caption: "Settings", titles: ["setting", "value"], rows: rows.map(([name, value]) => [name, String(value)]) })}
    </details>`;
  }
}

const error = ({ ece }) =>
  ece === undefined ? nothing : html`On average the two are ${percent(ece)} apart (${term("ECE", TERMS.ece[1])}).`;

const area = ({ aurc }) => (aurc === undefined ? nothing : html`${term("AURC", TERMS.aurc[1])} ${aurc.toFixed(3)}.`);

/** Return the held-out rows on which label and head disagree, the surest first. @returns {Uint32Array} */
function worst(rows) {
  const { probability } = rows.columns;
  const found = [];
  for (let row = 0; row < rows.count; row++) if (["test", "val"].includes(rows.split(row)) && rows.disagrees(row)) found.push(row);
  return Uint32Array.from(found.sort((a, b) => probability[b] - probability[a]));
}

function said(rows, row) {
  const answers = rows.predictions(row).join(", ") || "none";
  return html`<b>${rows.labels(row).join(", ")}</b> <span class="wrong">≠ ${answers}</span> <span class="soft">${percent(rows.columns.probability[row])}</span>`;
}

/** Return gains in 100 photos as text, without signs. */
const hundredth = (share) => (100 * Math.abs(share)).toFixed(Math.abs(share) < 0.095 ? 1 : 0).replace(".0", "");

/** Return a sentence on what twice as many labels would bring. */
function promise({ next, points, figure }) {
  if (!next) {
    const [many] = points.slice(-1);
    return many.value > 0.995
      ? "Hardly: it is right on almost all held-out photos already."
      : "Nobody can say: the curve is too flat or too uneven to continue it.";
  }
  const range = `${hundredth(next.low)} to ${hundredth(next.high)}`;
  return figure === "F1"
    ? `With twice the labels its F1 would probably rise by about ${hundredth(next.mean)} points (${range}).`
    : `With twice the labels it would probably be right on about ${hundredth(next.mean)} more of 100 photos (${range}).`;
}

/** Return a sentence on what the last doubling brought. */
function earlier({ points, last, figure }) {
  const [few, many] = points.slice(-2);
  const chance = last.low <= 0 && last.high >= 0 ? ", which may be chance" : "";
  const by = hundredth(last.mean);
  const change =
    figure === "F1"
      ? `its F1 ${last.mean < 0 ? "fell" : "rose"} by ${by} points`
      : `it became right on ${by} ${last.mean < 0 ? "fewer" : "more"} of 100 photos`;
  return `From ${number(few.rows)} to ${photos(many.rows)} for learning, ${change}${chance}.`;
}

/** Return a sentence on the versions with the fewest and the most photos to learn from. */
function gain(points) {
  const sorted = [...points].sort((a, b) => a.rows - b.rows);
  const [few, many] = [sorted[0], sorted.at(-1)];
  const better = Math.round(100 * (many.value - few.value));
  const sign = better > 0 ? `${better} percentage points better` : better < 0 ? `${-better} percentage points worse` : "as good";
  return `With ${number(many.rows)} photos to learn from it is ${sign}, compared with ${number(few.rows)}.`;
}

customElements.define("hw-heads", Heads);

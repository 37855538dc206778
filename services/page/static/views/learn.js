// Learn: one button makes a new version of the head from the labels as they are now, and says what became of it.

import { PRODUCTION, chosen, promote, show, use, when } from "../base/heads.js";
import { embed } from "../base/keeping.js";
import { learning } from "../base/learning.js";
import { View, classMap, html, nothing } from "../base/part.js";
import { state } from "../base/state.js";
import { number, percent, photos } from "../base/words.js";
import { balance, term } from "../parts/charts.js";
import { mistakes } from "../parts/next.js";
import { strip } from "../parts/strip.js";

const MOST = 12; // photos of a strip, before "Show all"
const MAY = {
  read: "Your key may look, but not change labels or train. Ask the operator for a key with the role write.",
  write: "Your key may train. Only a key with the role admin decides which version programs get.",
  admin: "You may train, and decide which version programs get.",
};

class Learn extends View {
  static properties = { all: { state: true }, embedding: { state: true } };

  connectedCallback() {
    super.connectedCallback();
    this.all = this.looked = false;
    this.embedding = null;
  }

  willUpdate() {
    if (this.looked || !state.me?.jobs) return;
    this.looked = true;
    learning.look();
  }

  render() {
    if (!state.overview) return nothing;
    return html`<div class="sheet">
      <h1>Learn ${state.task ? html`<span class="soft">from the labels of ${state.task.name}</span>` : nothing}</h1>
      ${this.obstacle() ?? html`${this.act()} ${this.outcome()} ${this.labels()}`}
    </div>`;
  }

  /** What must be done first, with the way there; null if nothing is in the way. */
  obstacle() {
    const { me, overview, task } = state;
    if (!overview.store || !overview.assets) return html`<p>There are no photos yet. <a href="#browse">Add some</a>, then label a few of each kind.</p>`;
    if (!task || task.classes.length < 2) {
      return html`<p>A head learns to tell kinds of photos apart. <a href="#browse">Label about ten photos of each of two kinds</a>, then come back.</p>`;
    }
    if (!me.jobs) {
      return html`<p>This service does not train: it runs no jobs. Its operator can train on the command line:</p>
        <pre><code>headwater train --task ${task.name}</code></pre>`;
    }
    if (learning.refused) return html`<p class="error" role="alert">${learning.refused.message}</p>`;
    if (learning.task && !learning.task.encoders.length) return this.embed();
    return null;
  }

  /** Offer to embed: labels alone are not enough to learn from. */
  embed() {
    return html`<p>The labelled photos have no vectors yet: nothing to learn from. Embedding them makes vectors, once for each photo.</p>
      <button class="main" ?disabled=${this.embedding || !state.may("write")} @click=${this.backfill}>Embed all photos</button>
      ${this.embedding ? html`<progress .value=${this.embedding.done} max=${this.embedding.total ?? 1}></progress>` : nothing}`;
  }

  async backfill() {
    this.embedding = { done: 0 };
    try {
      await embed(({ progress }) => (this.embedding = progress ?? { done: 0 }));
      await Promise.all([state.refresh(), learning.look()]);
    } catch (error) {
      state.fail(error);
    }
    this.embedding = null;
  }

  /** The button, the switch, and what they do. */
  act() {
    const { task, head, busy, live, changes } = learning;
    const may = state.may("write");
    return html`<section class="act">
      <p>
        ${head ? html`The head <b>${head.name}</b> learned last on ${when(head.version)}.` : task ? "No head has learned from these labels yet." : nothing}
        ${head && changes ? `Since then you have changed the labels of ${photos(changes)}.` : nothing}
      </p>
      <div class="row">
        <button class="main big" ?disabled=${busy || !may || !task} @click=${() => learning.learn()}>
          ${busy ? (learning.possible?.ready ? "Learning…" : "Learning… The first time takes some seconds.") : head ? "Learn from my corrections" : "Learn from my labels"}
        </button>
        <label class="switch"><input type="checkbox" role="switch" .checked=${live} ?disabled=${!may} @change=${(event) => learning.setLive(event.target.checked)}>
          live: learn by itself, some moments after I change labels</label>
      </div>
      ${learning.error ? html`<p class="error" role="alert">${learning.error.message}</p>` : nothing}
      ${state.me.keys ? html`<p class="soft">${MAY[state.me.role]}</p>` : nothing}
      ${task ? this.more(task) : nothing}
    </section>`;
  }

  more({ encoders, kinds }) {
    const { head, wanted: { encoder, kind } } = learning;
    return html`<details class="more">
      <summary>More</summary>
      <div class="row">
        ${this.select("What it sees", "encoder", encoders, encoder ?? head?.encoders[0], "The encoder turns a photo into a vector, the numbers that the head reads.")}
        ${this.select("How it decides", "kind", kinds, kind ?? head?.kind, "The kind of the head. The first one is the simplest and quickest.")}
      </div>
    </details>`;
  }

  select(label, name, options, value, meaning) {
    return html`<label class="choice"><span>${label}</span>
      <select title=${meaning} @change=${(event) => learning.choose({ [name]: event.target.value })}>
        ${options.map((each) => html`<option ?selected=${each === value}>${each}</option>`)}
      </select></label>`;
  }

  /** What came out, for the task that is shown. */
  outcome() {
    const { result } = learning;
    if (!result || result.task !== state.choice.task) return nothing;
    return html`<section class="outcome" aria-live="polite">
      <h2 class="verdict">${verdict(result)}</h2>
      ${result.comparison ? html`<p>${chance(result)}</p>` : nothing}
      ${result.warnings.map((warning) => html`<p class="caution">${warning}</p>`)}
      ${this.decision(result)}
      ${this.turned("Right now, wrong before", result.comparison?.became_right)}
      ${this.turned("Wrong now, right before", result.comparison?.became_wrong)}
      ${state.rows?.totals.wrong ? html`<p><a class="button" href="#browse" @click=${mistakes}>Look at what it gets wrong</a></p>` : nothing}
      <p class="soft">Took ${result.seconds.toFixed(1)} s. Photos and map show the answers of this version. <a href="#heads">All figures of it</a></p>
    </section>`;
  }

  /** The photos whose answer became right, or wrong. */
  turned(title, ids) {
    if (!ids?.length || !state.rows) return nothing;
    const rows = ids.map((id) => state.rows.row(id)).filter((row) => row >= 0);
    const shown = this.all ? rows : rows.slice(0, MOST);
    return html`<h3>${title} <span class="soft">${number(rows.length)}</span></h3>
      ${strip(shown, (row) => answer(row), title)}
      ${shown.length < rows.length ? html`<button class="quiet" @click=${() => (this.all = true)}>Show all</button>` : nothing}`;
  }

  /** Use the new version, or keep the old one. */
  decision({ head: reference, against, comparison }) {
    const found = chosen(state.heads, reference);
    if (!found) return nothing;
    const { head, version } = found;
    const old = against?.split("@")[1];
    const used = head.aliases[PRODUCTION] === version;
    if (used) return html`<p class="right">✓ Programs that ask for <code>${head.name}@${PRODUCTION}</code> get this version.</p>`;
    const admin = state.may("admin");
    const worse = comparison?.interval[1] < 0;
    return html`<div class="row">
      <button class=${classMap({ main: !worse })} ?disabled=${!admin} @click=${() => use(head, version)}>Use it</button>
      ${old && old !== version ? html`<button class=${classMap({ main: worse })} @click=${() => this.keep(head, old)}>Keep the old one</button>` : nothing}
      <span class="soft">${admin ? `Use it: programs that ask for ${head.name}@${PRODUCTION} get this version.` : "Ask someone with the role admin to use it."}</span>
    </div>`;
  }

  /** Leave things as they were: programs get, and the page shows, the old version. The new one stays in the list. */
  async keep(head, old) {
    try {
      if (state.may("admin") && head.aliases[PRODUCTION] !== old) await promote(head.name, old);
      await show(head, old);
      learning.forget();
      state.say(`Kept the version of ${when(old)}. The new one stays in the list of heads.`);
    } catch (error) {
      state.fail(error);
    }
  }

  /** How many labels there are of each class: too few of one is the commonest reason for mistakes. */
  labels() {
    const { classes, labelled } = state.task;
    return html`<section>
      <h2>${photos(labelled)} with a label</h2>
      ${few(classes)} ${balance(classes.slice(0, 40))}
    </section>`;
  }
}

const FEW = 10;

function few(classes) {
  const rare = classes.filter(({ train }) => train < FEW).map(({ name }) => name);
  if (!rare.length) return nothing;
  return html`<p class="caution">Fewer than ${FEW} photos to learn from: ${rare.slice(0, 8).join(", ")}${rare.length > 8 ? " and others" : ""}. More labels of these help most.</p>`;
}

/** What a photo's answer is now, below it. */
function answer(row) {
  const label = state.rows.labels(row).join(", ");
  const said = state.rows.predictions(row).join(", ") || "none";
  return said === label ? html`<b class="right">✓ ${label}</b>` : html`<b>${label}</b> <span class="wrong">≠ ${said}</span>`;
}

/** Return the one sentence that says whether the new version is better. */
function verdict({ head, against, comparison, figures }) {
  if (head === against) return "Nothing has changed since this version learned.";
  if (!comparison) return first(figures);
  const { rows, split, right_before: before, right_now: now, changed } = comparison;
  const of = `${number(rows)} ${SPLIT_NAMES[split]} photos`;
  if (!changed) return `The new version answers all ${of} as the one before.`;
  if (now === before) return html`The new version is right on as many of ${of} as the one before ${interval(comparison)}`;
  const difference = `${number(Math.abs(now - before))} ${now > before ? "more" : "fewer"}`;
  return html`The new version is right on ${difference} of ${of} ${interval(comparison)}`;
}

const INTERVAL =
  "95 % interval: with other photos like these, the difference would lie between these numbers about 95 times of 100 (paired bootstrap).";

/** Return the interval of the difference: in photos or, where a photo has several labels, in F1 of a photo. */
function interval({ rows, interval: ends }) {
  const { many } = state.task;
  const [low, high] = ends.map((end) => signed(many ? Number(end.toFixed(3)) : Math.round(end * rows)));
  return term(`(between ${low} and ${high}${many ? " of F1" : ""})`, INTERVAL);
}

const SPLIT_NAMES = { test: "test", val: "validation" };

function first(figures) {
  const split = figures.test ? "test" : "val";
  const found = figures[split];
  if (!found) return "Learned. There are no test photos that could say how good it is.";
  const { rows, accuracy, micro_f1: f1 } = found;
  if (accuracy === undefined) return `Learned. F1 is ${f1.toFixed(2)} on ${number(rows)} ${SPLIT_NAMES[split]} photos.`;
  return `Learned. It is right on ${number(Math.round(accuracy * rows))} of ${number(rows)} ${SPLIT_NAMES[split]} photos.`;
}

/** Return the sentence that says whether the difference may be chance. */
function chance({ comparison }) {
  const { rows, interval: ends, right_now: now, changed } = comparison;
  const right = `It is right on ${number(now)} of ${number(rows)} (${percent(now / rows)}).`;
  if (!changed) return right;
  const maybe = ends[0] <= 0 && ends[1] >= 0 ? "The difference may be chance." : "The difference is unlikely to be chance.";
  const answers = changed === 1 ? "1 answer has" : `${number(changed)} answers have`;
  return `${right} ${answers} changed. ${maybe}`;
}

const signed = (value) => (value < 0 ? `−${-value}` : `${value ? "+" : ""}${value || 0}`);

customElements.define("hw-learn", Learn);

// A dialog that starts a job: its kind, then the fields of that kind.

import { Failure } from "../base/api.js";
import { KINDS, start } from "../base/jobs.js";
import { Part, html, nothing, repeat } from "../base/part.js";
import { kinds } from "../base/schema.js";
import { state } from "../base/state.js";
import { control, problems, values } from "./fields.js";

class JobForm extends Part {
  static properties = { kinds: { state: true }, kind: { state: true }, problems: { state: true }, busy: { state: true } };

  constructor() {
    super();
    this.kinds = null;
    this.kind = "backfill";
    this.problems = {};
    this.busy = false;
  }

  /** Show the dialog. */
  async open() {
    try {
      this.kinds = await kinds();
      await this.updateComplete;
      this.querySelector("dialog").showModal();
    } catch (error) {
      state.fail(error);
    }
  }

  close() {
    this.querySelector("dialog").close();
  }

  choose(kind) {
    Object.assign(this, { kind, problems: {} });
  }

  get fields() {
    return this.kinds[this.kind].fields;
  }

  async send(event) {
    event.preventDefault();
    this.busy = true;
    this.problems = {};
    try {
      const job = await start({ kind: this.kind, ...values(this.fields, new FormData(event.target)) });
      this.close();
      this.emit("started", { job });
    } catch (error) {
      await this.refused(error);
    }
    this.busy = false;
  }

  /** Say what is wrong at the field, and go there. */
  async refused(error) {
    if (!(error instanceof Failure) || error.status === 0 || error.status === 401) {
      this.close();
      return state.fail(error);
    }
    this.problems = problems(error, this.fields);
    await this.updateComplete;
    this.querySelector(".bad :is(input, select, textarea)")?.focus();
  }

  render() {
    if (!this.kinds) return nothing;
    const some = this.fields.filter(({ required }) => required);
    const rest = this.fields.filter(({ required }) => !required);
    return html`<dialog aria-labelledby="job-title">
      <form @submit=${this.send}>
        <h2 id="job-title">Start a job</h2>
        <div class="entry"><label for="job-kind">what</label>
          <select id="job-kind" @change=${(event) => this.choose(event.target.value)}>
            ${Object.keys(this.kinds).map((kind) => html`<option value=${kind} ?selected=${kind === this.kind}>${KINDS[kind] ?? kind}</option>`)}
          </select>
          <p class="soft">${this.kinds[this.kind].about}</p>
        </div>
        ${this.controls(some)}
        ${rest.length ? html`<details ?open=${!some.length || rest.some(({ name }) => this.problems[name])}><summary>More</summary>${this.controls(rest)}</details>` : nothing}
        ${this.problems[""] ? html`<p class="error" role="alert">${this.problems[""]}</p>` : nothing}
        <div class="row">
          <button class="main" ?disabled=${this.busy}>Start</button>
          <button type="button" @click=${this.close}>Not now</button>
        </div>
      </form>
    </dialog>`;
  }

  controls(fields) {
    const key = ({ name }) => `${this.kind}/${name}`; // what was typed for one kind is not carried to another
    return repeat(fields, key, (field) => control(field, this.problems[field.name]));
  }
}

customElements.define("hw-job-form", JobForm);

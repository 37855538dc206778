// The controls of a form, one for each type of a field, and the value that each of them gives.

import { html, nothing } from "../base/part.js";
import { state } from "../base/state.js";

/** Names that the store or the service knows, by field. */
const KNOWN = {
  task: () => state.overview.tasks.map(({ name }) => name),
  encoder: encoders,
  encoders,
  head: () => state.heads.map(({ name }) => name),
};

function encoders() {
  return state.overview.encoders.map(({ name }) => name);
}

/** What a field that must be filled begins with: what is shown on the page. */
const first = ({ name, default: own, required }) => own ?? (required ? state.choice[name] : null) ?? "";

const rules = ({ required, limits: { min, max, pattern, maxLength } }) => ({
  required,
  min: min ?? nothing,
  max: max ?? nothing,
  maxLength: maxLength ?? nothing,
  // A browser knows no \x00, and there is no way to type it.
  pattern: pattern?.includes("\\x") ? nothing : (pattern ?? nothing),
});

function input(field, type, more = nothing) {
  const { required, min, max, pattern, maxLength } = rules(field);
  return html`<input id=${id(field)} name=${field.name} type=${type} .value=${String(first(field))} ?required=${required} min=${min} max=${max}
    maxlength=${maxLength} pattern=${pattern} step="any" list=${more} aria-describedby=${`${id(field)}-about`} autocomplete="off">`;
}

const id = ({ name }) => `job-${name}`;

const text = (field) => {
  const known = KNOWN[field.name]?.() ?? [];
  const list = `${id(field)}-known`;
  return html`${input(field, "text", known.length ? list : nothing)}
    <datalist id=${list}>${known.map((name) => html`<option value=${name}></option>`)}</datalist>`;
};

const choice = (field) => html`<select id=${id(field)} name=${field.name} aria-describedby=${`${id(field)}-about`}>
  ${field.required || field.default ? nothing : html`<option value="">as the files say</option>`}
  ${field.options.map((each) => html`<option ?selected=${each === field.default}>${each}</option>`)}
</select>`;

const several = (field) => html`<fieldset id=${id(field)} aria-describedby=${`${id(field)}-about`}>
  <legend>${field.words}</legend>
  ${(field.options ?? KNOWN[field.name]()).map(
    (each) => html`<label><input type="checkbox" name=${field.name} value=${each} ?checked=${field.default?.includes(each)}> ${each}</label>`,
  )}
</fieldset>`;

const lines = (field) => html`<textarea id=${id(field)} name=${field.name} rows="3" placeholder="name = value, one a line" aria-describedby=${`${id(field)}-about`}></textarea>`;

const check = (field) => html`<input id=${id(field)} name=${field.name} type="checkbox" ?checked=${field.default} aria-describedby=${`${id(field)}-about`}>`;

/** Type of a field → how it is drawn, and its value in the data of a form; undefined for none. */
const CONTROLS = {
  boolean: { draw: check, value: (data, { name }) => data.has(name) },
  integer: { draw: (field) => input(field, "number"), value: numeric },
  number: { draw: (field) => input(field, "number"), value: numeric },
  array: { draw: several, value: (data, { name }) => data.getAll(name) },
  object: { draw: lines, value: (data, { name }) => pairs(data.get(name)) },
  string: { draw: (field) => (field.options ? choice(field) : text(field)), value: (data, { name }) => data.get(name).trim() || undefined },
};

function numeric(data, { name }) {
  return data.get(name) === "" ? undefined : Number(data.get(name));
}

/** Return {name: value} of lines such as "dims = 64". A value that is no JSON is a text. */
function pairs(given) {
  const found = given.split("\n").filter((line) => line.trim());
  return Object.fromEntries(found.map((line) => line.split(/=(.*)/s).map((part) => (part ?? "").trim())).map(([name, value]) => [name, parsed(value)]));
}

function parsed(value) {
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
}

/** Return a field with its name, what it means, and what is wrong with it. */
export function control(field, problem) {
  const { draw } = CONTROLS[field.type];
  const named = field.type === "array" ? nothing : html`<label for=${id(field)}>${field.words}</label>`;
  return html`<div class="entry ${field.type} ${problem ? "bad" : ""}">
    ${named} ${draw(field)}
    <p id=${`${id(field)}-about`} class="soft">${field.about.replaceAll("`", "")}${problem ? html` <span class="error" role="alert">${problem}</span>` : nothing}</p>
  </div>`;
}

/** Return the values of a form's fields; what was left empty is left out. */
export function values(fields, data) {
  return Object.fromEntries(fields.map((field) => [field.name, CONTROLS[field.type].value(data, field)]).filter(([, value]) => value !== undefined));
}

const PLACE = /^body\.[^.:]+\.([^.:]+)[^:]*: /;
const CODES = { unknown_task: ["task"], unknown_encoder: ["encoder", "encoders"], unknown_head: ["head"], folder_not_allowed: ["folder", "labels_file"] };

/** Return what is wrong with each field, {name: text}, and with the form (name ""), from the error of the service. */
export function problems({ code, message }, fields) {
  const has = (name) => fields.some((field) => field.name === name);
  const own = (CODES[code] ?? []).find(has);
  if (own) return { [own]: message };
  const found = {};
  for (const fault of message.split(/; (?=body\.)/)) {
    const [place, name = ""] = PLACE.exec(fault) ?? [];
    if (has(name)) found[name] = fault.slice(place.length);
    else found[""] = [found[""], fault].filter(Boolean).join("; ");
  }
  return found;
}

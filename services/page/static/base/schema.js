// What a job of each kind can be told, as the service describes it: a new kind or field needs no change of the page.

import { read } from "./api.js";

let asked = null;

/**
 * Return the kinds of jobs: {kind: {about, fields}}. Asked for once. Throws Failure.
 *
 * @returns {Promise<Record<string, {about: string, fields: Field[]}>>}
 * @typedef {{name: string, words: string, about: string, required: boolean, type: string, default?: unknown,
 *   options: string[] | null, limits: {min?: number, max?: number, pattern?: string, maxLength?: number}}} Field
 */
export function kinds() {
  asked ??= load().catch((error) => {
    asked = null;
    throw error;
  });
  return asked;
}

async function load() {
  const { components } = await read("openapi.json");
  const at = (reference) => components.schemas[reference.split("/").at(-1)];
  const { mapping } = components.schemas.JobRequest.discriminator;
  return Object.fromEntries(Object.entries(mapping).map(([kind, reference]) => [kind, described(at(reference))]));
}

function described({ description, properties, required = [] }) {
  const { kind, ...rest } = properties;
  const fields = Object.entries(rest).map(([name, schema]) => field(name, schema, required.includes(name)));
  return { about: description, fields: fields.sort((a, b) => b.required - a.required) };
}

/** Return a field. A value that may be null is described by its other type: leaving the field empty means null. */
function field(name, schema, required) {
  const { type, enum: options, ...rules } = schema.anyOf?.find((each) => each.type !== "null") ?? schema;
  return {
    name,
    words: name.replaceAll("_", " "),
    about: schema.description ?? "",
    required,
    type,
    default: schema.default,
    options: options ?? rules.items?.enum ?? null,
    limits: { min: rules.minimum, max: rules.maximum, pattern: rules.pattern, maxLength: rules.maxLength },
  };
}

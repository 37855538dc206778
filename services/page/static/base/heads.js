// Heads and their versions: which one programs get, and what a version is called in words.

import { read } from "./api.js";
import { state } from "./state.js";

export const PRODUCTION = "production";
const LATEST = "latest";

const TIME = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)/;

/** Return the time at which a version was made, in words; its id begins with that time. */
export function when(version) {
  const found = TIME.exec(version);
  if (!found) return version;
  const [year, month, day, hours, minutes, seconds] = found.slice(1).map(Number);
  const made = new Date(Date.UTC(year, month - 1, day, hours, minutes, seconds));
  return made.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" });
}

/** Return the versions of a head, the newest first. */
export const versions = (head) => [...head.versions].sort().reverse();

/** Return the names of the aliases that point at a version, without `latest`. */
export const aliases = (head, version) =>
  Object.keys(head.aliases).filter((alias) => alias !== LATEST && head.aliases[alias] === version);

/** Return the head of a reference, name or name@version, and the version that it means. */
export function chosen(heads, reference) {
  const [name, version] = (reference ?? "").split("@");
  const head = heads.find((each) => each.name === name);
  return head ? { head, version: head.aliases[version] ?? version ?? newest(head) } : null;
}

export const newest = (head) => head.aliases[LATEST] ?? versions(head)[0];

/** Let programs that ask for the head in production get this version. Throws Failure. */
export async function promote(name, version) {
  const { heads } = await read(`heads/${encodeURIComponent(name)}/alias`, { json: { alias: PRODUCTION, version } });
  state.change({ heads });
}

/** The same, on behalf of a button: what happened is said. */
export async function use(head, version) {
  try {
    await promote(head.name, version);
    state.say(`Programs that ask for ${head.name}@${PRODUCTION} now get the version of ${when(version)}.`);
  } catch (error) {
    state.fail(error);
  }
}

/** Show the answers of a version in all views. The newest one is named without its version, so newer ones follow. */
export async function show(head, version) {
  await state.choose({ head: version === newest(head) ? head.name : `${head.name}@${version}` });
}

/** Return the report on a version. Throws Failure. */
export const report = (name, version) =>
  read(`heads/${encodeURIComponent(name)}/report`, { parameters: { version } });

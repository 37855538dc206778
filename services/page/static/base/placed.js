// Where dropped photos stand on the map: amid the stored photos that resemble them most.

import { NONE } from "./rows.js";

const NEAREST = 3;

/**
 * Return the places of dropped photos, in the axes of `rows`. Those without similar photos on the map have none.
 *
 * @param {{file: File, near: {id: string}[] | null}[]} items
 * @returns {{x: number, y: number, name: string}[]}
 */
export function placed(items, rows) {
  const { x, y } = rows.columns;
  if (!x) return [];
  return items.flatMap(({ file, near }) => {
    const found = (near ?? []).map(({ id }) => rows.row(id)).filter((row) => row !== NONE && x[row] === x[row]);
    const nearest = found.slice(0, NEAREST);
    const mean = (values) => nearest.reduce((sum, row) => sum + values[row], 0) / nearest.length;
    return nearest.length ? [{ x: mean(x), y: mean(y), name: file.name }] : [];
  });
}

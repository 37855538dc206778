// In which order points are drawn: mixed, so that no class covers another because it was stored later, and so that the
// first thousands are a fair sample of all. Faint points come before strong ones.

/** Return the numbers below `count`, mixed; the same for each call. @returns {Uint32Array} */
export function mixed(count) {
  const numbers = Uint32Array.from({ length: count }, (_, i) => i);
  let seed = 1;
  for (let i = count - 1; i > 0; i--) {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    const j = Math.floor((seed / 2 ** 32) * (i + 1));
    [numbers[i], numbers[j]] = [numbers[j], numbers[i]];
  }
  return numbers;
}

/**
 * Return the rows that are drawn: all faint ones, then all strong ones. Rows without a place are left out.
 *
 * @param {Uint32Array} rows in the order of drawing
 * @returns {{rows: Uint32Array, faint: number, strong: number}}
 */
export function layers(rows, x, y, strong) {
  const found = new Uint32Array(rows.length);
  let faint = 0;
  const wanted = (row, value) => (!strong || strong[row] ? 1 : 0) === value && Number.isFinite(x[row] + y[row]);
  if (strong) for (const row of rows) if (wanted(row, 0)) found[faint++] = row;
  let count = faint;
  for (const row of rows) if (wanted(row, 1)) found[count++] = row;
  return { rows: found.subarray(0, count), faint, strong: count - faint };
}

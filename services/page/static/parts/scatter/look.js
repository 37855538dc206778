// How large and how dense points are, and how many of them are drawn while the map moves: pure functions.

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/**
 * Return {diameter, opacity} of points, in CSS pixels and from 0 to 1: many points are small and let others shine through.
 *
 * @param {number} count points that are drawn
 * @param {number} growth how much larger than at first the map is seen
 * @param {{width, height}} size of the view
 */
export function look(count, growth, { width, height }) {
  const near = Math.max(growth, 0.5);
  const narrow = clamp(Math.sqrt((width * height) / 700_000), 0.65, 1.2);
  const diameter = clamp(40 * count ** -0.22, 1.8, 8) * near ** 0.3 * narrow;
  const opacity = clamp(2.2 * count ** -0.12, 0.3, 0.9) * near ** 0.15;
  return { diameter: clamp(diameter, 1.5, 16), opacity: clamp(opacity, 0.2, 0.92) };
}

const SLOW = 33; // milliseconds a frame
const FAST = 22;
const PAUSE = 400;
const FEWEST = 20_000;

/** How many points are drawn in one frame: fewer after a slow one, more after a fast one. */
export class Pace {
  points = 100_000;
  last = -Infinity;

  /** Take the time at which a frame begins, in milliseconds. */
  frame(now) {
    const took = now - this.last;
    this.last = now;
    if (took > PAUSE) return;
    if (took > SLOW) this.points = Math.max(FEWEST, this.points * 0.85);
    else if (took < FAST) this.points = Math.min(10_000_000, this.points * 1.1);
  }
}

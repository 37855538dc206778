// Which part of the plane is seen: pure functions. A camera is {x, y, scale}: the point in the middle of the view, and
// pixels for one unit. Both axes have the same scale, so that distances look as they are.

const NEAR = 2000; // how much larger than at first
const FAR = 0.4;
const MARGIN = { width: 24, height: 52 }; // pixels on each side, some of them below buttons
const ENDS = 0.002; // share of the points at each end that may lie outside of the first view, if they lie far outside
const SAMPLE = 20_000;

/** Return where most points are: {left, right, bottom, top}. Points without a place (NaN) do not count. */
export function bounds(x, y) {
  const [left, right] = range(x);
  const [bottom, top] = range(y);
  return { left, right, bottom, top };
}

function range(values) {
  const step = Math.max(1, Math.floor(values.length / SAMPLE));
  const some = [];
  for (let i = 0; i < values.length; i += step) if (Number.isFinite(values[i])) some.push(values[i]);
  if (!some.length) return [-1, 1];
  const sorted = Float32Array.from(some).sort();
  const at = (share) => sorted[Math.round(share * (sorted.length - 1))];
  const rest = 0.12 * (at(1 - ENDS) - at(ENDS));
  const low = Math.max(at(0), at(ENDS) - rest);
  const high = Math.min(at(1), at(1 - ENDS) + rest);
  return high > low ? [low, high] : [low - 1, low + 1];
}

/** Return the camera that shows all of `bounds`. @param {{width, height}} size of the view in pixels */
export function fit({ left, right, bottom, top }, { width, height }) {
  const room = (whole, margin) => Math.max(whole - 2 * margin, whole / 2);
  const scale = Math.min(room(width, MARGIN.width) / (right - left), room(height, MARGIN.height) / (top - bottom));
  return { x: (left + right) / 2, y: (bottom + top) / 2, scale };
}

export const toScreen = (camera, { width, height }, x, y) => [
  width / 2 + (x - camera.x) * camera.scale,
  height / 2 - (y - camera.y) * camera.scale,
];

export const toPlane = (camera, { width, height }, x, y) => [
  camera.x + (x - width / 2) / camera.scale,
  camera.y - (y - height / 2) / camera.scale,
];

/** Move what is seen by pixels to the right and down. */
export const pan = (camera, right, down) => ({
  ...camera,
  x: camera.x - right / camera.scale,
  y: camera.y + down / camera.scale,
});

/** Make what is seen larger by `factor`. What is at the pixel (x, y) stays there. */
export function zoom(camera, size, factor, x = size.width / 2, y = size.height / 2) {
  const [fixed_x, fixed_y] = toPlane(camera, size, x, y);
  return {
    x: fixed_x + (camera.x - fixed_x) / factor,
    y: fixed_y + (camera.y - fixed_y) / factor,
    scale: camera.scale * factor,
  };
}

/** Return the factor that leads from `camera` by `factor`, but neither too near nor too far from `home`. */
export const allowed = (camera, home, factor) =>
  Math.min(Math.max(camera.scale * factor, home.scale * FAR), home.scale * NEAR) / camera.scale;

/** Return the camera with its middle inside of `bounds`: nobody gets lost. */
export const kept = (camera, { left, right, bottom, top }) => ({
  ...camera,
  x: Math.min(Math.max(camera.x, left), right),
  y: Math.min(Math.max(camera.y, bottom), top),
});

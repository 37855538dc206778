// What is drawn above the points: names of classes, photos that were dropped, the selection, the point that is looked at.

import { nothing, svg } from "../../base/part.js";
import { toScreen } from "./camera.js";

const LETTER = 7.2; // about the width of a letter, in pixels
const LINE = 18;

/** Return the marks that can be read: none covers one before it, and each is inside of the view. */
export function readable(marks, camera, size) {
  const boxes = [];
  return marks.flatMap((mark) => {
    const [x, y] = toScreen(camera, size, mark.x, mark.y);
    const half = (mark.name.length * LETTER) / 2;
    const free = boxes.every((box) => Math.abs(box.x - x) > box.half + half || Math.abs(box.y - y) > LINE);
    const seen = x > half && x < size.width - half && y > LINE && y < size.height - LINE;
    if (!free || !seen) return [];
    boxes.push({ x, y, half });
    return [{ name: mark.name, x, y }];
  });
}

const path = (points) => points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ");

/** Return the drawing. `selection` is a polygon in the plane, `row` the place of the point that is looked at. */
export function overlay({ camera, size, marks, extra, selection, spot }) {
  const screen = ([x, y]) => toScreen(camera, size, x, y);
  const ring = ({ x, y, name }) => {
    const [right, down] = screen([x, y]);
    return svg`<g class="extra" transform=${`translate(${right} ${down})`}>
      <circle class="under" r="9"></circle><circle r="9"></circle><text x="14" y="5">${name}</text></g>`;
  };
  return svg`
    ${readable(marks, camera, size).map(({ name, x, y }) => svg`<text class="mark" x=${x} y=${y + 5}>${name}</text>`)}
    ${selection ? svg`<polygon class="selection" points=${path(selection.map(screen))}></polygon>` : nothing}
    ${spot ? svg`<circle class="spot" r="9" cx=${screen(spot)[0]} cy=${screen(spot)[1]}></circle>` : nothing}
    ${extra.map(ring)}`;
}

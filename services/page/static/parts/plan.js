// Where the cells of a grid are: columns, sizes, and what a place of the scroll bar stands for.

const GAP = 10;
const LINE = 19; // of a caption
const NARROW = 500;
const TALLEST = 12e6; // pixels; browsers cannot scroll through more than 17 to 33 million

/** `line` is the height of a line of cells, `total` that of all lines, and `tall` the part of it that the scroll bar has. */
export class Plan {
  /** @param {{width: number, height: number}} box in sight @param {number} size of a photo, about, in pixels */
  constructor(box, size, captions, count) {
    const wanted = box.width < NARROW ? size * 0.66 : size;
    this.columns = Math.max(1, Math.floor((box.width + GAP) / (wanted + GAP)));
    this.cell = Math.floor((box.width + GAP) / this.columns) - GAP;
    this.line = this.cell + captions * LINE + 2 + GAP;
    this.lines = Math.ceil(count / this.columns);
    this.total = this.lines * this.line;
    this.tall = Math.min(this.total, TALLEST);
    this.most = Math.max(0, this.tall - box.height); // largest place of the scroll bar
    this.scale = this.total > this.tall ? (this.total - box.height) / this.most : 1;
  }

  /** Return the first pixel in sight, of all that the lines take, for a place of the scroll bar. */
  offset(top) {
    return top * this.scale;
  }

  /** Return the place of the scroll bar at which a pixel is the first in sight. */
  top(offset) {
    return Math.max(0, Math.min(offset / this.scale, this.most));
  }

  lineOf(place) {
    return Math.floor(place / this.columns);
  }
}

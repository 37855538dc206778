// One photo of a grid: its picture and its caption. Made once, then filled again and again for other rows.

import { caption, spoken } from "../base/words.js";

function add(parent, tag, className) {
  const made = document.createElement(tag);
  made.className = className;
  parent.append(made);
  return made;
}

const write = (element, text) => {
  if (element.textContent !== text) element.textContent = text;
};

export class Cell {
  constructor(line) {
    this.element = add(line, "div", "cell");
    this.element.setAttribute("role", "gridcell");
    this.element.cell = this;
    const frame = add(this.element, "div", "frame");
    this.image = add(frame, "img", "");
    Object.assign(this.image, { alt: "", decoding: "async", draggable: false, hidden: true });
    this.note = add(frame, "span", "note");
    this.kind = add(frame, "span", "kind");
    const tick = add(frame, "span", "tick");
    tick.textContent = "✓";
    tick.ariaHidden = "true";
    const label = add(this.element, "p", "label");
    this.sign = add(label, "span", "sign");
    this.label = add(label, "span", "");
    this.answer = add(this.element, "p", "answer");
    this.id = null;
    this.forget = null;
  }

  /** Show a row, or nothing. Its picture is taken from `pictures`; with `wait` it is not asked for if it is not there. */
  fill(rows, row, place, { selected, current, pictures, wait }) {
    this.place = place;
    this.element.hidden = row === undefined;
    if (row === undefined) return this.clear();
    const { kind, sign, label, answer } = caption(rows, row);
    this.element.className = `cell ${kind}${current ? " current" : ""}${label ? "" : " bare"}`;
    this.element.ariaSelected = String(selected);
    this.element.ariaLabel = spoken(rows, row);
    this.element.tabIndex = current ? 0 : -1;
    write(this.sign, sign);
    write(this.label, label || "no label");
    write(this.answer, answer);
    const modality = rows.modality(row);
    write(this.kind, modality === "image" ? "" : modality);
    this.#picture(rows.id(row), pictures, wait);
  }

  /** Take the wish for a picture back: the cell is out of sight. */
  release() {
    this.forget?.();
    this.forget = null;
  }

  clear() {
    this.release();
    this.id = null;
    this.#show({});
  }

  #picture(id, pictures, wait) {
    if (id !== this.id || pictures !== this.pictures) this.clear();
    this.id = id;
    this.pictures = pictures;
    if (this.there || this.forget) return;
    const found = pictures.at_once(id);
    if (found) this.#show(found);
    else if (!wait) this.forget = pictures.want(id, (late) => this.#show(late));
  }

  #show({ url, error }) {
    this.there = Boolean(url || error);
    if (this.there) this.forget = null;
    this.image.hidden = !url;
    if (url) this.image.src = url;
    else this.image.removeAttribute("src");
    write(this.note, error ? "No picture" : "");
    this.note.title = error ?? "";
  }
}

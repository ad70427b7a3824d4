// One view of a series: slice, outlines, window, zoom and pan, letters and scale. It knows nothing of the panel beside it.

import { fullRange, paint } from "./picture.js";
import { Slices } from "./slices.js";
import { listen } from "./gestures.js";

const SCALES_MM = [200, 100, 50, 20, 10, 5, 2, 1];
const LINE = 1.5;

export class View {
  /** `stage`: the element that it fills. `told(name, detail)`: hears "slice", "window", "point", "pointer". */
  constructor(stage, told) {
    this.stage = stage;
    this.told = told;
    this.canvas = stage.appendChild(document.createElement("canvas"));
    this.source = document.createElement("canvas");  // the slice, a pixel a pixel
    this.letters = Object.fromEntries(["left", "right", "top", "bottom"].map((side) => [side, this._add(`letter at-${side}`)]));
    this.scale = this._add("scale");
    this.state = this._add("picture-state");
    this.state.setAttribute("role", "status");
    this.hidden = new Set();  // places of findings that are off
    this.filled = false;
    this.contours = true;
    this.selected = null;
    this.pointed = null;  // {job_key, part, slice, row, column}: marked and not kept yet
    this.due = 0;
    new ResizeObserver(() => this.draw()).observe(stage);
    listen(this);
  }

  _add(name) {
    const element = this.stage.appendChild(document.createElement("div"));
    element.className = name;
    return element;
  }

  /** Show a part of a job. `part`: of the model, with its geometry. */
  async open(study, job, part, slice) {
    this.slices = new Slices(study, job, part);
    this.part = part;
    this.window = part.windows[0] ?? null;
    this.zoom = 1;
    this.pan = { x: 0, y: 0 };
    this.shown = null;
    this.index = -1;
    this._letters();
    if (part.trouble) return this.fail(part.trouble.sentence, part.trouble.why);
    return this.go(slice);
  }

  get count() {
    return this.part?.slices ?? 0;
  }

  get ready() {
    return Boolean(this.shown);
  }

  /** Show a slice. The last one asked for is the one that ends up shown. */
  async go(index) {
    if (!this.slices || this.part.trouble) return;
    const wanted = Math.max(0, Math.min(this.count - 1, index));
    if (wanted === this.index && this.shown) return;
    const direction = wanted >= this.index ? 1 : -1;
    this.index = wanted;
    this.told("slice", wanted);
    const { slices } = this;
    if (!slices.ready(wanted)) this.stage.classList.add("loading");
    const outlines = slices.outlines(wanted);
    outlines.catch(() => {});
    try {
      const slice = await slices.values(wanted);
      if (this.index !== wanted || this.slices !== slices) return;
      this.shown = slice;
      this.marks = [];
      this.window ??= slice.kind === "rgb8" ? null : fullRange(slice);
      this._say("");
      this._paint();
      const marks = await outlines.catch(() => []);
      if (this.index !== wanted || this.slices !== slices) return;
      this.marks = marks.map((mark) => ({ ...mark, path: pathOf(mark.loops) }));
      this.draw();
      slices.ahead(wanted, direction);
    } catch (error) {
      if (this.index === wanted && this.slices === slices) this.fail(error.message, error.status === 409 ? "fetching" : "gone");
    }
  }

  /** Outlines have changed: fetch those of this slice again. */
  async refresh() {
    const index = this.index;
    if (!this.slices || index < 0) return;
    const marks = await this.slices.outlines(index).catch(() => []);
    if (index !== this.index) return;
    this.marks = marks.map((mark) => ({ ...mark, path: pathOf(mark.loops) }));
    this.draw();
  }

  /** A drawn state in place of the picture: what is wrong and what to do. */
  fail(sentence, why) {
    this.shown = null;
    delete this.stage.dataset.drawn;
    this.draw();
    this._say(sentence, why);
    this.told("failed", { sentence, why });
  }

  _say(sentence, why = "") {
    this.stage.classList.remove("loading");
    this.state.textContent = sentence;
    this.state.dataset.why = why;
    this.state.hidden = !sentence;
    if (!sentence || why === "fetching" || why === "nothing") return;
    const again = Object.assign(document.createElement("button"), { className: "btn small", type: "button", textContent: "Try again" });
    again.addEventListener("click", () => this.told("again"));
    this.state.append(again);
  }

  setWindow(window) {
    if (!window || !this.shown || this.shown.kind === "rgb8") return;
    this.window = { ...window, width: Math.max(window.width, 1e-3) };
    this.told("window", this.window);
    if (this.due) return;
    this.due = requestAnimationFrame(() => {
      this.due = 0;
      if (this.shown) this._paint();
    });
  }

  _paint() {
    this.stage.dataset.drawn = String(this.index);
    paint(this.source, this.shown, this.window ?? { centre: 0, width: 1 });
    this.told("window", this.window);
    this.draw();
  }

  zoomBy(factor, x, y) {
    const zoom = Math.max(0.25, Math.min(20, this.zoom * factor));
    const { width, height } = this.stage.getBoundingClientRect();
    const at = { x: (x ?? width / 2) - width / 2, y: (y ?? height / 2) - height / 2 };
    const share = zoom / this.zoom;
    this.pan = { x: at.x - (at.x - this.pan.x) * share, y: at.y - (at.y - this.pan.y) * share };
    this.zoom = zoom;
    this.draw();
  }

  reset() {
    this.zoom = 1;
    this.pan = { x: 0, y: 0 };
    this.draw();
  }

  // --- Where things lie ---------------------------------------------------------------------------------------------

  /** Pixels of the picture -> CSS pixels of the stage; pixels are as wide as they are in the patient. */
  _placement() {
    const box = this.stage.getBoundingClientRect();
    const { rows, columns } = this.shown ?? { rows: 1, columns: 1 };
    const [down, across] = this._pixel();
    const fit = Math.min(box.width / (columns * across), box.height / (rows * down)) * this.zoom;
    const width = columns * across * fit, height = rows * down * fit;
    return {
      left: (box.width - width) / 2 + this.pan.x, top: (box.height - height) / 2 + this.pan.y,
      across: across * fit, down: down * fit, perMm: this.part?.pixel_mm ? fit : null,
    };
  }

  /** Height and width of a pixel as displayed, mm, or 1, 1. */
  _pixel() {
    const [rows, columns] = this.part?.pixel_mm ?? [1, 1];
    return this.part?.flip?.transpose ? [columns, rows] : [rows, columns];
  }

  /** Source grid (column, row; corners of pixels) -> CSS pixels of the stage. */
  matrix() {
    const { left, top, across, down } = this._placement();
    const { transpose, rows: flipRows, columns: flipColumns } = this.part.flip ?? {};
    const matrix = new DOMMatrix([across, 0, 0, down, left, top]);
    if (flipColumns) matrix.multiplySelf(new DOMMatrix([-1, 0, 0, 1, this.shown.columns, 0]));
    if (flipRows) matrix.multiplySelf(new DOMMatrix([1, 0, 0, -1, 0, this.shown.rows]));
    if (transpose) matrix.multiplySelf(new DOMMatrix([0, 1, 1, 0, 0, 0]));
    return matrix;
  }

  /** A place on the stage as what lies there: { slice, row, column } of the source grid, value, or null outside. */
  at(x, y) {
    if (!this.shown) return null;
    const { left, top, across, down } = this._placement();
    const column = Math.floor((x - left) / across), row = Math.floor((y - top) / down);
    if (column < 0 || row < 0 || column >= this.shown.columns || row >= this.shown.rows) return null;
    const source = this.matrix().inverse().transformPoint(new DOMPoint(x, y));
    const place = row * this.shown.columns + column;
    const value = this.shown.kind === "rgb8" ? [...this.shown.values.subarray(3 * place, 3 * place + 3)] : this.shown.values[place];
    return { slice: this.index, row: source.y - 0.5, column: source.x - 0.5, value };
  }

  /** The finding whose area lies at a place of the stage, the smallest on top; null: none. */
  findingAt(x, y) {
    const context = this.canvas.getContext("2d");
    const source = this.shown && this.matrix().inverse().transformPoint(new DOMPoint(x, y));
    context.setTransform(1, 0, 0, 1, 0, 0);
    const hit = (this.marks ?? []).filter((mark) =>
      source && !mark.dashed && !this.hidden.has(mark.place) && context.isPointInPath(mark.path, source.x, source.y, "evenodd"));
    return hit.at(-1)?.place ?? null;
  }

  // --- Drawing ------------------------------------------------------------------------------------------------------

  draw() {
    const { canvas, stage } = this;
    const box = stage.getBoundingClientRect(), ratio = window.devicePixelRatio || 1;
    const width = Math.max(1, Math.round(box.width * ratio)), height = Math.max(1, Math.round(box.height * ratio));
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, width, height);
    this._scale();
    if (!this.shown || !box.width) return;
    const { left, top, across, down } = this._placement();
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.imageSmoothingEnabled = Math.min(across, down) < 6;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.source, left, top, this.shown.columns * across, this.shown.rows * down);
    for (const mark of this.marks ?? []) if (!this.hidden.has(mark.place)) this._mark(context, mark);
    this._pointed(context);
  }

  _pointed(context) {
    const { pointed } = this;
    const here = pointed && pointed.slice === this.index && pointed.job_key === this.slices.job && pointed.part === this.part.part;
    this.stage.toggleAttribute("data-pointed", Boolean(here));
    if (!here) return;
    const { x, y } = this.matrix().transformPoint(new DOMPoint(pointed.column + 0.5, pointed.row + 0.5));
    for (const [width, colour] of [[4, "#000"], [2, "#fff"]]) {
      context.lineWidth = width;
      context.strokeStyle = colour;
      context.beginPath();
      context.arc(x, y, 9, 0, 2 * Math.PI);
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        context.moveTo(x + 5 * dx, y + 5 * dy);
        context.lineTo(x + 14 * dx, y + 14 * dy);
      }
      context.stroke();
    }
  }

  _mark(context, mark) {
    const path = new Path2D(), matrix = this.matrix();
    path.addPath(mark.path, matrix);
    const selected = mark.place === this.selected;
    if (this.filled) {
      context.globalAlpha = selected ? 0.4 : 0.28;
      context.fillStyle = mark.colour;
      context.fill(path, "evenodd");
      context.globalAlpha = 1;
    }
    if (this.contours || selected) {
      context.lineWidth = selected ? LINE + 0.7 : LINE;
      context.lineJoin = "round";
      context.strokeStyle = mark.colour;
      context.setLineDash(mark.dashed ? [6, 4] : []);
      context.stroke(path);
      context.setLineDash([]);
    }
    const corner = mark.dashed ? lowest(mark.loops, matrix) : topmost(mark.loops, matrix);  // a proposal lies on a finding
    if (!corner) return;
    const above = mark.dashed ? corner.y + 18 : Math.max(16, corner.y - 6);
    context.font = "600 14px Inter, 'Segoe UI', system-ui, sans-serif";
    context.textAlign = "center";
    context.lineWidth = 3;
    context.strokeStyle = "#000";
    const label = mark.corrected ? `${mark.label} (corrected)` : mark.label;
    context.strokeText(label, corner.x, above);
    context.fillStyle = mark.colour;
    context.fillText(label, corner.x, above);
  }

  _letters() {
    for (const [side, element] of Object.entries(this.letters)) element.textContent = this.part.letters?.[side] ?? "";
  }

  _scale() {
    const perMm = this.shown ? this._placement().perMm : null;
    const mm = perMm && SCALES_MM.find((one) => one <= 100 && one * perMm <= this.stage.clientWidth * 0.4);
    this.scale.hidden = !mm;
    if (!mm) return;
    this.scale.textContent = mm >= 10 ? `${mm / 10} cm` : `${mm} mm`;
    this.scale.style.width = `${mm * perMm}px`;
  }
}

function pathOf(loops) {
  const path = new Path2D();
  for (const loop of loops) {
    loop.forEach(([x, y], place) => (place ? path.lineTo(x, y) : path.moveTo(x, y)));
    path.closePath();
  }
  return path;
}

function topmost(loops, matrix) {
  const largest = loops.reduce((best, loop) => (loop.length > (best?.length ?? 0) ? loop : best), null);
  return largest?.map(([x, y]) => matrix.transformPoint(new DOMPoint(x, y)))
    .reduce((best, point) => (!best || point.y < best.y ? point : best), null);
}

const lowest = (loops, matrix) => loops.flat().map(([x, y]) => matrix.transformPoint(new DOMPoint(x, y)))
  .reduce((best, point) => (!best || point.y > best.y ? point : best), null);

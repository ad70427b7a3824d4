// Drawing on slices that the node makes, for parts that are no volume: a radiograph, a tilted gantry, gaps of several
// widths. The same tools as in three planes, on one plane: that of the slice.

import { base, bus, tell } from "./page.js";

export class Flat {
  /** A view in `host` of a part. `grid`: what the node says of it. `values`, `colours`: as in planes.js. */
  static async open(host, path, { window, values, colours, grid, letters = null, pixel_mm = null }) {
    const view = new Flat(host, path, grid, values);
    Object.assign(view, { letters, pixel_mm });
    view.setColours(colours);
    view.window = window;
    await view.showSlice(Math.floor(grid.shape[0] / 2));
    return view;
  }

  constructor(host, path, { shape, turn, pixel_spacing_mm: spacing }, values) {
    const [slices, rows, columns] = shape;
    Object.assign(this, { host, path, turn, values });
    this.dims = [columns, rows, slices];
    this.edges = spacing ? [spacing[1], spacing[0], 1] : [1, 1, 1];
    [this.width, this.height] = turn.transpose ? [rows, columns] : [columns, rows];
    this.opacity = 0.5;
    this.canvas = document.createElement("canvas");
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("aria-label", "slice to draw on");
    this.marks = new OffscreenCanvas(this.width, this.height);
    this.listening = new AbortController();
    host.replaceChildren(this.canvas);
    this.canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.scroll(event, event.deltaY > 0 ? 1 : -1);
    }, { signal: this.listening.signal, passive: false });
    bus.addEventListener("window", ({ detail }) => this.setWindow(detail), { signal: this.listening.signal });
    this.resized = new ResizeObserver(() => this._draw());
    this.resized.observe(host);
  }

  close() {
    this.listening.abort();
    this.resized.disconnect();
    this.canvas.remove();
  }

  setColours(colours) {
    this.colours = colours.map((one) => [1, 3, 5].map((n) => parseInt(one.slice(n, n + 2), 16)));
  }

  setOpacity(opacity) {
    this.opacity = opacity;
    this._draw();
  }

  setWindow(window) {
    this.window = window;
    return this.showSlice(this.slice);
  }

  show(place) {
    return this.showSlice(place[2]);
  }

  get place() {
    return [Math.floor(this.dims[0] / 2), Math.floor(this.dims[1] / 2), this.slice];
  }

  async showSlice(slice) {
    this.slice = slice;
    const picture = new Image();
    const window = this.window ? `?window=${this.window.centre},${this.window.width}` : "";
    picture.src = `${base}${this.path}/slices/${slice}${window}`;
    this.refresh();
    await picture.decode().catch(() => null);
    if (this.slice !== slice) return;
    this.picture = picture.naturalWidth ? picture : null;
    this._draw();
  }

  scroll(_event, by) {
    const next = Math.max(0, Math.min(this.dims[2] - 1, this.slice + by));
    if (next === this.slice) return;
    this.showSlice(next);
    tell("moved", { place: this.place });
  }

  refresh() {
    const pen = this.marks.getContext("2d");
    const marks = pen.createImageData(this.width, this.height);
    const area = this.dims[0] * this.dims[1];
    for (let y = 0, n = 0; y < this.height; y++) {
      for (let x = 0; x < this.width; x++, n += 4) {
        const [column, row] = this._source(x, y);
        const value = this.values(column + this.dims[0] * row + area * this.slice);
        if (!value) continue;
        [marks.data[n], marks.data[n + 1], marks.data[n + 2]] = this.colours[value - 1];
        marks.data[n + 3] = 255;
      }
    }
    pen.putImageData(marks, 0, 0);
    cancelAnimationFrame(this.due);
    this.due = requestAnimationFrame(() => this._draw());
  }

  pick(event) {
    const { left, top } = this.canvas.getBoundingClientRect();
    const [scale, x0, y0] = this._fit();
    const x = Math.floor((event.clientX - left - x0) / scale);
    const y = Math.floor((event.clientY - top - y0) / scale);
    if (x < 0 || y < 0 || x >= this.width || y >= this.height) return null;
    return { axis: 2, place: [...this._source(x, y), this.slice] };
  }

  where([column, row]) {
    const { left, top } = this.canvas.getBoundingClientRect();
    const [scale, x0, y0] = this._fit();
    let [x, y] = this.turn.transpose ? [row, column] : [column, row];
    if (this.turn.flip_columns) x = this.width - 1 - x;
    if (this.turn.flip_rows) y = this.height - 1 - y;
    return [left + x0 + (x + 0.5) * scale, top + y0 + (y + 0.5) * scale];
  }

  /** Column and row of the source grid of a pixel that is shown. */
  _source(x, y) {
    const across = this.turn.flip_columns ? this.width - 1 - x : x;
    const down = this.turn.flip_rows ? this.height - 1 - y : y;
    return this.turn.transpose ? [down, across] : [across, down];
  }

  _fit() {
    const { clientWidth, clientHeight } = this.host;
    const scale = Math.min(clientWidth / this.width, clientHeight / this.height);
    return [scale, (clientWidth - scale * this.width) / 2, (clientHeight - scale * this.height) / 2];
  }

  _draw() {
    const { clientWidth, clientHeight } = this.host;
    Object.assign(this.canvas, { width: clientWidth, height: clientHeight });
    const pen = this.canvas.getContext("2d");
    const [scale, x, y] = this._fit();
    pen.imageSmoothingEnabled = false;
    if (this.picture) pen.drawImage(this.picture, x, y, scale * this.width, scale * this.height);
    pen.globalAlpha = this.opacity;
    pen.drawImage(this.marks, x, y, scale * this.width, scale * this.height);
    pen.globalAlpha = 1;
    this._sides(pen, clientWidth, clientHeight);
    this._scale(pen, scale, clientHeight);
  }

  /** Which side of the patient each edge is, where the image says so. */
  _sides(pen, width, height) {
    const at = { left: [14, height / 2], right: [width - 14, height / 2], top: [width / 2, 16], bottom: [width / 2, height - 14] };
    Object.assign(pen, { font: "600 16px system-ui, sans-serif", textAlign: "center", textBaseline: "middle" });
    for (const [side, [x, y]] of Object.entries(at)) written(pen, this.letters?.[side] ?? "", x, y);
    this.host.dataset.letters = Object.values(this.letters ?? {}).join(" ");
  }

  /** A bar that is so long in the patient, where pixels have a size. */
  _scale(pen, scale, height) {
    const across = this.pixel_mm?.[this.turn.transpose ? 0 : 1];
    const mm = across && [100, 50, 20, 10, 5, 2, 1].find((one) => (one * scale) / across <= this.host.clientWidth * 0.4);
    if (!mm) return;
    pen.fillStyle = "#fff";
    pen.fillRect(16, height - 15, (mm * scale) / across, 3);
    pen.textAlign = "left";
    written(pen, mm >= 10 ? `${mm / 10} cm` : `${mm} mm`, 16, height - 27);
  }
}

function written(pen, text, x, y) {
  Object.assign(pen, { lineWidth: 3, strokeStyle: "#000", fillStyle: "#fff" });
  pen.strokeText(text, x, y);
  pen.fillText(text, x, y);
}

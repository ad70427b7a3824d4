// The slider as a map: a coloured line a finding on the slices where it lies. A click or a drag goes there.

export class Strip {
  /** `map`: the element, a slider. `go(slice)`: called for where the reader wants to be. */
  constructor(map, go) {
    this.map = map;
    this.go = go;
    this.knob = document.createElement("div");
    this.knob.className = "knob";
    this.lines = document.createElement("div");
    this.lines.className = "lines";
    map.replaceChildren(this.lines, Object.assign(document.createElement("div"), { className: "track" }), this.knob);
    map.addEventListener("pointerdown", (event) => {
      map.setPointerCapture(event.pointerId);
      this.dragging = true;
      this._to(event);
    });
    map.addEventListener("pointermove", (event) => this.dragging && this._to(event));
    for (const end of ["pointerup", "pointercancel"]) map.addEventListener(end, () => (this.dragging = false));
    map.addEventListener("keydown", (event) => this._key(event));
  }

  /** `findings`: those of the part, each with colour, label and slices. */
  show(count, findings) {
    this.count = count;
    this.map.setAttribute("aria-valuemax", String(count));
    const drawn = findings.filter((finding) => finding.slices.length);
    const step = Math.min(6, 18 / Math.max(drawn.length, 1));
    this.lines.replaceChildren(...drawn.flatMap((finding, place) => finding.slices.map(([first, last]) => {
      const line = document.createElement("div");
      line.className = "seg";
      line.title = `${finding.label}: slices ${first + 1} to ${last + 1}`;
      line.dataset.place = finding.place;
      Object.assign(line.style, {
        left: `${(100 * first) / count}%`, width: `${(100 * (last - first + 1)) / count}%`, top: `${place * step}px`,
        height: `${Math.max(2, step - 2)}px`, background: finding.colour,
      });
      return line;
    })));
  }

  at(slice, name = "") {
    this.slice = slice;
    this.map.setAttribute("aria-valuenow", String(slice + 1));
    this.map.setAttribute("aria-valuetext", `slice ${slice + 1} of ${this.count}${name ? `, ${name}` : ""}`);
    this.knob.style.left = `${(100 * (slice + 0.5)) / Math.max(this.count, 1)}%`;
  }

  off(hidden) {
    for (const line of this.lines.children) line.classList.toggle("off", hidden.has(line.dataset.place));
  }

  _to(event) {
    const box = this.map.getBoundingClientRect();
    const share = (event.clientX - box.left) / box.width;
    this.go(Math.max(0, Math.min(this.count - 1, Math.floor(share * this.count))));
  }

  _key(event) {
    const steps = { ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1, PageUp: -10, PageDown: 10 };
    const wanted = event.key === "Home" ? 0 : event.key === "End" ? this.count - 1
      : steps[event.key] ? this.slice + steps[event.key] : null;
    if (wanted === null) return;
    event.preventDefault();
    event.stopPropagation();
    this.go(Math.max(0, Math.min(this.count - 1, wanted)));
  }
}

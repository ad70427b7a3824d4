// What a pointer does on a view: strokes of brush and eraser, outlines to fill, the crosshair, the window.

import { tell } from "./page.js";

export class Strokes {
  /** `drawing`: {view, mask, tool, size, changed(), words(text)}; `mask` null: only the crosshair is moved. */
  constructor(drawing) {
    this.drawing = drawing;
    this.listening = new AbortController();
    const { signal } = this.listening;
    const canvas = drawing.view.canvas;
    canvas.style.touchAction = "none";
    canvas.addEventListener("pointerdown", (event) => this._down(event), { signal });
    canvas.addEventListener("pointermove", (event) => this._move(event), { signal });
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, (event) => this._up(event), { signal });
    }
  }

  close() {
    this.listening.abort();
  }

  _down(event) {
    const { view, mask, tool } = this.drawing;
    view.canvas.focus({ preventScroll: true });
    view.canvas.setPointerCapture?.(event.pointerId);
    if (event.button === 2) {
      this.windowing = view.window && { from: [event.clientX, event.clientY], was: view.window };
      return;
    }
    if (event.button !== 0) return;
    const picked = view.pick(event);
    if (!picked) return;
    if (!mask || event.ctrlKey) {
      this.moving = true;
      this._crosshair(picked.place);
      return;
    }
    this.axis = picked.axis;
    this.outline = [picked.place];
    mask.begin();
    if (tool !== "fill") this._draw(picked.place, picked.place);
  }

  _move(event) {
    const { view } = this.drawing;
    if (this.windowing) return this._window(event);
    if (this.moving) {
      const picked = view.pick(event);
      return picked && this._crosshair(picked.place);
    }
    if (!this.outline) return undefined;
    for (const one of event.getCoalescedEvents?.() ?? [event]) this._to(one);
    return this._to(event);  // the newest point too: coalesced events may lack it
  }

  _to(event) {
    const { view, tool } = this.drawing;
    const picked = view.pick(event, this.axis);
    const last = this.outline.at(-1);
    if (!picked || picked.place.every((one, n) => one === last[n])) return;
    this.outline.push(picked.place);
    if (tool !== "fill") this._draw(last, picked.place);
  }

  _up(event) {
    const { mask, tool } = this.drawing;
    this.windowing = this.moving = null;
    if (!this.outline) return;
    if (event.type === "pointerup") this._to(event);
    if (tool === "fill") this._fill(mask);
    this.outline = null;
    mask.end();
    this.drawing.changed();
  }

  _draw(from, to) {
    const { view, mask, tool, size } = this.drawing;
    mask.brush(this.axis, from, to, size, tool === "erase" ? 0 : 1, view.edges);
    this._shown();
  }

  _fill(mask) {
    if (this.outline.length > 1) mask.polygon(this.axis, this.outline, 1);
    else if (!mask.hole(this.axis, this.outline[0])) {
      this.drawing.words("Nothing is filled: the outline around this point is open. Close it, or draw around what to fill.");
    }
    this._shown();
  }

  _shown() {
    const { view, mask } = this.drawing;
    const box = mask.takeBox();
    if (box) view.refresh(box);
    this.drawing.counted();
  }

  _crosshair(place) {
    this.drawing.view.show(place);
    tell("moved", { place });
  }

  _window(event) {
    const { from: [x, y], was } = this.windowing;
    const step = Math.max(was.width, 1) / 250;
    const window = { width: Math.max(1, was.width + (event.clientX - x) * step), centre: was.centre + (event.clientY - y) * step };
    tell("window", window);
  }
}

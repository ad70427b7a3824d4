// Mouse, wheel and touch on a view. Left drag: window. Right drag: zoom. Middle or Shift drag: pan. Wheel: slices, with
// Ctrl zoom. One finger: slices; two fingers: zoom and pan. A click without a drag is a place.

const MOVED = 4;
const WHEEL = 60;
const FINGER = 14;

export function listen(view) {
  const { stage } = view;
  const fingers = new Map();
  let drag = null, wheel = 0;

  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    const box = stage.getBoundingClientRect();
    if (event.ctrlKey) return view.zoomBy(Math.exp(-event.deltaY / 300), event.clientX - box.left, event.clientY - box.top);
    wheel += event.deltaMode ? event.deltaY * 30 : event.deltaY;
    const steps = Math.trunc(wheel / WHEEL) || (Math.abs(event.deltaY) >= WHEEL ? Math.sign(event.deltaY) : 0);
    if (!steps) return;
    wheel = 0;
    view.go(view.index + steps);
  }, { passive: false });

  stage.addEventListener("contextmenu", (event) => event.preventDefault());
  stage.addEventListener("dblclick", () => view.reset());

  stage.addEventListener("pointerdown", (event) => {
    if (event.target.closest("button, a")) return;
    stage.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, point(event));
    const kind = event.pointerType === "touch" ? "scroll"
      : event.button === 1 || event.shiftKey ? "pan" : event.button === 2 ? "zoom" : "window";
    drag = { kind, from: point(event), last: point(event), moved: false, slice: view.index, window: view.window };
    if (fingers.size === 2) drag = { kind: "pinch", moved: true, ...spread(fingers) };
  });

  stage.addEventListener("pointermove", (event) => {
    const box = stage.getBoundingClientRect();
    if (!fingers.has(event.pointerId)) {
      return view.told("pointer", view.at(event.clientX - box.left, event.clientY - box.top));
    }
    fingers.set(event.pointerId, point(event));
    if (!drag) return;
    if (drag.kind === "pinch") return pinch(view, drag, fingers, box);
    const now = point(event), x = now.x - drag.from.x, y = now.y - drag.from.y;
    drag.moved ||= Math.hypot(x, y) > MOVED;
    if (!drag.moved) return;
    if (drag.kind === "window") dragWindow(view, drag, x, y);
    if (drag.kind === "scroll") view.go(drag.slice + Math.round(y / FINGER));
    if (drag.kind === "zoom") view.zoomBy(Math.exp((drag.last.y - now.y) / 200), drag.from.x - box.left, drag.from.y - box.top);
    if (drag.kind === "pan") {
      view.pan = { x: view.pan.x + now.x - drag.last.x, y: view.pan.y + now.y - drag.last.y };
      view.draw();
    }
    drag.last = now;
  });

  const up = (event) => {
    const clicked = drag && !drag.moved && event.type === "pointerup" && event.button === 0;
    fingers.delete(event.pointerId);
    if (!fingers.size) drag = null;
    if (!clicked) return;
    const box = stage.getBoundingClientRect();
    const x = event.clientX - box.left, y = event.clientY - box.top;
    const there = view.at(x, y);
    if (there) view.told("point", { ...there, finding: view.findingAt(x, y) });
  };
  stage.addEventListener("pointerup", up);
  stage.addEventListener("pointercancel", up);
  stage.addEventListener("pointerleave", () => view.told("pointer", null));
}

const point = (event) => ({ x: event.clientX, y: event.clientY });

/** To the right widens, upwards darkens: as far as the window is wide, so that narrow ones are set finely. */
function dragWindow(view, drag, x, y) {
  if (!drag.window) return;
  const step = Math.max(drag.window.width, 1e-3) / 250;
  view.setWindow({
    name: "", centre: drag.window.centre + y * step, width: Math.max(step, drag.window.width * Math.exp(x / 250)),
  });
}

function spread(fingers) {
  const [one, other] = [...fingers.values()];
  return { middle: { x: (one.x + other.x) / 2, y: (one.y + other.y) / 2 }, apart: Math.hypot(one.x - other.x, one.y - other.y) };
}

function pinch(view, drag, fingers, box) {
  if (fingers.size < 2) return;
  const now = spread(fingers);
  view.zoomBy(now.apart / Math.max(drag.apart, 1), now.middle.x - box.left, now.middle.y - box.top);
  view.pan = { x: view.pan.x + now.middle.x - drag.middle.x, y: view.pan.y + now.middle.y - drag.middle.y };
  Object.assign(drag, now);
  view.draw();
}

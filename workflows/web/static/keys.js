// Keys of a page: each owner binds its own, `?` shows all of them. Nothing is taken while somebody types.

const bound = new Map();
const STORE = "medseg.keys";
const EVERYWHERE = ["?", "j", "k", "n", "t", "d"];
const NAMES = { ArrowUp: "↑", ArrowDown: "↓", ArrowLeft: "←", ArrowRight: "→", " ": "Space", Escape: "Esc" };

const WHILE_DRAWING = {
  b: "brush", e: "eraser", f: "fill", "[": "smaller brush", "]": "larger brush", z: "undo a stroke", y: "redo it",
  s: "save the correction", Escape: "leave",
};

export const singleKeys = () => localStorage.getItem(STORE) !== "off";

/** Have a key do something. `key` as in KeyboardEvent.key, with "Ctrl+" or "Shift+" in front where it needs that. */
export function bind(key, what, action) {
  bound.set(key, { what, action });
}

function nameOf(event) {
  const control = event.ctrlKey || event.metaKey ? "Ctrl+" : "";
  const shift = event.shiftKey && event.key.length > 1 ? "Shift+" : "";
  return control + shift + event.key;
}

const types = (element) =>
  element.closest?.("input:not([type=checkbox]):not([type=radio]):not([type=range]), textarea, select, [contenteditable]");

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.altKey || event.isComposing) return;
  const name = nameOf(event);
  const mode = document.getElementById("main")?.dataset.mode ?? "slices";
  if (mode !== "slices" && !EVERYWHERE.includes(event.key)) return;  // drawing has keys of its own
  if (document.querySelector("dialog[open]") || (types(event.target) && !name.startsWith("Ctrl+"))) return;
  const found = bound.get(name) ?? (event.key.length === 1 ? bound.get(name.toLowerCase()) : undefined);
  if (!found || (event.key.length === 1 && !name.startsWith("Ctrl+") && !singleKeys())) return;
  if (event.target.closest?.("[role=slider]") && /^(Arrow|Page|Home|End)/.test(event.key)) return;  // its own
  if (event.target.closest?.("[role=tab]") && /^Arrow(Left|Right)/.test(event.key)) return;
  event.preventDefault();
  found.action(event);
});

function shown(key) {
  return key.split("+").filter(Boolean).map((part) => `<kbd></kbd>`).join(" ");
}

/** The dialog with all keys. */
export function showKeys() {
  const dialog = document.getElementById("keys");
  if (!dialog) return;
  const drawing = document.querySelector("[data-mode-button=draw]") ? Object.entries(WHILE_DRAWING) : [];
  const all = [...[...bound].map(([key, { what }]) => [key, what]), ...drawing.map(([key, what]) => [key, `while drawing: ${what}`])];
  const rows = all.filter(([, what]) => what).map(([key, what]) => {
    const row = document.createElement("tr");
    const keys = document.createElement("td");
    keys.innerHTML = shown(key);
    keys.querySelectorAll("kbd").forEach((kbd, place) => {
      const part = key.split("+").filter(Boolean)[place];
      kbd.textContent = NAMES[part] ?? part;
    });
    if (key === "+") { keys.innerHTML = "<kbd>+</kbd>"; }
    const told = document.createElement("td");
    told.textContent = what;
    row.append(keys, told);
    return row;
  });
  dialog.querySelector("tbody").replaceChildren(...rows);
  const toggle = document.getElementById("keys-on");
  toggle.checked = singleKeys();
  toggle.onchange = () => localStorage.setItem(STORE, toggle.checked ? "on" : "off");
  dialog.showModal();
}

bind("?", "all keys", showKeys);

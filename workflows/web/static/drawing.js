// Three planes and drawing over the study page's slices: what is opened, which finding is corrected, saved, kept.
//
// It listens for `mode` {name: "planes" | "draw" | "slices", missed}, and tells `corrected`
// {place, digest, job_key, part, voxels, ml} once a mask is saved; `place` is null for something that was missed.

import { moment } from "./dates.js";
import { bus, colour, send, tell } from "./page.js";
import { draft, dropDraft, keepDraft } from "./drafts.js";
import { Flat } from "./flat.js";
import { Mask } from "./mask.js";
import { fetchMask, packed } from "./nifti.js";
import { Planes } from "./planes.js";
import { Strokes } from "./strokes.js";
import { state, study, view as slices } from "./study.js";

const root = document.getElementById("drawing");
const part = (name) => root.querySelector(`[data-part="${name}"]`);
const OWN = 1, ADDED = 2, REMOVED = 3, FIRST = 4;
const ADDED_COLOUR = "#7fdcb4", REMOVED_COLOUR = "#ff9d94", MISSED_COLOUR = "#ffe08a";
const SIZES = [1, 3, 5, 7, 9, 13, 19, 29, 49, 79];

export const drawing = {
  mode: "slices", view: null, mask: null, tool: "brush", size: 3, target: null, saved: true,
  words(text, kind = "") {
    Object.assign(part("words"), { textContent: text, className: `words ${kind}` });
  },
  counted,
  changed,
};
let here = null;  // {job_key, part, path, grid, findings, all, header}
let strokes = null, opening = null, keeping = 0, showChanges = true;

// --- Opening and leaving ---------------------------------------------------------------------------------------------

async function open(mode, missed = false) {
  root.hidden = false;
  root.dataset.mode = drawing.mode = mode;
  for (const one of root.querySelectorAll("[data-draw]")) one.hidden = mode !== "draw";
  if (mode === "planes" && here && !here.planes) shut();
  if (!here || here.job_key !== state.job_key || here.part !== state.part) await load();
  if (!here) return;
  if (mode === "draw") await choose(missed ? "" : wanted());
  else {
    drawing.mask = drawing.target = null;
    shownAnew();
  }
  drawing.view.canvas.focus({ preventScroll: true });
}

async function load() {
  shut();
  const { job_key, part: number } = state;
  const path = `/studies/${study.study.study_uid}/jobs/${job_key}/parts/${number}`;
  const signal = (opening = new AbortController()).signal;
  drawing.words("Opening…");
  try {
    const grid = await (await send("GET", `${path}/grid`)).json();
    const why = !grid.planes ? `No three planes: ${grid.why}.` : grid.assets ? "" : root.dataset.missing;
    if (why && drawing.mode === "planes") throw new Error(why);
    const job = study.jobs.find((one) => one.job_key === job_key);
    const findings = job.answers.filter((one) => one.part === number).flatMap((one) => one.findings);
    here = { job_key, part: number, path, grid, findings, all: null, planes: !why };
    const { letters, pixel_mm } = job.parts[number];
    const options = { values, colours: colours(), window: windowOf(job.parts[number]), grid, letters, pixel_mm, signal, progress };
    drawing.view = await (why ? Flat : Planes).open(part("view"), path, options);
    strokes = new Strokes(drawing);
    drawing.view.show(startPlace());
    drawing.words(why);
    await marks(signal);
  } catch (error) {
    if (signal.aborted) return;
    shut();
    drawing.words(error.message, "bad");
  }
}

function progress(bytes) {
  drawing.words(`Opening… ${(bytes / 1e6).toFixed(0)} MB`);
}

/** The marks of all findings of the part, each in its colour; the first to come is shown first. */
async function marks(signal) {
  root.dataset.marks = "coming";
  const { grid, findings, path } = here;
  here.all = new Uint8Array(grid.shape.reduce((product, one) => product * one, 1));
  for (const [n, finding] of findings.entries()) {
    const { voxels } = await fetchMask(`${path}/masks/${numbers(finding.place)}.nii.gz`, signal);
    const ends = [voxels.indexOf(1), voxels.lastIndexOf(1)];
    if (ends[0] < 0) continue;
    for (let i = ends[0]; i <= ends[1]; i++) if (voxels[i]) here.all[i] = FIRST + n;
    const [, rows, columns] = grid.shape;
    const [first, last] = ends.map((i) => Math.floor(i / (rows * columns)));
    drawing.view?.refresh([[0, 0, first], [columns - 1, rows - 1, last]]);
  }
  root.dataset.marks = "all";
}

function shut() {
  opening?.abort();
  strokes?.close();
  drawing.view?.close();
  part("view").replaceChildren();
  here = strokes = drawing.view = drawing.mask = drawing.target = null;
  drawing.saved = true;
}

async function leave() {
  if (!drawing.saved && !(await ask())) return tell("mode", { name: "draw" });
  shut();
  drawing.mode = "slices";
  root.hidden = true;
  drawing.words("");
  return undefined;
}

/** Asks what becomes of strokes that are not saved; false: go on drawing. */
async function ask() {
  const dialog = part("ask");
  if (!dialog.open) dialog.showModal();
  const answer = await new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue), { once: true });
  });
  dialog.returnValue = "";
  if (answer === "save") return save();
  if (answer === "throw") await dropDraft(keyOf());
  if (answer === "keep") await kept();
  return answer === "throw" || answer === "keep";
}

// --- Which finding is corrected --------------------------------------------------------------------------------------

function wanted() {
  const selected = here.findings.find((one) => one.place === state.finding);
  return drawing.target?.place ?? selected?.place ?? here.findings[0]?.place ?? "";
}

async function choose(place, start = place ? "finding" : "empty") {
  if (drawing.mask && drawing.target.place === place && !drawing.target.anew) return undefined;
  const finding = here.findings.find((one) => one.place === place);
  drawing.target = { place, label: finding?.label ?? "something missed", colour: finding?.colour ?? MISSED_COLOUR };
  const draftOf = await draft(keyOf());
  drawing.target.start = draftOf?.start ?? start;
  const wantedMask = drawing.target.start === "finding" ? numbers(place) : "empty";
  const { header, voxels } = await fetchMask(`${here.path}/masks/${wantedMask}.nii.gz`);
  const { shape } = here.grid;
  here.header = header;
  drawing.mask = new Mask([shape[2], shape[1], shape[0]], voxels);
  drawing.saved = true;
  if (draftOf) {
    drawing.mask.apply(draftOf.voxels);
    drawing.saved = false;
    drawing.words(`Your draft of ${moment(new Date(draftOf.at))} is back. Save it, or start over.`);
  } else drawing.words("");
  chooser();
  shownAnew();
  return undefined;
}

async function startOver(start) {
  if (!drawing.saved && !(await ask())) return chooser();
  await dropDraft(keyOf());
  drawing.target.anew = true;
  return choose(drawing.target.place, start);
}

function chooser() {
  const options = here.findings.map((one) => new Option(one.label, one.place));
  part("finding").replaceChildren(...options, new Option("Something missed", ""));
  part("finding").value = drawing.target.place;
  part("start").value = drawing.target.start;
  part("start").querySelector("[value=finding]").disabled = !drawing.target.place;
}

// --- What is shown ---------------------------------------------------------------------------------------------------

function values(i) {
  const { mask } = drawing;
  const marked = here.all?.[i] ?? 0;
  if (!mask) return marked;
  const [now, was] = [mask.voxels[i], mask.start[i]];
  if (now) return showChanges && !was ? ADDED : OWN;
  if (was && showChanges) return REMOVED;
  return marked >= FIRST && here.findings[marked - FIRST].place === drawing.target.place ? 0 : marked;
}

function colours() {
  return [drawing.target?.colour ?? MISSED_COLOUR, ADDED_COLOUR, REMOVED_COLOUR, ...here.findings.map((one) => one.colour)];
}

function shownAnew() {
  drawing.view.setColours(colours());
  drawing.view.refresh();
  part("swatch").dataset.colour = drawing.target?.colour ?? "";
  colour(root);
  counted();
}

function counted() {
  const { mask } = drawing;
  if (!mask) return;
  const ml = mask.ml(here.grid.slice_voxel_ml);
  const size = `${mask.count.toLocaleString("en")} voxels${ml === null ? "" : `, ${ml.toFixed(ml < 10 ? 2 : 1)} ml`}`;
  part("count").textContent = size;
  part("difference").textContent = mask.changed ? `+${mask.added} −${mask.removed}` : "unchanged";
  part("undo").disabled = !mask.done.length;
  part("redo").disabled = !mask.undone.length;
  part("save").disabled = !mask.count || drawing.saved && !mask.changed;
}

function changed() {
  drawing.saved = false;
  counted();
  clearTimeout(keeping);
  keeping = setTimeout(kept, 250);
}

async function kept() {
  clearTimeout(keeping);
  if (drawing.saved || !drawing.mask) return;
  const { start } = drawing.target;
  const done = await keepDraft(keyOf(), { start, voxels: drawing.mask.difference(), at: Date.now() });
  root.dataset.kept = String(drawing.mask.added + drawing.mask.removed);
  if (!done) drawing.words("This browser keeps no drafts: save before you close it.", "warn");
}

// --- Saving ----------------------------------------------------------------------------------------------------------

async function save() {
  const { mask, target } = drawing;
  if (!mask?.count) return false;
  const { job_key, part: number, path, header } = here;
  drawing.words("Saving…");
  try {
    const body = await packed({ header, voxels: mask.voxels });
    const answer = await (await send("POST", `${path}/corrections`, body)).json();
    drawing.saved = true;
    clearTimeout(keeping);
    await dropDraft(keyOf());
    drawing.words(`Saved: ${target.label}, ${answer.voxels.toLocaleString("en")} voxels.`, "ok");
    if (!target.place) missed();
    tell("corrected", { place: target.place || null, job_key, part: number, ...answer });
    counted();
    return true;
  } catch (error) {
    drawing.words(`${error.message} Your drawing is kept in this browser.`, "bad");
    return false;
  }
}

/** What was drawn anew has no name yet: the form for what was missed asks for it, and is told where it lies. */
function missed() {
  const { mask } = drawing;
  const slice = mask.perSlice.indexOf(Math.max(...mask.perSlice));
  const [columns, area] = [mask.dims[0], mask.steps[2]];
  let row = 0, column = 0;
  for (let i = 0; i < area; i++) {
    if (!mask.voxels[slice * area + i]) continue;
    row += Math.floor(i / columns) / mask.perSlice[slice];
    column += (i % columns) / mask.perSlice[slice];
  }
  if (document.getElementById("missed-form")?.hidden) document.getElementById("missed-add").click();
  tell("point", { job_key: here.job_key, part: here.part, slice, row, column, finding: null });
  drawing.words("Saved. Say beside the images what it is.", "ok");
}

// --- Small things ----------------------------------------------------------------------------------------------------

function numbers(place) {
  return place.split("/").slice(1).join("/");
}

function keyOf() {
  const target = drawing.target?.place || `${here.job_key}/${here.part}/missed`;
  return [root.dataset.account, study.study.study_uid, target].join(" ");
}

function windowOf({ windows }) {
  const first = slices?.window ?? windows?.[0];
  return first && { centre: first.centre, width: first.width };
}

/** Where to look first: the slice that was shown, in the middle of what is marked there. */
function startPlace() {
  const [count, rows, columns] = here.grid.shape;
  const slice = Math.max(0, Math.min(count - 1, state.slice ?? Math.floor(count / 2)));
  return [Math.floor(columns / 2), Math.floor(rows / 2), slice];
}

export function tool(name) {
  drawing.tool = name;
  for (const one of root.querySelectorAll("[data-tool]")) one.setAttribute("aria-pressed", one.dataset.tool === name);
}

export function resize(by) {
  const at = SIZES.findIndex((one) => one >= drawing.size);
  drawing.size = SIZES[Math.max(0, Math.min(SIZES.length - 1, (at < 0 ? SIZES.length - 1 : at) + by))];
  part("size").textContent = `${drawing.size} px`;
}

function again(name) {
  if (drawing.mask?.[name]()) {
    drawing.view.refresh(drawing.mask.takeBox());
    changed();
  }
}

const KEYS = {
  b: () => tool("brush"), e: () => tool("erase"), f: () => tool("fill"), z: () => again("undo"), u: () => again("undo"),
  y: () => again("redo"), "[": () => resize(-1), "]": () => resize(1), s: () => save(),
};

const OTHERS = "dtm?123456jkv+-0";  // keys of the page that stay its own while one draws

const typing = (element) => element.closest?.("input[type=text], input[type=search], textarea, .side select");

addEventListener("keydown", (event) => {
  const { mode } = drawing;
  if (mode === "slices" || document.querySelector("dialog[open]") || typing(event.target)) return;
  if (event.altKey || event.metaKey || (event.ctrlKey && !"zy".includes(event.key))) return;
  const leaves = event.key === "Escape";
  const action = leaves ? () => tell("mode", { name: "slices" }) : mode === "draw" && KEYS[event.key.toLowerCase()];
  if (!action && (mode !== "draw" || event.key.length > 1 || OTHERS.includes(event.key))) return;
  event.stopImmediatePropagation();  // `u` takes a stroke back while one draws, not a verdict
  if (!action) return;
  event.preventDefault();
  action();
}, { capture: true });

root.addEventListener("click", ({ target }) => {
  const button = target.closest("button");
  if (button?.dataset.tool) tool(button.dataset.tool);
  else if (button?.dataset.key) KEYS[button.dataset.key]();
  else if (button?.dataset.mode) tell("mode", { name: button.dataset.mode });
});
part("finding").addEventListener("change", async ({ target }) => {
  const place = target.value;
  if (drawing.saved || (await ask())) await choose(place);
  else chooser();
});
part("start").addEventListener("change", ({ target }) => startOver(target.value));
part("opacity").addEventListener("input", ({ target }) => drawing.view?.setOpacity(target.valueAsNumber / 100));
part("changes").addEventListener("change", ({ target }) => {
  showChanges = target.checked;
  drawing.view?.refresh();
});
addEventListener("beforeunload", (event) => {
  if (!drawing.saved) event.preventDefault();
});
bus.addEventListener("mode", ({ detail }) => {
  if (detail.name === "slices") return drawing.mode !== "slices" && leave();
  return open(detail.name, detail.missed);
});
bus.addEventListener("shown", async ({ detail }) => {  // another series was chosen
  if (drawing.mode === "slices" || !here || (here.job_key === detail.job_key && here.part === detail.part)) return;
  await kept();
  drawing.saved = true;
  await open(drawing.mode);
});
bus.addEventListener("slice", ({ detail }) => {  // the slider, or a card
  if (!here || detail.job_key !== here.job_key || detail.part !== here.part) return;
  const { place } = drawing.view ?? {};
  if (place && place[2] !== detail.slice) drawing.view.show([place[0], place[1], detail.slice]);
});
bus.addEventListener("window", ({ detail }) => {
  const same = slices?.window?.centre === detail.centre && slices?.window?.width === detail.width;
  if (!same) slices?.setWindow?.(detail);
});
bus.addEventListener("moved", ({ detail }) => {
  if (slices?.go && slices.index !== detail.place[2]) slices.go(detail.place[2]);
});
bus.addEventListener("missing", async ({ detail }) => {  // the form for what was missed is open
  if (detail.place && drawing.mode === "draw" && here && (drawing.saved || (await ask()))) choose("");
});
bus.addEventListener("finding", ({ detail }) => {
  if (drawing.mode === "draw" && drawing.saved && here?.findings.some((one) => one.place === detail.place)) {
    choose(detail.place);
  }
});
tool("brush");

// The study page: which series, slice and finding are shown. Parts of the page talk over `bus` (page.js):
// `finding` {place}; `window` {centre, width}; `slice` {job_key, part, slice}; `point` {job_key, part, slice, row, column, finding}, a click;
// `verdict` {place, kind}; `corrected` {place, digest}; `mode` {name}; `reload`; `model`, told after it was fetched anew.

import { base, bus, colour, send, tell } from "./page.js";
import { bind } from "./keys.js";
import { Strip } from "./strip.js";
import { View } from "./viewer.js";
import { forget } from "./slices.js";
import { listed, words } from "./words.js";

export const study = JSON.parse(document.getElementById("model").textContent);
export const state = { job_key: "", part: 0, slice: 0, finding: null, mode: "slices", window: null };
const uid = study.study.study_uid;
const byId = (id) => document.getElementById(id);

export const jobOf = (key) => study.jobs.find((job) => job.job_key === key);
export const partOf = (key, number) => jobOf(key)?.parts.find((part) => part.part === number);
export const findingsOf = (key, number) =>
  (jobOf(key)?.answers ?? []).filter((answer) => answer.part === number).flatMap((answer) => answer.findings);
export const findingOf = (place) =>
  study.jobs.flatMap((job) => job.answers.flatMap((answer) => answer.findings)).find((one) => one.place === place);

export const view = new View(byId("stage"), heard);
const strip = new Strip(byId("map"), (slice) => view.go(slice));
let fetching = 0;

// --- What is shown ----------------------------------------------------------------------------------------------------

/** Fetch the model, with what the images of a job say of themselves. */
async function load(job_key) {
  const fresh = await (await send("GET", `/studies/${uid}/model?job=${encodeURIComponent(job_key)}`)).json();
  for (const job of fresh.jobs) {  // what is known of other jobs stays known
    const known = jobOf(job.job_key);
    job.parts = job.parts.map((part, place) => {
      const before = known?.parts[place];
      return part.pending && before && !before.pending && !before.trouble ? before : part;
    });
  }
  Object.assign(study, fresh);
  tell("model", study);
}

/** Show a part of a job, at a slice, or where its first finding is largest. */
export async function show(job_key, number = 0, slice = null, place = null) {
  clearTimeout(fetching);
  Object.assign(state, { job_key, part: number, finding: place });
  tabs();
  panel();
  try {
    if (!partOf(job_key, number) || partOf(job_key, number).pending) await load(job_key);
  } catch (error) {
    if (state.job_key === job_key) view.fail(error.message, "gone");
    return;
  }
  const part = partOf(job_key, number);
  if (state.job_key !== job_key || state.part !== number || !part) return;
  const findings = findingsOf(job_key, number);
  const chosen = findings.find((one) => one.place === place) ?? findings.find((one) => one.largest_slice !== null) ?? findings[0];
  strip.show(part.slices, findings);
  byId("map").hidden = part.slices < 2;
  windows(part);
  modes(part);
  mark(chosen?.place ?? null);
  await view.open(uid, job_key, part, slice ?? chosen?.largest_slice ?? Math.floor(part.slices / 2));
  tell("shown", { job_key, part: number });
}

/** Select a finding: its card, its outline, and the slice where it is largest. */
export function select(place, { jump = true } = {}) {
  const finding = findingOf(place);
  if (!finding) return;
  const [job_key] = place.split("/");
  const answer = jobOf(job_key).answers.find((one) => one.answer === finding.answer);
  if (job_key !== state.job_key || answer.part !== state.part) return void show(job_key, answer.part, null, place);
  mark(place);
  if (jump && finding.largest_slice !== null) view.go(finding.largest_slice);
}

function mark(place) {
  state.finding = view.selected = place;
  for (const card of document.querySelectorAll(".finding")) {
    const on = card.dataset.place === place;
    card.classList.toggle("on", on);
    card.setAttribute("aria-current", String(on));
    if (on && getComputedStyle(card.closest(".side")).overflowY !== "visible") card.scrollIntoView({ block: "nearest" });  // else the images would go
  }
  view.draw();
  tell("finding", { place });
}

function heard(name, detail) {
  if (name === "slice") {
    state.slice = detail;
    strip.at(detail, findingOf(state.finding)?.label);
    byId("place").textContent = view.count > 1 ? `slice ${detail + 1} / ${view.count}` : "";
    byId("stage").setAttribute("aria-label", words.slice(study, state, findingsOf(state.job_key, state.part)));
    tell("slice", { job_key: state.job_key, part: state.part, slice: detail });
  }
  if (name === "window") state.window = detail;
  if (name === "window" && view.window) tell("window", view.window);
  if (name === "window" || name === "pointer") shownValue(name === "pointer" ? detail : null);
  if (name === "point") {
    if (detail.finding && detail.finding !== state.finding) mark(detail.finding);
    tell("point", { job_key: state.job_key, part: state.part, ...detail });
  }
  if (name === "failed" && detail.why === "fetching") again();
  if (name === "again") again(0);
}

function again(wait = 2000) {
  clearTimeout(fetching);
  const { job_key, part, finding } = state;
  const known = partOf(job_key, part);
  fetching = setTimeout(() => {
    if (known) known.pending = true;
    show(job_key, part, null, finding);
  }, wait);
}

function shownValue(there) {
  const part = partOf(state.job_key, state.part);
  const set = view.window ? words.window(view.window) : "";
  const value = there ? words.value(there.value, part?.unit ?? "") : "";
  byId("window").textContent = [value, set].filter(Boolean).join(" · ");
  for (const button of byId("windows").children) {
    const on = view.window && Number(button.dataset.centre) === view.window.centre && Number(button.dataset.width) === view.window.width;
    button.setAttribute("aria-pressed", String(Boolean(on)));
  }
}

// --- Tabs, panel, toolbar ---------------------------------------------------------------------------------------------

function tabs() {
  const read = study.jobs.filter((job) => !job.question_by || job.answers.length);  // a question is no series
  const entries = read.flatMap((job) => (job.parts.length ? job.parts : [{ part: 0, name: "" }]).map((part) => ({ job, part })));
  const focused = byId("series").contains(document.activeElement);
  byId("series").hidden = entries.length < 2;
  byId("series").replaceChildren(...entries.map(({ job, part }) => {
    const on = job.job_key === state.job_key && part.part === state.part;
    const tab = Object.assign(document.createElement("button"), { className: `btn small${on ? " on" : ""}`, type: "button" });
    tab.append(Object.assign(document.createElement("bdi"), { textContent: words.series(job, part) }));
    tab.title = `${job.series}, ${job.protocol}`.slice(0, 300);
    tab.setAttribute("role", "tab");
    tab.setAttribute("aria-selected", String(on));
    tab.setAttribute("aria-controls", "stages");
    tab.tabIndex = on ? 0 : -1;
    const count = job.answers.filter((one) => one.part === part.part).flatMap((one) => one.findings).length;
    if (count) tab.append(Object.assign(document.createElement("i"), { className: "count", textContent: String(count) }));
    tab.addEventListener("click", () => show(job.job_key, part.part));
    return tab;
  }));
  if (focused) byId("series").querySelector("[aria-selected=true]")?.focus();
}

byId("series").addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!step) return;
  event.preventDefault();
  nextSeries(step);
  byId("series").querySelector("[aria-selected=true]").focus();
});

function nextSeries(step) {
  const all = [...byId("series").children];
  const at = all.findIndex((tab) => tab.getAttribute("aria-selected") === "true");
  all[(at + step + all.length) % all.length]?.click();
}

function panel() {
  for (const section of document.querySelectorAll(".side > .job")) section.hidden = section.dataset.job !== state.job_key;
  const several = (jobOf(state.job_key)?.parts.length ?? 0) > 1;
  for (const answer of document.querySelectorAll(`.side > .job[data-job="${state.job_key}"] .answer`)) {
    answer.hidden = several && Number(answer.dataset.part) !== state.part;
  }
}

function windows(part) {
  byId("windows").replaceChildren(...part.windows.slice(0, 6).map((window, place) => {
    const button = Object.assign(document.createElement("button"), { className: "btn", type: "button", textContent: window.name });
    Object.assign(button.dataset, { centre: window.centre, width: window.width });
    button.title = `${words.window(window)} (${place + 1})`;
    button.addEventListener("click", () => view.setWindow(window));
    return button;
  }));
}

function modes(part) {
  for (const button of document.querySelectorAll("[data-mode-button]")) {
    const planes = button.dataset.modeButton === "planes";
    button.disabled = Boolean(part.trouble) || (planes && !part.planes);
    button.title = planes && part.why_no_planes ? `No three planes: ${part.why_no_planes}` : "";
  }
}

for (const button of document.querySelectorAll("[data-mode-button]")) {
  button.addEventListener("click", () => tell("mode", { name: state.mode === button.dataset.modeButton ? "slices" : button.dataset.modeButton }));
}
bus.addEventListener("mode", ({ detail }) => {
  state.mode = byId("main").dataset.mode = detail.name;
  for (const button of document.querySelectorAll("[data-mode-button]")) {
    button.setAttribute("aria-pressed", String(button.dataset.modeButton === detail.name));
  }
});

function contours() {
  view.contours = !view.contours;
  byId("show-contours").setAttribute("aria-pressed", String(view.contours));
  view.draw();
}

function filled() {
  view.filled = !view.filled;
  byId("show-filled").setAttribute("aria-pressed", String(view.filled));
  view.draw();
}

byId("show-contours").addEventListener("click", contours);
byId("show-filled").addEventListener("click", filled);

function toggle(place) {
  if (!place) return;
  if (view.hidden.has(place)) view.hidden.delete(place);
  else view.hidden.add(place);
  document.querySelector(`.finding[data-place="${place}"] .eye`)?.setAttribute("aria-pressed", String(!view.hidden.has(place)));
  strip.off(view.hidden);
  view.draw();
}

function cards() {
  colour(document);
  for (const card of document.querySelectorAll(".finding")) {
    card.addEventListener("click", (event) => {
      if (event.target.closest(".eye")) return toggle(card.dataset.place);
      if (!event.target.closest("button, a, input, select, textarea, summary")) select(card.dataset.place);
    });
    card.addEventListener("keydown", (event) => {
      if (event.target === card && event.key === "Enter") select(card.dataset.place);
    });
  }
  for (const bar of document.querySelectorAll("[data-share]")) bar.style.width = `${100 * Number(bar.dataset.share)}%`;
  words.times(document);
}

// --- Keys -------------------------------------------------------------------------------------------------------------

function step(by) {
  const places = [...document.querySelectorAll(".side > .job:not([hidden]) .answer:not([hidden]) .finding")].map((one) => one.dataset.place);
  if (!places.length) return;
  const at = places.indexOf(state.finding);
  select(places[at < 0 ? 0 : (at + by + places.length) % places.length]);
}

const list = listed(uid);
const next = byId("next");
next.href = list.next ? `${base}/studies/${list.next}` : `${base}/worklist`;
byId("place-in-list").textContent = list.told;

bind("j", "next finding", () => step(1));
bind("k", "finding before", () => step(-1));
bind("ArrowDown", "next slice", () => view.go(view.index + 1));
bind("ArrowUp", "slice before", () => view.go(view.index - 1));
bind("PageDown", "ten slices on", () => view.go(view.index + 10));
bind("PageUp", "ten slices back", () => view.go(view.index - 10));
bind("Home", "first slice", () => view.go(0));
bind("End", "last slice", () => view.go(view.count - 1));
bind("ArrowRight", "next series", () => nextSeries(1));
bind("ArrowLeft", "series before", () => nextSeries(-1));
bind("c", "contours on and off", contours);
bind("f", "findings filled or not", filled);
bind("v", "the finding on and off", () => toggle(state.finding));
bind("+", "larger", () => view.zoomBy(1.25));
bind("-", "smaller", () => view.zoomBy(0.8));
bind("0", "whole image", () => view.reset());
for (let number = 1; number <= 6; number += 1) {
  bind(String(number), number === 1 ? "window presets: 1 to 6" : "", () => byId("windows").children[number - 1]?.click());
}
bind("n", "next study of the worklist", () => location.assign(next.href));
bind("t", "three planes and back", () => document.querySelector("[data-mode-button=planes]:enabled")?.click());
bind("d", "draw and back", () => document.querySelector("[data-mode-button=draw]:enabled")?.click());

bus.addEventListener("pointed", ({ detail }) => {  // where something was missed, until that is kept
  view.pointed = detail.place;
  view.draw();
});

// --- Beginning --------------------------------------------------------------------------------------------------------

bus.addEventListener("corrected", ({ detail }) => {
  forget(`/studies/${uid}/jobs/${detail.place?.split("/")[0] ?? state.job_key}/`);
  view.refresh();
});
bus.addEventListener("reload", () => load(state.job_key).then(() => view.refresh(), () => {}));

cards();
const first = study.jobs.find((job) => job.answers.some((answer) => answer.findings.length)) ?? study.jobs.find((job) => job.answers.length) ?? study.jobs[0];
const hash = decodeURIComponent(location.hash.slice(1));
if (findingOf(hash)) select(hash);
else if (first?.parts.length) {
  const seen = first.answers.find((answer) => answer.findings.length);
  show(first.job_key, seen?.part ?? first.parts[0].part);
} else {
  byId("tools").hidden = true;  // there is nothing to show, to draw on or to ask about
  view.part = { slices: 0, windows: [] };
  view.fail(words.nothing(study), "nothing");
  if (first) Object.assign(state, { job_key: first.job_key });
  panel();
}
import("./prior.js");
import("./live.js");

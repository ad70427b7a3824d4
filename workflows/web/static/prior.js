// The prior beside it: the same finding of the earlier study. Scrolled together where both lie in one frame of reference.

import { base, bus, send } from "./page.js";
import { dayOf } from "./dates.js";
import { bind } from "./keys.js";
import { View } from "./viewer.js";
import { Strip } from "./strip.js";
import { findingOf, jobOf, partOf, state, view } from "./study.js";
import { words } from "./words.js";

const button = document.getElementById("prior");
const stage = document.getElementById("stage-prior");
let prior = null;  // { view, strip, model, job, part, linked }
let open = false;

const wanted = () => jobOf(state.job_key)?.compared_with ?? null;

function offer() {
  const compared = wanted();
  button.hidden = !compared?.job_key;
  if (button.hidden) {
    if (open) close();
    return;
  }
  const time = button.querySelector("time");
  time.setAttribute("datetime", compared.date);
  time.textContent = dayOf(compared.date);
}

async function toggle() {
  if (button.hidden) return;
  if (open) return close();
  open = true;
  button.setAttribute("aria-pressed", "true");
  stage.hidden = false;
  const compared = wanted();
  if (prior?.study !== compared.study_uid || prior?.key !== compared.job_key) build(compared);
  try {
    const answer = await send("GET", `/studies/${compared.study_uid}/model?job=${compared.job_key}`);
    prior.model = await answer.json();
    prior.job = prior.model.jobs.find((job) => job.job_key === compared.job_key);
    if (!prior.job) throw new Error("The result that this one was compared with was replaced since.");
    await follow();
  } catch (error) {
    prior.view.fail(error.message, "gone");
  }
}

function build(compared) {
  stage.replaceChildren();
  const head = stage.appendChild(document.createElement("div"));
  head.className = "prior-head";
  const link = head.appendChild(document.createElement("a"));
  link.href = `${base}/studies/${compared.study_uid}`;
  link.textContent = `Prior ${dayOf(compared.date)}`;
  const told = head.appendChild(document.createElement("span"));
  const map = document.createElement("div");
  Object.assign(map, { className: "map", tabIndex: 0 });
  map.setAttribute("role", "slider");
  map.setAttribute("aria-label", "Slice of the prior");
  map.setAttribute("aria-valuemin", "1");
  const heard = (name, detail) => {
    if (name !== "slice") return;
    prior.strip.at(detail);
    told.textContent = `slice ${detail + 1} / ${prior.view.count}${prior.linked ? ", scrolled together" : ""}`;
  };
  prior = { study: compared.study_uid, key: compared.job_key };
  prior.view = new View(stage, heard);
  prior.strip = new Strip(map, (slice) => prior.view.go(slice));
  stage.append(map);
}

function close() {
  open = false;
  button.setAttribute("aria-pressed", "false");
  stage.hidden = true;
}

const byLabel = (label) => prior.job.answers.flatMap((answer) => answer.findings.map((one) => ({ ...one, part: answer.part })))
  .find((one) => one.label === label);

/** The same finding as is selected, where it is largest, or the slice at the same place of the patient. */
async function follow() {
  if (!open || !prior?.job) return;
  const same = byLabel(findingOf(state.finding)?.label);
  const number = same?.part ?? 0;
  const part = prior.job.parts.find((one) => one.part === number);
  if (!part) return prior.view.fail("The prior has no such images.", "gone");
  prior.linked = together(partOf(state.job_key, state.part), part);
  const slice = beside(part) ?? same?.largest_slice ?? Math.floor(part.slices / 2);
  const findings = prior.job.answers.filter((one) => one.part === number).flatMap((one) => one.findings);
  prior.strip.show(part.slices, findings);
  if (prior.part !== part) {
    prior.part = part;
    await prior.view.open(prior.study, prior.key, part, slice);
  } else await prior.view.go(slice);
  prior.view.selected = same?.place ?? null;
  if (view.window && part.unit === partOf(state.job_key, state.part)?.unit) prior.view.setWindow(view.window);
  prior.view.draw();
}

function together(one, other) {
  const [first, second] = [one?.places, other?.places];
  if (!first || !second || !first.frame_of_reference || first.frame_of_reference !== second.frame_of_reference) return false;
  const along = first.normal.reduce((sum, value, axis) => sum + value * second.normal[axis], 0);
  return along > 0.99;
}

/** The prior's slice nearest to the one that is shown; null where the two are not scrolled together. */
function beside(part) {
  if (!prior.linked) return null;
  const depth = partOf(state.job_key, state.part).places.depths[state.slice];
  return part.places.depths.reduce((best, one, place, all) => (Math.abs(one - depth) < Math.abs(all[best] - depth) ? place : best), 0);
}

button.addEventListener("click", toggle);
bind("p", "prior beside it", toggle);
bus.addEventListener("shown", () => { offer(); follow(); });
bus.addEventListener("finding", () => follow());
bus.addEventListener("slice", () => {
  if (open && prior?.part && prior.linked) prior.view.go(beside(prior.part));
});
offer();

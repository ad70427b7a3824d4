// What was missed: a key, a click on where it is, its name. Without a click it is the middle of the slice that is shown.

import { bus, tell } from "./page.js";
import { bind } from "./keys.js";
import { jobOf, partOf, show, state } from "./study.js";
import { words } from "./verdict_words.js";

const byId = (id) => document.getElementById(id);
let place = null;  // {job_key, part, slice, row, column, correction}

function here(slice = state.slice) {
  const part = partOf(state.job_key, state.part);
  return {  // another series may just be opening
    job_key: state.job_key, part: state.part, slice: Math.min(slice, Math.max(0, (part?.slices ?? 1) - 1)),
    row: Math.floor((part?.rows ?? 2) / 2), column: Math.floor((part?.columns ?? 2) / 2), clicked: false, correction: null,
  };
}

function tellPlace() {
  const drawn = place.correction ? ", outlined" : "";
  byId("missed-where").textContent = `Slice ${place.slice + 1}${drawn}. ${place.clicked ? "Marked where you clicked." : "Click on it in the image."}`;
}

/** Labels of what an answer was asked for and has no mask of. */
function unmarkedOf(answer) {
  return [...(answer.not_seen ?? []), ...(answer.not_assessed ?? []).map((one) => one.label)];
}

/** The question that should have named it: the one that was asked for it, else the first of the part. */
function answerFor(job, part, label) {
  const answers = job.answers.filter((one) => one.part === part);
  return (answers.find((one) => unmarkedOf(one).includes(label)) ?? answers[0])?.answer ?? 0;
}

export function missedForm(review) {
  const form = byId("missed-form"), label = byId("missed-label"), reason = byId("missed-reason");

  function open() {
    if (!review.open || !(state.job_key in review.values.destinations)) return;
    const asked = jobOf(state.job_key)?.answers.filter((one) => one.part === state.part).flatMap(unmarkedOf) ?? [];
    const known = asked.filter((one) => review.values.labels.includes(one));
    const others = review.values.labels.filter((one) => !known.includes(one));
    label.replaceChildren(new Option("What is it?", ""), ...[...new Set([...known, ...others])].map((one) => new Option(one, one)));
    reason.value = "";
    reason.setAttribute("list", "reasons-missed");
    place = here();
    form.hidden = false;
    tellPlace();
    label.focus();
    tell("missing", { place });
  }

  function close() {
    form.hidden = true;
    place = null;
    tell("missing", { place: null });
    tell("pointed", { place: null });
    byId("missed-add").focus();
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!label.value) return label.focus();
    const { job_key, part, slice, row, column, correction } = place;
    const answer = answerFor(jobOf(job_key), part, label.value);
    const miss = { job_key, answer, label: label.value, slice, row, column, reason: reason.value.trim(), correction };
    if (review.change((content) => content.missed.push(miss))) {
      tell("verdict", { place: `${job_key}/${answer}`, kind: "missed" });
      close();
    }
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { event.preventDefault(); close(); }
    if (event.key === "Enter" && event.target === label) { event.preventDefault(); form.requestSubmit(); }
  });
  byId("missed-cancel").addEventListener("click", close);
  byId("missed-add").addEventListener("click", open);
  bind("m", "something was missed", open);
  bus.addEventListener("point", ({ detail }) => {
    if (form.hidden) return;
    const { job_key, part, slice, row, column } = detail;
    place = { ...place, job_key, part, slice, row, column, clicked: true };
    tellPlace();
    tell("pointed", { place });
  });
  bus.addEventListener("slice", ({ detail }) => {
    if (form.hidden || place.clicked || place.correction) return;
    place = here(detail.slice);
    tellPlace();
  });
  bus.addEventListener("corrected", ({ detail }) => {  // drawn while the form is open
    if (form.hidden || detail.place || !detail.digest) return;
    place = { ...place, job_key: detail.job_key ?? place.job_key, part: detail.part ?? place.part, correction: detail.digest };
    tellPlace();
  });
}

export function missedList(review, { make, button, proposed }) {
  const items = review.content.missed.map((one, number) => {
    const go = make("button", { type: "button", className: "btn quiet small" }, `+ ${words.missed(one)}`);
    go.addEventListener("click", () => show(one.job_key, jobOf(one.job_key)?.answers[one.answer]?.part ?? 0, one.slice));
    const item = make("li", {}, go);
    if (review.open) item.append(button("Take back", () => review.change((content) => content.missed.splice(number, 1))));
    return item;
  });
  const wanted = proposed((one) => one.place === null);
  if (wanted.length) items.push(make("li", {}, ...wanted));
  byId("missed-list").replaceChildren(...items);
  const add = byId("missed-add");
  if (add) add.setAttribute("aria-disabled", String(!review.open));
}

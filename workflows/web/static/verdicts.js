// Verdicts on the study page: one key each, in the cards of findings; what was missed; the signature at the foot.

import { base, bus, tell } from "./page.js";
import { bind } from "./keys.js";
import { findingOf, jobOf, select, show, state, study, view } from "./study.js";
import { forget } from "./slices.js";
import { Review, onReview } from "./review.js";
import { missedForm, missedList } from "./missed.js";
import { wrongWords } from "./answer_words.js";
import { words } from "./verdict_words.js";

const byId = (id) => document.getElementById(id);
const root = byId("review");
export const review = new Review(study.study.study_uid, root.dataset.account, study.results);
const may = Boolean(root.dataset.may);
const BEAT_MS = 10000;
let ticking = 0, unread = 0;

const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};
const button = (text, act, key = "") => {
  const element = make("button", { type: "button", className: "btn small" }, text);
  if (key) element.append(" ", make("kbd", { textContent: key }));
  element.addEventListener("click", act);
  return element;
};

// --- Giving one -------------------------------------------------------------------------------------------------------

function give(place, kind) {
  if (!place || !(place in (review.values?.places ?? {}))) return;
  const before = review.verdict(place);
  if (before?.kind === kind) return more(place, kind);
  const done = review.change((content) => {
    content.verdicts = content.verdicts.filter((one) => one.place !== place);
    content.verdicts.push({ place, kind, reason: "", label: null, correction: null });
  });
  if (!done) return refused();
  tell("verdict", { place, kind });
  more(place, kind);
}

function more(place, kind) {
  const block = card(place);
  if (kind !== "name" || !block) return;
  block.closest(".finding")?.scrollIntoView({ block: "center" });  // its list would open beneath the signature
  block.querySelector(".rightly")?.focus({ preventScroll: true });
}

function refused() {
  byId("review-told").textContent = review.trouble || words.closed(review.state) || words.told(review);
  byId(review.conflict || review.values?.stale || review.outdated ? "review-notice" : "sign-bar").scrollIntoView({ block: "nearest" });
}

function set(place, changes) {
  review.change((content) => Object.assign(content.verdicts.find((one) => one.place === place) ?? {}, changes));
}

function acceptRest() {
  const rest = review.undecided();
  if (!rest.length) return;
  const done = review.change((content) => {
    for (const place of rest) content.verdicts.push({ place, kind: "accept", reason: "", label: null, correction: null });
  });
  if (!done) return refused();
  for (const place of rest) tell("verdict", { place, kind: "accept" });
}

async function undo() {
  if (review.state === "SIGNED" && review.mine) return review.act("/review/undo");
  if (!review.undo()) byId("review-told").textContent = "There is nothing to undo.";
  else tell("verdict", { place: null, kind: null });
}

async function sign() {
  const left = review.undecided();
  if (left.length) {
    select(left[0]);
    byId("review-told").textContent = words.left(left.map((place) => review.values.places[place]));
    return;
  }
  if (!(await review.sign())) refused();
  else tell("signed", { study_uid: study.study.study_uid });
}

/** Ask in a dialog; resolves to whether the answer was yes. */
async function asked(name) {
  const dialog = byId(name);
  dialog.returnValue = "";
  dialog.showModal();
  await new Promise((closed) => dialog.addEventListener("close", closed, { once: true }));
  return Boolean(dialog.returnValue);
}

async function amend() {
  if (review.state !== "WRITTEN" || !(await asked("amend-asked"))) return;
  if (await review.act("/review/amend")) tell("reload");  // the cards say again what the model said
  else refused();
}

async function discard() {
  byId("discard-stands").textContent = review.values.review?.number > 1 ? "The earlier review stands as it was signed." : "";
  if (!(await asked("discard-asked"))) return;
  if (await review.discard()) tell("reload");
  else refused();
}

// --- Cards ------------------------------------------------------------------------------------------------------------

const card = (place) => document.querySelector(`.verdict[data-verdict="${CSS.escape(place)}"]`);

function prepare(block) {
  const place = block.dataset.verdict;
  for (const choice of block.querySelectorAll("[data-kind]")) {
    choice.addEventListener("click", () => {
      if (state.finding !== place) select(place, { jump: false });
      soon(() => give(place, choice.dataset.kind));
    });
  }
  const rightly = block.querySelector(".rightly"), reason = block.querySelector(".reason");
  rightly?.addEventListener("change", () => set(place, { label: rightly.value || null }));
  reason?.addEventListener("change", () => set(place, { reason: reason.value.trim() }));
  for (const field of [rightly, reason]) {
    field?.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === "Escape") {
        event.preventDefault();
        field.blur();
        block.closest(".finding")?.focus();
      }
    });
  }
}

function draw(block) {
  const place = block.dataset.verdict, verdict = review.verdict(place), label = review.values.places[place];
  block.hidden = label === undefined;
  for (const choice of block.querySelectorAll("[data-kind]")) {
    choice.setAttribute("aria-pressed", String(choice.dataset.kind === verdict?.kind));
    choice.setAttribute("aria-disabled", String(!review.open));
  }
  const details = block.querySelector(".more");
  if (details) {
    details.hidden = !verdict || verdict.kind === "accept" || !review.open;
    const rightly = block.querySelector(".rightly"), reason = block.querySelector(".reason");
    rightly.hidden = verdict?.kind !== "name";
    if (!rightly.options.length) {
      rightly.append(new Option("Choose the right name", ""), ...names(label, place));
    }
    if (document.activeElement !== rightly) rightly.value = verdict?.label ?? "";
    if (document.activeElement !== reason) reason.value = verdict?.reason ?? "";
    if (verdict) reason.setAttribute("list", reasons(verdict.kind));
  }
  const given = block.querySelector(".given");
  given.hidden = !verdict;
  given.classList.toggle("wanting", words.wanting(verdict));
  given.textContent = verdict ? words.verdict(verdict) : "";
  block.querySelector(".proposed").replaceChildren(...proposed((one) => one.place === place));
}

/** Names to choose from: the other side, those of the questions asked of these images, then all others. */
function names(label, place) {
  const known = review.values.labels.filter((one) => one !== label);
  const asked = new Set((jobOf(place.split("/")[0])?.answers ?? []).flatMap((one) => [...one.findings.map((found) => found.label), ...(one.not_seen ?? []), ...(one.not_assessed ?? []).map((missing) => missing.label)]));
  const other = label.replace(/\b(left|right)\b/, (side) => (side === "left" ? "right" : "left"));
  const groups = [["The other side", known.filter((one) => one === other)], ["Asked of these images", known.filter((one) => asked.has(one) && one !== other)],
    ["All others", known.filter((one) => !asked.has(one) && one !== other)]];
  return groups.filter(([, labels]) => labels.length).map(([name, labels]) => {
    const group = Object.assign(document.createElement("optgroup"), { label: name });
    group.append(...labels.map((one) => new Option(one, one)));
    return group;
  });
}

/** The list of reasons for a kind of verdict, made once. */
export function reasons(kind) {
  const id = `reasons-${kind}`;
  if (!byId(id)) document.body.append(make("datalist", { id }, ...(review.values.reasons[kind] ?? []).map((one) => new Option(one))));
  return id;
}

/** The corrections that others propose: with who and why, to be confirmed or dismissed. */
export function proposed(wanted) {
  return review.values.proposals.filter((one) => wanted(one) && one.current && one.open).map((one) => {
    const told = make("p", {}, make("b", { textContent: words.proposal(one) }), " ", make("span", { className: "sub", textContent: `Matched by ${one.matched_by}.` }));
    const block = make("div", { className: "proposal" }, told);
    if (may) {
      const row = make("div", { className: "row" },
        button("Show it", () => show(one.job_key, one.part, one.slice, one.place)),
        button("Confirm", () => review.decide(one, "confirm")),
        button("Dismiss", () => review.decide(one, "dismiss")));
      block.append(row);
    }
    return block;
  });
}

// --- The foot ---------------------------------------------------------------------------------------------------------

function foot() {
  const { values } = review, left = review.undecided();
  byId("review-open").hidden = !values.open.length;
  byId("review-open").textContent = values.open.length ? `Also open: ${values.open.join(", ")}` : "";
  byId("review-told").textContent = review.trouble || words.told(review);
  notice();
  if (!may) return;
  const signed = review.state === "SIGNED", ready = review.open && !left.length && !words.wanted(review);
  const written = review.state === "WRITTEN";
  byId("amend").hidden = !written || !values.may || Boolean(review.conflict);
  byId("discard").hidden = !(review.state === "DRAFT" && review.mine) || Boolean(review.conflict) || Boolean(values.stale);
  byId("sign").hidden = signed || written || !(Object.keys(values.destinations).length);
  byId("sign").setAttribute("aria-disabled", String(!ready));
  byId("sign-text").textContent = words.sign(review);
  byId("missed-add").hidden = !Object.keys(values.destinations).length;
  byId("accept-rest").hidden = !left.length || !review.open;
  byId("unsign").hidden = !(signed && review.mine) && !(review.history.length && review.open);
  byId("sign-sends").hidden = byId("sign").hidden;
  byId("sign-sends").textContent = words.wanted(review) || [words.sends(review, jobOf), unread ? words.unread : ""].filter(Boolean).join(" ");
}

function notice() {
  const { conflict, values } = review, box = byId("review-notice");
  const other = !conflict && review.state === "DRAFT" && !review.mine && values.may;
  const outdated = review.outdated && !values.stale;
  const sentence = conflict?.sentence ?? ((values.may && values.stale) || (outdated ? words.outdated : ""));
  box.hidden = !sentence && !other;
  byId("review-notice-text").textContent = sentence || (other ? `${values.review.reviewer} has begun this review. Only one person's draft counts.` : "");
  const choices = [];
  if (conflict?.kind === "gone") choices.push(button("To the worklist", () => location.assign(`${base}/worklist`)));
  else if (conflict) {
    choices.push(button("Take what is there now", () => review.useTheirs()));
    if (conflict.kind === "stale") choices.push(button("Put mine in its place", () => review.keepMine()));
  } else if (outdated) choices.push(button("Load the page again", () => location.reload()));
  else if (other) choices.push(button("Take it over", () => review.act("/review/take-over")));
  else if (values.stale && review.mine) {
    if (Object.keys(values.destinations).length) choices.push(button("Reopen on the new results", () => review.act("/review/reopen").then((done) => done && location.reload())));
    choices.push(button("Throw the draft away", () => review.act("/review/withdraw")));
  }
  byId("review-choices").replaceChildren(...choices);
}

/** Count down to when a signed review is written, then look until it is. */
function tick() {
  clearInterval(ticking);
  if (review.state !== "SIGNED") return;
  const due = performance.now() + 1000 * review.values.review.undo_s;
  let asked = 0;
  const turn = () => {
    const left = Math.ceil((due - performance.now()) / 1000);
    byId("review-told").textContent = words.signed(review, left);
    if (may) byId("unsign").hidden = !review.mine || left <= 0;
    if (left <= 0 && performance.now() - asked > 1500) {
      asked = performance.now();
      const before = review.state;
      review.load().then(() => before !== review.state && tell("reload"), () => {});
    }
  };
  ticking = setInterval(turn, 250);
  turn();
}

let shownState = "";
onReview(() => {
  if (!review.values) return;
  document.querySelectorAll(".verdict").forEach(draw);
  missedList(review, { make, button, proposed });
  foot();
  const now = `${review.state} ${review.values.review?.version}`;
  if (now !== shownState) tick();
  if (shownState && now !== shownState) {  // outlines follow what is corrected, proposed and missed
    forget(`/studies/${study.study.study_uid}/jobs/`);
    view.refresh();
  }
  shownState = now;
});

// --- Beginning --------------------------------------------------------------------------------------------------------

document.querySelectorAll(".verdict").forEach(prepare);
wrongWords(review, refused);
const known = review.load();
/** What is done before the node's review is known waits for it: a key that is pressed early is not lost. */
const soon = (act) => (review.values ? act() : known.then(act, () => {}));
if (may) {
  bind("a", "accept the finding", () => soon(() => give(state.finding, "accept")));
  bind("o", "its outline is wrong", () => soon(() => give(state.finding, "outline")));
  bind("w", "its name or side is wrong", () => soon(() => give(state.finding, "name")));
  bind("x", "it is not there", () => soon(() => give(state.finding, "not-there")));
  bind("r", "write a reason", () => card(state.finding ?? "")?.querySelector(".more:not([hidden]) .reason")?.focus());
  bind("A", "accept all that is left", () => soon(acceptRest));
  bind("u", "undo", () => soon(undo));
  bind("Ctrl+Enter", "sign the review", () => soon(sign));
  byId("sign").addEventListener("click", sign);
  byId("accept-rest").addEventListener("click", acceptRest);
  byId("unsign").addEventListener("click", undo);
  byId("amend").addEventListener("click", amend);
  byId("discard").addEventListener("click", discard);
  missedForm(review);
}
bus.addEventListener("corrected", ({ detail }) => {
  if (!detail.place || !findingOf(detail.place) || !detail.digest) return;
  const kept = review.verdict(detail.place);
  const verdict = { place: detail.place, kind: "outline", reason: kept?.kind === "outline" ? kept.reason : "", label: null, correction: detail.digest };
  const done = review.change((content) => {
    content.verdicts = [...content.verdicts.filter((one) => one.place !== detail.place), verdict];
  });
  if (done) tell("verdict", { place: detail.place, kind: "outline" });
  else refused();
});
bus.addEventListener("asking", ({ detail }) => {
  unread = detail.unread;
  if (review.values) foot();
});
const failed = (error) => { byId("review-told").textContent = error.message; };
known.then(() => { document.documentElement.dataset.ready = ""; }, failed);
review.beat();
bus.addEventListener("study", ({ detail }) => detail.study_uid === study.study.study_uid && review.hear());
setInterval(() => document.visibilityState === "visible" && review.beat(), BEAT_MS);
document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && review.values && review.beat());
addEventListener("pagehide", () => { review.save(); review.beat(true); });

// Ask again: a free question about what is shown. It is answered ahead of routine work; what it marks is shown as
// preliminary by the viewer, which takes it from the page's model, and nothing is sent until somebody keeps it.

import { base, bus, colour, send, tell } from "./page.js";
import * as page from "./study.js";

const field = document.getElementById("ask-text");
const form = document.getElementById("ask");
const list = document.getElementById("asked");
const title = document.getElementById("asking-title");
const said = document.getElementById("ask-told");
const root = document.getElementById("asking");

const LOOK_MS = 1000;
const BADGES = { waiting: "waits", reading: "being read", answered: "preliminary", failed: "not answered" };

const shown = new Map();  // job key -> what was drawn last, so that only what has changed is drawn again
let questions = [];
let timer = 0;
let toShow = null;  // place of what a new answer has marked: shown as soon as the model has it

const studyUid = () => decodeURIComponent(location.pathname.slice(base.length).split("/")[2]);
const path = (...more) => ["/studies", encodeURIComponent(studyUid()), "questions", ...more].join("/");

function say(text, wrong = false) {
  said.textContent = text;
  said.classList.toggle("wrong", wrong);
}

async function refresh() {
  clearTimeout(timer);
  let answer;
  try {
    answer = await (await send("GET", path(), undefined, { background: true })).json();
  } catch (error) {
    if (error.status === 0) timer = setTimeout(refresh, 3 * LOOK_MS);
    return;
  }
  form.hidden = !answer.may_ask || !page.study.jobs.some((job) => job.parts.length);
  field.maxLength = answer.longest;
  const before = questions;
  questions = answer.questions;
  draw(answer.may_ask);
  tell("asking", { unread: questions.filter((one) => ["waiting", "reading"].includes(one.stage)).length });
  const fresh = questions.find((one) => newlyAnswered(one, before));
  if (fresh) {
    toShow = fresh.answers.map((answer) => `${fresh.job_key}/${answer.answer}/0`)[answerShown(fresh)];
    tell("reload", { why: "answered" });
  }
  if (questions.some((one) => ["waiting", "reading"].includes(one.stage) || one.told.includes("on the way"))) {
    timer = setTimeout(refresh, LOOK_MS);
  }
}

function newlyAnswered(question, before) {
  const known = before.find((one) => one.job_key === question.job_key);
  return question.stage === "answered" && known !== undefined && known.stage !== "answered";
}

/** Which of the answers is of the part that was shown when it was asked. */
function answerShown(question) {
  return Math.max(0, question.answers.findIndex((answer) => answer.part === question.part));
}

function draw(mayAsk) {
  const there = new Set(questions.map((one) => one.job_key));
  for (const [key, { element }] of shown) {
    if (!there.has(key)) { element.remove(); shown.delete(key); }
  }
  for (const question of questions) {
    const said = JSON.stringify([question, mayAsk]);
    const known = shown.get(question.job_key);
    if (known?.said === said) continue;
    const element = card(question, mayAsk);
    if (known) known.element.replaceWith(element); else list.append(element);
    shown.set(question.job_key, { said, element });
  }
  title.hidden = questions.length === 0;
  colour(list);
}

function make(name, classes, text) {
  const element = document.createElement(name);
  element.className = classes;
  if (text !== undefined) element.textContent = text;
  return element;
}

function card(question, mayAsk) {
  const element = make("li", "card question");
  element.dataset.job = question.job_key;
  element.classList.toggle("kept", !question.preliminary);
  element.classList.toggle("failed-to-answer", question.stage === "failed");
  const head = make("div", "row");
  const text = make("bdi", "asked-text grow", question.question);
  const badge = make("span", "badge", question.preliminary ? BADGES[question.stage] : "kept");
  head.append(text, badge);
  element.append(head);
  for (const answer of question.answers.filter((one) => one.text)) element.append(...answerOf(question, answer));
  if (["waiting", "reading"].includes(question.stage)) element.append(make("div", "loading"));
  const said = ["waiting", "reading"].includes(question.stage) && /^(It )?is being read\.?$/i.test(question.told) ? "" : `${question.told} `;
  const by = `${said}Asked by ${question.asked_by}.`;
  element.append(make("p", "sub", by));
  if (mayAsk && question.preliminary) element.append(actions(question));
  return element;
}

function answerOf(question, answer) {
  const line = make("div", "row wrap");
  answer.findings.forEach((label, number) => {
    const place = `${question.job_key}/${answer.answer}/${number}`;
    const chip = make("button", "chip");
    chip.type = "button";
    const dot = make("span", "dot");
    dot.dataset.colour = colourOf(place);
    chip.append(dot, label);
    chip.addEventListener("click", () => page.select(place));
    line.append(chip);
  });
  for (const label of answer.not_seen) line.append(make("span", "chip calm", `${label}: not seen`));
  for (const one of answer.not_assessed) {
    const chip = make("span", "chip calm", `${one.label}: not assessed`);
    chip.title = one.reason;
    line.append(chip);
  }
  return [make("p", "answer-text", answer.text), line];
}

function colourOf(place) {
  const jobs = page.study?.jobs ?? [];
  const findings = jobs.flatMap((job) => job.answers.flatMap((answer) => answer.findings));
  return findings.find((finding) => finding.place === place)?.colour ?? "var(--muted)";
}

function actions(question) {
  const line = make("div", "row");
  if (question.stage === "answered" && question.current) {
    line.append(button("Keep", "btn yes small", () => decide(question, "keep")));
  }
  const words = { answered: "Do not keep", failed: "Remove" }[question.stage] ?? "Do not wait";
  line.append(button(words, "btn small", () => decide(question, "drop")));
  return line;
}

function button(text, classes, act) {
  const made = make("button", classes, text);
  made.type = "button";
  made.addEventListener("click", async () => {
    made.disabled = true;
    try { await act(); } finally { made.disabled = false; }
  });
  return made;
}

async function decide(question, what) {
  try {
    await send("POST", path(question.job_key, what), {});
    say(what === "keep" ? "Kept: it goes to the archive." : "Not kept: nothing was sent.");
  } catch (error) {
    say(error.message, true);
  }
  await refresh();
  tell("reload", { why: what });
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = field.value;
  const at = page.state ?? {};
  form.querySelector("button").disabled = true;
  try {
    const asked = await (await send("POST", path(), {
      question: text, job_key: at.job_key, part: at.part ?? 0, finding: at.finding ?? null,
    })).json();
    say(asked.stage === "answered" ? "It was asked before: the answer is above." : "");
    field.value = "";
  } catch (error) {
    say(error.message, true);  // what was typed stays
  } finally {
    form.querySelector("button").disabled = false;
  }
  await refresh();
});

bus.addEventListener("study", (event) => {
  if (event.detail?.study_uid === undefined || event.detail.study_uid === studyUid()) refresh();
});
bus.addEventListener("model", () => {
  shown.forEach((known) => { known.said = ""; });  // colours come with the model
  draw(!form.hidden);
  if (toShow && page.findingOf(toShow)) { const place = toShow; toShow = null; page.select(place); }
});

if (root) refresh();

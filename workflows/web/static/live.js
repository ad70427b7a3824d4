// What changes while a study's page is open: an answer that came, another reading, what another person said or asked.
// The events tell that something changed (`study`); each part of the page asks for its own. Where other results are
// there than the page was made with, it is made anew, and never while somebody types, draws or has not saved.

import { base, bus, send, tell } from "./page.js";
import { listen } from "./events.js";
import { state, study } from "./study.js";

const uid = study.study.study_uid;
const AT_ONCE_MS = 1000;
let due = 0, asking = false, connected = false;

/** What the page's cards were made of. */
const results = (model) => JSON.stringify([
  model.study.state === "HELD" || model.study.state === "UNMATCHED" ? model.study.reason : "", model.purged,
  model.jobs.filter((job) => !job.preliminary).map((job) => [job.job_key, job.read_at, job.reason, job.answers.length,
    job.answers.flatMap((answer) => answer.findings.map((one) => [one.label, one.value, one.taken_out]))]),  // as signed
]);
const shown = results(study);

const busy = () => state.mode !== "slices" || document.querySelector("dialog[open]")
  || /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement?.tagName ?? "");

async function look() {
  if (asking) return;
  asking = true;
  try {
    const fresh = await (await send("GET", `/studies/${uid}/model`, undefined, { background: true })).json();
    if (results(fresh) !== shown) anew();
  } catch { /* the other parts of the page say what is wrong */ } finally {
    asking = false;
  }
}

function anew() {
  if (!busy()) {
    if (state.finding) history.replaceState(null, "", `#${encodeURIComponent(state.finding)}`);
    return location.reload();
  }
  const toasts = document.getElementById("toasts");
  if (toasts.querySelector("[data-anew]")) return undefined;
  const told = Object.assign(document.createElement("p"), { className: "notice" });
  told.dataset.anew = "";
  const link = Object.assign(document.createElement("a"), { href: `${base}/studies/${uid}`, textContent: "Load it again" });
  told.append("Other results of this study came. ", link, " once you are done here; what you did is kept.");
  toasts.append(told);
  return undefined;
}

function soon() {
  clearTimeout(due);
  due = setTimeout(look, AT_ONCE_MS);
}

bus.addEventListener("study", ({ detail }) => detail.study_uid === uid && soon());
bus.addEventListener("model", () => results(study) !== shown && anew());  // a question that was kept is to be judged
bus.addEventListener("connection", ({ detail }) => {
  if (detail.state !== "open") return;
  if (connected) tell("study", { study_uid: uid, what: "missed" });  // what was told meanwhile was not heard
  connected = true;
});
listen();

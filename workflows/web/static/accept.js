// Accept all findings of a study from its row: asked once, signed, and undone until it is written.
import { send, tell } from "./page.js";

const dialog = document.getElementById("accept");
const READY = ["to-review", "in-review", "not-written"];
let last = null;
let decide = null; // of the one question that is open: nothing that was cancelled before is answered by it

export async function acceptAll(row) {
  if (!row || !dialog || dialog.open) return;
  if (!READY.includes(row.dataset.state)) return say("This study has nothing to accept now.");
  const study = row.dataset.study;
  try {
    const review = await (await send("GET", `/studies/${study}/review`)).json();
    const refused = whyNot(review);
    if (refused) return say(refused, "warn");
    if (dialog.open) return;
    describe(row, review);
    const decided = question();
    dialog.returnValue = "";
    dialog.showModal();
    document.getElementById("accept-not").focus();  // a habitual Enter signs nothing
    const answer = await decided;
    row.isConnected && row.focus({ preventScroll: true });
    if (answer === "sign") await sign(study, review);
  } catch (error) {
    say(error.status === 404 ? "This study is not known here any more: it was deleted." : error.message, "bad");
  }
}

function question() {
  decide?.("");
  return new Promise((done) => { decide = done; });
}

dialog?.addEventListener("close", () => {
  if (dialog.open) return; // of a question before this one
  decide?.(dialog.returnValue);
  decide = null;
});

dialog?.addEventListener("keydown", (event) => {
  if (event.key !== "s" || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  event.preventDefault();
  dialog.close("sign");
});

/** Why a study cannot be accepted from its row, or "". */
function whyNot(review) {
  const draft = review.review?.state === "DRAFT" ? review.review : null;
  if (!review.may) return "You may look at results, not review them.";
  if (draft && !review.mine) return `${draft.reviewer} is reviewing this study: open it to take over.`;
  if (review.stale) return `${review.stale} Open the study.`;
  if (review.unread) return "Not all of this study is read yet. Open it to see what is.";
  const others = draft?.verdicts.some((verdict) => verdict.kind !== "accept") || draft?.missed.length || draft?.words?.length;
  return others ? "You have begun a review that says more than accepted: open the study to sign it." : "";
}

async function sign(study, review) {
  const verdicts = Object.keys(review.places).map((place) => ({ place, kind: "accept" }));
  const body = { base: review.base, verdicts, missed: [] };
  const saved = await (await send("PUT", `/studies/${study}/review`, body)).json();
  await send("POST", `/studies/${study}/review/sign`, { base: saved.base, results: review.results });
  last = study;
  tell("worklist", { study_uids: [study] });
  say("Accepted and signed.", "ok", { name: "Undo", act: undoLast });
}

export async function undoLast() {
  if (!last) return say("There is nothing to undo.");
  const study = last;
  last = null;
  try {
    await send("POST", `/studies/${study}/review/undo`);
    tell("worklist", { study_uids: [study] });
    say("Undone: it is a draft of yours again.", "ok");
  } catch (error) {
    say(error.message, "bad");
  }
}

/** What is accepted and what of it is sent where, in sentences; all of it as text. */
function describe(row, review) {
  const findings = Object.keys(review.places).length;
  const what = document.getElementById("accept-what");
  const name = document.createElement("p");
  const who = document.createElement("bdi");
  who.textContent = `${row.querySelector(".name").textContent}, patient ID ${row.querySelector(".name ~ .sub bdi")?.textContent ?? "not known"}`;
  const count = findings === 1 ? "1 finding" : findings ? `${findings} findings` : "That nothing is seen";
  name.append(`${count} of `, who, findings ? ":" : ".");
  const labels = Object.values(review.places); // as the node has them now: the row may be a moment behind
  if (labels.length) name.append(` ${labels.join(", ")}`);
  const chips = document.createElement("p");
  chips.append(...[...row.querySelectorAll(".seen .chip")].map((chip) => chip.cloneNode(true)));
  const told = document.createElement("p");
  const archives = [...new Set(Object.values(review.destinations).flat())];
  const reports = Object.keys(review.destinations).length;
  told.textContent = `Sends ${reports > 1 ? `${reports} verified reports` : "a verified report"} `
    + (archives.length ? `to ${archives.join(", ")}.` : "once an archive is configured.");
  what.replaceChildren(name, chips, told);
}

function say(text, kind = "", action = null) {
  const toast = document.createElement("p");
  toast.className = `notice ${kind}`.trim();
  toast.append(text);
  if (action) {
    const button = document.createElement("button");
    button.className = "btn small";
    button.textContent = action.name;
    button.addEventListener("click", () => { toast.remove(); action.act(); });
    toast.append(" ", button);
  }
  document.getElementById("toasts").append(toast);
  setTimeout(() => toast.remove(), 12000);
}

// Orders to studies: what each would do is shown first; one confirmation does exactly that, to exactly those studies.

import { send } from "./page.js";

const byId = (id) => document.getElementById(id);
const form = byId("order");
let foreseen = null;

function choose() {
  const chosen = form.elements.action.selectedOptions[0];
  byId("told").textContent = chosen.dataset.told;
  const archive = byId("archive");
  if (archive) archive.hidden = chosen.value !== "resend";
  forget();
}

function forget() {
  foreseen = null;
  byId("foreseen").hidden = true;
}

function wrong(text) {
  byId("wrong").textContent = text;
  byId("wrong").hidden = !text;
}

function wanted() {
  const { action, archive, ...selectors } = Object.fromEntries(new FormData(form));
  const only = action === "resend" && archive ? { archive } : {};
  return { action, body: { selectors, ...only } };
}

async function give(action, body) {
  wrong("");
  try {
    return await (await send("POST", `/operate/${action}`, body)).json();
  } catch (error) {
    wrong(error.message);
    return null;
  }
}

const counted = (count) => (count === 1 ? "1 study" : `${count} studies`);

function show(answer) {
  byId("foreseen").hidden = false;
  const count = answer.outcomes.length;
  const verb = form.elements.action.querySelector(`[value="${answer.action}"]`).dataset.name;
  byId("summary").textContent = answer.dry_run
    ? (count ? `${verb}: would be done for ${answer.ready} of ${counted(count)}.` : "No study is like that.")
    : `${verb}: done for ${answer.ready} of ${counted(count)}.`;
  byId("outcomes").replaceChildren(...answer.outcomes.map(row));
  byId("confirm").hidden = !answer.dry_run || answer.ready === 0;
  byId("confirm").textContent = `${verb}: ${counted(answer.ready)}`;
  byId("back").textContent = answer.dry_run ? "Not now" : "Close";
}

function row(outcome) {
  const line = document.createElement("tr");
  for (const text of [outcome.study_uid, outcome.state, outcome.outcome]) {
    const cell = document.createElement("td");
    cell.append(Object.assign(document.createElement("bdi"), { textContent: text }));
    line.append(cell);
  }
  line.classList.toggle("none", !outcome.ready);
  return line;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  forget();
  const { action, body } = wanted();
  const answer = await give(action, { ...body, dry_run: true });
  if (!answer) return;
  foreseen = { action, body, answer };
  show(answer);
});

byId("confirm").addEventListener("click", async () => {
  if (!foreseen) return;
  const { action, body, answer } = foreseen;
  const study_uid = answer.outcomes.filter((one) => one.ready).map((one) => one.study_uid);
  const only = body.selectors.protocol ? { selectors: body.selectors } : {};
  byId("confirm").disabled = true;
  const done = await give(action, { ...body, ...only, study_uid, dry_run: false });
  byId("confirm").disabled = false;
  if (done) show(done);
});

byId("back").addEventListener("click", forget);
form.addEventListener("input", () => { wrong(""); choose(); });

const aside = byId("quarantine");
let asked = "";

aside?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const what = event.submitter.value;
  const ids = new FormData(aside).getAll("id");
  const told = byId("quarantine-told");
  if (!ids.length) { told.textContent = "Choose instances first."; return; }
  const sure = asked === `${what} ${ids}`;
  try {
    const answer = await (await send("POST", `/operate/quarantine/${what}`, { ids, dry_run: !sure })).json();
    told.textContent = [...new Set(answer.outcomes.map((one) => `${one.id}: ${one.outcome}`))].join("; ")
      + (sure ? "" : `. Press ${event.submitter.textContent} again to do it.`);
    asked = sure ? "" : `${what} ${ids}`;
    if (sure && what === "discard") for (const id of ids) aside.querySelector(`tr[data-id="${id}"]`)?.remove();
  } catch (error) {
    told.textContent = error.message;
  }
});

// A row of the worklist leads here with its study and the order that it most likely waits for.
const given = new URLSearchParams(window.location.search);
for (const name of ["action", "study"]) if (given.has(name)) form.elements[name].value = given.get(name);
if (form.elements.action.selectedIndex < 0) form.elements.action.selectedIndex = 0;
choose();

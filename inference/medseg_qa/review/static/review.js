// The review page of MedSeg-QA: every decision on the keyboard. No inline script or style: a strict policy holds.
const body = document.body, position = Number(body.dataset.position), reader = body.dataset.reader;
const reason = document.getElementById("reason"), error = document.getElementById("error");
const texts = document.querySelectorAll(".question, .answer");
let editing = false, masks = true, sending = false;
const go = (at) => { location.href = `/?reader=${encodeURIComponent(reader)}` + (at === null ? "" : `&at=${at}`); };
async function decide(decision) {
  if (sending) return;
  sending = true;
  const sent = { reader, decision, reason: reason.value };
  if (decision === "edit")
    sent.turns = [...document.querySelectorAll(".turn")].map((turn) => ({
      question: turn.querySelector(".question").innerText, answer: turn.querySelector(".answer").innerText }));
  const response = await fetch(`/verdict/${position}`, { method: "POST",
    headers: { "Content-Type": "application/json" }, body: JSON.stringify(sent) });
  const reply = await response.json();
  sending = false;
  if (response.ok) go(reply.next);
  else { error.textContent = reply.error || "refused"; if (decision === "reject") reason.focus(); }
}
function edit() {
  if (editing) { decide("edit"); return; }
  editing = true;
  texts.forEach((text) => { text.contentEditable = "true"; });
  document.querySelector(".answer").focus();
}
async function showHistory() {
  const response = await fetch(`/history/${position}?reader=${encodeURIComponent(reader)}`);
  const reply = await response.json();
  if (!response.ok) { error.textContent = reply.error || "refused"; return; }
  document.getElementById("changes").replaceChildren(...reply.map((change) => {
    const line = document.createElement("li");
    line.textContent = `${change.at} ${change.reader}: ${change.decision} ${change.reason}`;
    return line;
  }));
}
const actions = { accept: () => decide("accept"), reject: () => decide("reject"), edit, history: showHistory,
  masks: () => { masks = !masks; document.getElementById("picture").src = `/image/${position}?masks=${masks}`; },
  previous: () => go(Math.max(0, position - 1)), next: () => go(position + 1) };
const keys = { a: "accept", r: "reject", e: "edit", h: "history", m: "masks", p: "previous", n: "next" };
for (const name in actions) document.getElementById(name).addEventListener("click", actions[name]);
document.addEventListener("keydown", (event) => {
  const typing = event.target === reason || event.target.isContentEditable;
  if (event.key === "Escape") { event.target.blur(); return; }
  if (editing && event.key === "Enter" && event.ctrlKey) { event.preventDefault(); decide("edit"); return; }
  if (typing || event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.key === "/") { event.preventDefault(); reason.focus(); }
  else if (keys[event.key]) { event.preventDefault(); actions[keys[event.key]](); }
});
for (const swatch of document.querySelectorAll("[data-colour]")) swatch.style.background = swatch.dataset.colour;

// The audit's page: has the chain verified, and shows what came of it.

import { send } from "./page.js";

const button = document.getElementById("verify");
const verdict = document.getElementById("verdict");
const faults = document.getElementById("faults");

button.addEventListener("click", async () => {
  button.disabled = true;
  verdict.textContent = "Reading every row.";
  try {
    show(await (await send("POST", "/audit/verify")).json());
  } catch (error) {
    verdict.textContent = error.message;
  } finally {
    button.disabled = false;
  }
});

function show(answer) {
  verdict.textContent = answer.count
    ? `The audit is NOT as it was recorded: ${answer.count} ${answer.count === 1 ? "place" : "places"}.`
    : `${answer.rows} rows, all as they were recorded.`;
  document.getElementById("checkpoint").textContent = answer.checkpoint;
  faults.replaceChildren(...answer.faults.map((fault) => {
    const item = document.createElement("li");
    item.textContent = fault.what;
    return item;
  }));
  faults.hidden = !answer.count;
}

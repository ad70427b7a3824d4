// Files for the rules: sent, never kept. The node's answer is HTML of its own templates, put below the form.
// Of images the first part alone is sent: headers stand there, and the rules ask nothing else.

import { base, tell } from "./page.js";

const byId = (id) => document.getElementById(id);
const form = byId("upload");
const result = byId("result");
const button = form.querySelector("button");
const asked = button.textContent;

function wrong(text) {
  byId("wrong").textContent = text;
  byId("wrong").hidden = !text;
}

/** What is sent: each file's first part, all of them together no more than the form takes. */
function parcel() {
  const { bytes, most } = form.dataset;
  const files = [...form.elements.files.files];
  if (files.length > Number(most)) throw new Error(`Choose at most ${most} files at once; there are ${files.length}.`);
  const cut = form.elements.files.accept === "";
  const each = Math.floor(Number(bytes) / Math.max(files.length, 1));
  const data = new FormData();
  for (const file of files) data.append("files", cut ? file.slice(0, each) : file, file.name);
  if (form.elements.days) data.append("days", form.elements.days.value);
  if (!cut && files.reduce((sum, file) => sum + file.size, 0) > Number(bytes)) {
    throw new Error("These files are larger than protocols are. Choose *.yaml files of reading protocols.");
  }
  return data;
}

async function answered(data) {
  const csrf = document.querySelector('meta[name="csrf"]')?.content ?? "";
  const headers = { Accept: "application/json", "X-CSRF-Token": csrf };
  let response;
  try {
    response = await fetch(base + form.dataset.post, { method: "POST", headers, body: data, credentials: "same-origin" });
  } catch {
    throw new Error("The node does not answer, or a file changed meanwhile. Choose the files again and try again.");
  }
  if (response.ok) return response.text();
  const told = await response.json().catch(() => ({}));
  const error = Object.assign(new Error(told.detail ?? response.statusText), { status: response.status });
  if (response.status === 401) tell("signed-out", error);
  throw error;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  wrong("");
  button.disabled = true;
  button.textContent = "Working …";
  result.replaceChildren();
  result.classList.add("loading");
  try {
    const made = new DOMParser().parseFromString(await answered(parcel()), "text/html");
    result.replaceChildren(...made.body.childNodes);
    result.focus({ preventScroll: true });
    result.scrollIntoView({ block: "nearest" });
  } catch (error) {
    wrong(error.message);
  } finally {
    result.classList.remove("loading");
    button.disabled = false;
    button.textContent = asked;
  }
});

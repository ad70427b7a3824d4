// The worklist: filters in the address, the search beside it, rows that change as they change in the node.
import { acceptAll, undoLast } from "./accept.js";
import { listen } from "./events.js";
import { base, bus, send } from "./page.js";
import { place, showAges, watchPictures } from "./rows.js";

const KEPT = "medseg-worklist-search";
const SELECTED = "medseg-worklist-study";
const ORDER = "medseg.worklist"; // words.js reads it
const search = document.getElementById("search");
const list = document.getElementById("list");
const trouble = document.getElementById("trouble");
const told = document.getElementById("told");

let asked = 0; // counts requests: an answer that is overtaken is thrown away
let due = false;
let busy = false;
let selected = sessionStorage.getItem(SELECTED);

// --- what is shown ----------------------------------------------------------------------------------------------------

const filters = () => {
  const values = {};
  for (const [name, value] of new URLSearchParams(location.search)) (values[name] ??= []).push(value);
  return values;
};

/** `quietly`: because something changed, not because of a person: "live" in the address tells the two apart. */
async function fetchRows({ quietly = false } = {}) {
  const number = ++asked;
  const slow = setTimeout(() => list.classList.add("loading"), quietly ? 1500 : 150);
  try {
    const body = { filters: filters(), q: search.value.trim() };
    const answer = await send("POST", `/worklist/rows${quietly ? "?live=1" : ""}`, body, { background: quietly });
    const text = await answer.text();
    if (number !== asked) return;
    const fresh = new DOMParser().parseFromString(text, "text/html");
    if (!fresh.querySelector("[data-fresh]")) throw Object.assign(new Error(), { status: 401 }); // a page to sign in
    show(fresh, quietly);
    setTrouble("");
  } catch (error) {
    if (number === asked) setTrouble(error.status === 401 ? "signed-out" : "away", error.message);
  } finally {
    clearTimeout(slow);
    if (number === asked) list.classList.remove("loading");
  }
}

function show(fragment, quietly) {
  const before = list.scrollTop;
  place(fragment);
  select(selected, { quiet: true });
  keepOrder();
  if (quietly) list.scrollTop = before;
  else list.scrollTop = 0;
  const { total = "0", reading = "0" } = document.querySelector('[data-part="list"]').dataset;
  const here = document.querySelector('[data-part="tabs"] [aria-current]')?.firstChild?.textContent.trim() ?? "";
  const first = document.querySelector('[data-part="tabs"] [data-tab="review"][aria-current]');
  const sentence = first && Number(reading)
    ? `${here}: ${counted(total - reading)}; being read: ${counted(reading)}`
    : `${here}: ${counted(total)}`;
  if (told.textContent !== sentence) told.textContent = sentence;
}

const counted = (count) => (Number(count) === 1 ? "1 study" : `${count} studies`);

/** What the study page goes on to by its key n. */
function keepOrder() {
  const uids = [...document.querySelectorAll('[data-part="list"] tr[data-study]')].map((row) => row.dataset.study);
  sessionStorage.setItem(ORDER, JSON.stringify(uids));
}

function setTrouble(kind, message = "") {
  trouble.hidden = !kind;
  if (!kind) return;
  trouble.replaceChildren();
  if (kind === "signed-out") {
    const link = document.createElement("a");
    link.href = `${base}/login`;
    link.textContent = "Sign in";
    trouble.append("You are signed out. What you see may be old. ", link, " to go on.");
  } else {
    trouble.append(`${message || "The node does not answer."} What you see may be old; it is asked again by itself.`);
    setTimeout(refreshSoon, 3000);
  }
}

/** Once now and once more if something came meanwhile: any number of events are one request at a time. */
async function refreshSoon() {
  due = true;
  if (busy) return;
  busy = true;
  while (due) {
    due = false;
    await fetchRows({ quietly: true });
    await new Promise((done) => setTimeout(done, 900)); // one change shows at once, many once a second
  }
  busy = false;
}

function go(address) {
  if (address !== location.search) history.pushState(null, "", `${base}/worklist${address}`);
  return fetchRows();
}

// --- rows: one is selected --------------------------------------------------------------------------------------------

const rows = () => [...list.querySelectorAll("tr[data-study]")];
const row = () => (selected ? list.querySelector(`tr[data-study="${CSS.escape(selected)}"]`) : null);

function select(study, { quiet = false } = {}) {
  const all = rows();
  const chosen = all.find((one) => one.dataset.study === study) ?? (quiet && study ? null : all[0]);
  for (const one of all) {
    const on = one === chosen;
    one.setAttribute("aria-selected", String(on));
    one.tabIndex = on || (!chosen && one === all[0]) ? 0 : -1;
  }
  if (!chosen) return;
  selected = chosen.dataset.study;
  sessionStorage.setItem(SELECTED, selected);
  if (quiet) return;
  chosen.focus({ preventScroll: true });
  chosen.scrollIntoView({ block: "nearest" });
}

function move(steps) {
  const all = rows();
  if (!all.length) return;
  const at = all.indexOf(row());
  const next = at < 0 ? 0 : Math.min(all.length - 1, Math.max(0, at + steps));
  select(all[next].dataset.study);
}

const open = (one) => one && location.assign(one.querySelector("a.open").href);

// --- keys and clicks --------------------------------------------------------------------------------------------------

const KEYS = {
  j: () => move(1),
  ArrowDown: () => move(1),
  k: () => move(-1),
  ArrowUp: () => move(-1),
  Home: () => move(-1e9),
  End: () => move(1e9),
  Enter: () => open(row()),
  a: () => acceptAll(row()),
  u: () => undoLast(),
  "/": () => search.select(),
  "?": () => document.getElementById("keys").showModal(),
  "[": () => list.querySelector('[data-page^="before"]')?.click(),
  "]": () => list.querySelector('[data-page^="after"]')?.click(),
  ...Object.fromEntries([1, 2, 3, 4, 5].map((n) => [n, () => document.querySelectorAll(".tab")[n - 1]?.click()])),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const inField = event.target.closest("input, textarea, select");
  if (event.key === "Escape" && event.target === search) return endSearch();
  if (inField && !(inField === search && ["ArrowDown", "Enter"].includes(event.key))) {
    if (!["checkbox", "radio"].includes(inField.type) || event.key.startsWith("Arrow")) return;
  }
  if (event.key === "Enter" && event.target.closest("a, button, summary, input:not(#search)")) return;
  const act = event.target === search ? () => move(event.key === "ArrowDown" && row() ? 0 : -1e9) : KEYS[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

list.addEventListener("click", (event) => {
  const page = event.target.closest("[data-page]");
  if (page && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    return go(new URL(page.href).search);
  }
  const one = event.target.closest("tr[data-study]");
  if (!one || event.target.closest("a")) return;
  select(one.dataset.study);
});
list.addEventListener("dblclick", (event) => open(event.target.closest("tr[data-study]")));
list.addEventListener("focusin", (event) => {
  const one = event.target.closest("tr[data-study]");
  if (one && one.dataset.study !== selected) select(one.dataset.study);
});
document.querySelector('[data-part="tabs"]').addEventListener("click", (event) => {
  const tab = event.target.closest("[data-tab]");
  if (!tab || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  go(new URL(tab.href).search);
});

const rail = document.getElementById("rail");
rail.addEventListener("change", () => {
  const values = new URLSearchParams(new FormData(rail));
  if (values.get("received") === "any") values.delete("received");
  if (values.get("tab") === "review") values.delete("tab");
  go(values.size ? `?${values}` : "");
});
rail.addEventListener("submit", (event) => event.preventDefault());

// --- the search: kept for the session of this browser's tab, never in an address ----------------------------------------

let typing = 0;
search.addEventListener("input", () => {
  sessionStorage.setItem(KEPT, search.value);
  clearTimeout(typing);
  typing = setTimeout(firstPage, 200);
});
document.getElementById("search-form").addEventListener("submit", (event) => {
  event.preventDefault();
  clearTimeout(typing);
  firstPage();
});

function firstPage() {
  const values = new URLSearchParams(location.search);
  values.delete("page");
  return go(values.size ? `?${values}` : "");
}

function endSearch() {
  if (search.value) {
    search.value = "";
    sessionStorage.removeItem(KEPT);
    firstPage();
  }
  move(0);
}

// --- begin ------------------------------------------------------------------------------------------------------------

document.getElementById("all-keys").addEventListener("click", KEYS["?"]);
addEventListener("popstate", () => fetchRows());
bus.addEventListener("worklist", refreshSoon);
bus.addEventListener("connection", (event) => {
  if (event.detail.state === "open") refreshSoon();
  else setTimeout(refreshSoon, 2000); // says whether one is signed out or the node is away
});
setInterval(showAges, 15000);

search.value = sessionStorage.getItem(KEPT) ?? "";
if (search.value) fetchRows();
select(selected, { quiet: true });
watchPictures();
listen();
document.documentElement.dataset.ready = "";

// Put fresh parts of the worklist in place of what the page shows, and leave alone what is the same: selection, focus
// and scroll stay. A part is an element [data-part]; what comes for it is [data-fresh] of the same name.
import { colour } from "./page.js";

export function place(fragment) {
  for (const fresh of fragment.querySelectorAll("[data-fresh]")) {
    const part = document.querySelector(`[data-part="${fresh.dataset.fresh}"]`);
    if (!part) continue;
    if (fresh.dataset.fresh === "list") placeList(part, fresh);
    else if (fresh.dataset.fresh === "rail") placeKeeping(part, fresh);
    else if (part.innerHTML !== fresh.innerHTML) placeKeeping(part, fresh);
  }
  colour();
  watchPictures();
}

/** Replace a part; what has the focus in it has it again afterwards. */
function placeKeeping(part, fresh) {
  const focused = part.contains(document.activeElement) ? document.activeElement : null;
  const which = focused && selectorOf(focused);
  part.replaceChildren(...fresh.cloneNode(true).childNodes);
  if (which) part.querySelector(which)?.focus({ preventScroll: true });
}

function selectorOf(element) {
  if (element.name) return `[name="${CSS.escape(element.name)}"][value="${CSS.escape(element.value)}"]`;
  if (element.dataset.tab) return `[data-tab="${CSS.escape(element.dataset.tab)}"]`;
  return element.id ? `#${CSS.escape(element.id)}` : "nothing";
}

function placeList(part, fresh) {
  Object.assign(part.dataset, { total: fresh.dataset.total, reading: fresh.dataset.reading, place: fresh.dataset.place });
  const rows = part.querySelector("tbody");
  const freshRows = fresh.querySelector("tbody");
  if (!rows || !freshRows) {
    part.replaceChildren(...fresh.cloneNode(true).childNodes);
    return;
  }
  for (const name of ["aria-label", "aria-rowcount"]) {
    part.querySelector("table").setAttribute(name, fresh.querySelector("table").getAttribute(name));
  }
  placeRows(rows, freshRows);
  for (const name of ["note", "pages"]) {
    const now = part.querySelector(`:scope > .${name}`);
    const then = fresh.querySelector(`:scope > .${name}`)?.cloneNode(true);
    if (now && then) now.replaceWith(then);
    else if (now) now.remove();
    else if (then && name === "note") part.prepend(then);
    else if (then) part.append(then);
  }
}

/** Rows by study: those that are the same stay as they are, others are replaced, moved, added or removed. */
function placeRows(rows, freshRows) {
  const focused = rows.contains(document.activeElement) ? document.activeElement.closest("tr")?.dataset.study : null;
  const known = new Map([...rows.children].map((row) => [keyOf(row), row]));
  const first = known.size === 0;
  let behind = null;
  for (const fresh of freshRows.children) {
    const key = keyOf(fresh);
    let row = known.get(key);
    if (!row) {
      row = fresh.cloneNode(true);
      if (!first) row.classList.add("changed");
    } else {
      known.delete(key);
      if (said(row) !== said(fresh)) {
        const next = fresh.cloneNode(true);
        keepPicture(row, next);
        next.classList.add("changed");
        row.replaceWith(next);
        row = next;
      }
    }
    const wanted = behind ? behind.nextElementSibling : rows.firstElementChild;
    if (wanted !== row) rows.insertBefore(row, wanted);
    behind = row;
  }
  for (const gone of known.values()) gone.remove();
  if (focused) rows.querySelector(`tr[data-study="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

const keyOf = (row) => row.dataset.study ?? row.textContent;

/** What a row says, without what this page puts into it itself. */
const said = (row) => row.outerHTML
  .replace(/(<time[^>]*>)[^<]*/g, "$1")
  .replace(/ (aria-rowindex|aria-selected|tabindex|style|data-watched|class="(changed|missing)")(="[^"]*")?/g, "");

/** A picture that is shown already is not fetched and drawn again. */
function keepPicture(row, next) {
  const now = row.querySelector(".thumb img");
  const then = next.querySelector(".thumb img");
  if (now && then && now.getAttribute("src") === then.getAttribute("src")) then.replaceWith(now);
}

export function watchPictures() {
  for (const picture of document.querySelectorAll(".thumb img:not([data-watched])")) {
    picture.dataset.watched = "";
    const failed = () => picture.classList.add("missing");
    picture.addEventListener("error", failed);
    if (picture.complete && !picture.naturalWidth) failed();
  }
}

/** "4 min", as the server says it. */
export function showAges() {
  for (const time of document.querySelectorAll("time[data-age]")) {
    const minutes = Math.max(0, Math.floor((Date.now() - Date.parse(time.dateTime)) / 60000));
    const text = minutes < 1 ? "now" : minutes < 60 ? `${minutes} min`
      : minutes < 2880 ? `${Math.floor(minutes / 60)} h` : `${Math.floor(minutes / 1440)} d`;
    if (time.textContent !== text) time.textContent = text;
  }
}

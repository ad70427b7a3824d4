// What every page shares: addresses, requests that carry the session's token, colours from data, messages.
// No inline style or script anywhere (content security policy): colours come by [data-colour].

const meta = (name) => document.querySelector(`meta[name="${name}"]`)?.content ?? "";

export const base = meta("base");
export const bus = new EventTarget();  // how the parts of a page talk: see study.js for the events

export function tell(name, detail) {
  bus.dispatchEvent(new CustomEvent(name, { detail }));
}

/** A request to the node. Resolves to the response; a refusal rejects with an Error that has `status` and `answer`. */
export async function send(method, path, body, { background = false } = {}) {
  const headers = { Accept: "application/json", "X-CSRF-Token": meta("csrf") };
  if (background) headers["X-Background"] = "1";  // of the page itself: no sign that anybody is there
  let content = body;
  if (body !== undefined && !(body instanceof Blob) && !(body instanceof ArrayBuffer) && !ArrayBuffer.isView(body)) {
    headers["Content-Type"] = "application/json";
    content = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(base + path, { method, headers, body: content, credentials: "same-origin" });
  } catch {
    throw Object.assign(new Error("The node does not answer. What you did is kept here; try again."), { status: 0 });
  }
  if (response.ok) return response;
  const answer = await response.json().catch(() => ({}));
  const error = Object.assign(new Error(answer.detail ?? response.statusText), { status: response.status, answer });
  if (response.status === 401) tell("signed-out", error);
  throw error;
}

export function colour(root = document) {
  for (const element of root.querySelectorAll("[data-colour]")) {
    element.style.setProperty("--colour", element.dataset.colour);
  }
}

/** Once somebody is signed out: a link to sign in and come back to this page. The worklist has a line of its own. */
bus.addEventListener("signed-out", () => {
  const toasts = document.getElementById("toasts");
  if (!toasts || document.getElementById("trouble") || toasts.querySelector("[data-signed-out]")) return;
  const told = Object.assign(document.createElement("p"), { className: "notice warn" });
  told.dataset.signedOut = "";
  const next = encodeURIComponent(location.pathname.slice(base.length) + location.search);
  const link = Object.assign(document.createElement("a"), { href: `${base}/login?next=${next}`, textContent: "Sign in" });
  told.append("You are signed out. What you did here is kept in this browser. ", link, " to go on.");
  toasts.append(told);
});

colour();

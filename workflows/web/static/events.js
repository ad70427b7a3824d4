// Server-sent events of the node, told over the bus: "worklist" {study_uids}, "study" {study_uid, what}, and
// "connection" {state}: "open" (also again: fetch what was missed), "lost" (it is tried again by itself).
import { base, tell } from "./page.js";

let source = null;

export function listen() {
  if (source || !("EventSource" in window)) return;
  source = new EventSource(`${base}/events`);
  source.addEventListener("hello", () => tell("connection", { state: "open" }));
  for (const name of ["worklist", "study"]) {
    source.addEventListener(name, (event) => tell(name, JSON.parse(event.data)));
  }
  source.addEventListener("error", () => {
    tell("connection", { state: "lost" });
    if (source.readyState !== EventSource.CLOSED) return; // the browser tries again
    source = null; // refused: signed out, or the node is away; the page asks what it is
    setTimeout(listen, 3000);
  });
}

addEventListener("pagehide", () => {
  source?.close();
  source = null;
});
addEventListener("pageshow", (event) => {
  if (event.persisted) listen();
});

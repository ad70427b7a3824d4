// The review that a person is making: kept here first, then on the node. Whatever happens to page, session or network,
// what was said stays in this browser until the node has it.

import { bus, send, tell } from "./page.js";

const SAVE_AFTER_MS = 500;
const AGAIN_MS = 5000;
const earlier = (one, other) => Boolean(one && other) && (one[0] - other[0] || one[1] - other[1]) < 0;
const copy = (value) => JSON.parse(JSON.stringify(value));

export class Review {
  /** `uid`: of the study. `account`: who is signed in. `results`: the token of the results that the page shows.
   *  Tells "review" on the bus whenever anything changes. */
  constructor(uid, account, results) {
    this.results = results;
    this.path = `/studies/${uid}`;
    this.store = `medseg.review.${uid}.${account}`;
    this.values = null;      // what the node says
    this.content = { verdicts: [], missed: [], words: [] };
    this.base = null;
    this.history = [];
    this.unsaved = false;
    this.conflict = null;    // {sentence, kind, current}
    this.trouble = "";
    this.timer = 0;
    this.saving = Promise.resolve();
  }

  get state() { return this.values?.review?.state ?? null; }
  get mine() { return Boolean(this.values?.mine); }

  /** Whether the node has other results than the page shows: verdicts on these would be of what nobody has seen. */
  get outdated() { return Boolean(this.values?.results) && this.values.results !== this.results; }

  /** Whether a verdict may be given now. */
  get open() {
    if (!this.values?.may || this.conflict || this.values.stale || this.outdated) return false;
    return this.state === "DRAFT" ? this.mine : !["SIGNED", "WRITTEN"].includes(this.state);  // what is written is amended
  }

  verdict(place) { return this.content.verdicts.find((one) => one.place === place); }

  undecided() { return Object.keys(this.values?.places ?? {}).filter((place) => !this.verdict(place)); }

  // --- The node's ---------------------------------------------------------------------------------------------------

  async load() {
    this._adopt(await this._ask("GET", "/review"));
    const kept = this._stored();
    if (kept && this.values.may) this._restore(kept);
  }

  _stored() {
    try { return JSON.parse(localStorage.getItem(this.store)); } catch { return null; }
  }

  /** What this browser kept and the node has not got: sent again, or set against what others have said since. */
  _restore(kept) {
    const same = JSON.stringify(kept.content) === JSON.stringify(this.content);
    if (same) return this._forget();
    this.content = { words: [], ...kept.content };
    this.unsaved = true;
    this.base = kept.base;
    if (this._current(kept.base)) this._later(0);
    else this._conflicts("This browser kept verdicts that were not saved, and the review was changed since.", "stale", this.values);
    this._changed();
  }

  _current(base) { return JSON.stringify(base ?? null) === JSON.stringify(this.values.base ?? null); }

  _adopt(values) {
    this.values = values;
    this.base = values.base;
    this.conflict = null;
    this.trouble = "";
    const { verdicts = [], missed = [], words = [] } = values.review ?? {};
    if (!this.unsaved) this.content = copy({ verdicts, missed, words });
    this._changed();
  }

  async _ask(method, path, body, how) {
    return (await send(method, this.path + path, body, how)).json();
  }

  // --- Saying something ---------------------------------------------------------------------------------------------

  /** Change the draft by `act(content)`; it can be undone. False: nothing may be said now. */
  change(act) {
    if (!this.open) return false;
    this.history.push(copy(this.content));
    act(this.content);
    this._say();
    return true;
  }

  undo() {
    const before = this.history.pop();
    if (!before || !this.open) return false;
    this.content = before;
    this._say();
    return true;
  }

  _say() {
    this.unsaved = true;
    localStorage.setItem(this.store, JSON.stringify({ base: this.base, content: this.content }));
    this._later(SAVE_AFTER_MS);
    this._changed();
  }

  _later(after) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.save(), after);
  }

  /** Save what is not saved. Resolves to whether the node has all of it. */
  save() {
    clearTimeout(this.timer);
    this.saving = this.saving.then(() => this._save());
    return this.saving;
  }

  async _save() {
    if (!this.unsaved || this.conflict) return !this.unsaved;
    const sent = copy(this.content);
    try {
      const values = await this._ask("PUT", "/review", { base: this.base, ...sent });
      this.unsaved = JSON.stringify(sent) !== JSON.stringify(this.content);
      if (this.unsaved) this._later(SAVE_AFTER_MS);
      else this._forget();
      this._adopt(values);
      if (this.unsaved) localStorage.setItem(this.store, JSON.stringify({ base: this.base, content: this.content }));
      return !this.unsaved;
    } catch (error) {
      this._failed(error);
      return false;
    }
  }

  _forget() {
    this.unsaved = false;
    localStorage.removeItem(this.store);
  }

  _failed(error) {
    if (error.status === 404 && !error.proposal) return this._conflicts(error.message, "gone", this.values);
    if (error.status === 409 && error.answer?.current) return this._conflicts(error.message, error.answer.kind, error.answer.current);
    this.trouble = error.status === 401 ? "You are signed out. Your verdicts are kept in this browser: sign in again, and they are saved."
      : error.message;
    if (error.status === 0 || error.status >= 500) this._later(AGAIN_MS);
    this._changed();
  }

  _conflicts(sentence, kind, current) {
    this.conflict = { sentence, kind, current };
    this._changed();
  }

  // --- Choices ------------------------------------------------------------------------------------------------------

  /** Leave what is here, and go on with what the node has. */
  useTheirs() {
    const current = this.conflict?.current ?? this.values;
    this._forget();
    this.history = [];
    this._adopt(current);
  }

  /** Put what is here in place of what the node has, on purpose. */
  async keepMine() {
    const current = this.conflict?.current ?? this.values;
    this.conflict = null;
    this.values = current;
    this.base = current.base;
    if (this.state === "DRAFT" && !this.mine && !(await this.act("/review/take-over"))) return;
    this.unsaved = true;
    await this.save();
  }

  /** One of the changes that the node makes: signing, undoing, taking over, reopening, a decision. */
  async act(path, body = {}) {
    try {
      const base = path.endsWith("/undo") ? {} : { base: this.base };
      const values = await this._ask("POST", path, path.endsWith("/undo") ? undefined : { ...base, ...body });
      this._adopt(values);
      return true;
    } catch (error) {
      this._failed(Object.assign(error, { proposal: path.startsWith("/proposals/") }));
      return false;
    }
  }

  /** Throw the own draft away, with what this browser has kept of it: an earlier review stands as it was. */
  async discard() {
    clearTimeout(this.timer);
    await this.saving;
    this._forget();
    this.history = [];
    return this.act("/review/withdraw");
  }

  /** Sign, on the results that the page has shown: others are refused. */
  async sign() {
    if (!this.open) return false;
    if (this.unsaved && !(await this.save())) return false;
    return this.act("/review/sign", { results: this.results });
  }

  async decide(proposal, decision) {
    if (this.unsaved && !(await this.save())) return false;
    const done = await this.act(`/proposals/${proposal.seg_uid}/${proposal.segment}`, { decision });
    if (done) tell("reload");
    return done;
  }

  /** Say that the page is open; hear who else has it, and whether the review was changed elsewhere. */
  async beat(closed = false) {
    try {
      const heard = await this._ask("POST", "/open", { closed }, { background: true });
      if (closed) return;
      this.values.open = heard.open;
      const moved = !this._currentIs(heard.base) || heard.stale !== this.values.stale || heard.results !== this.values.results;
      if (moved && !this.unsaved && !this.conflict) await this.load();
      else this._changed();
    } catch (error) {
      if (error.status === 404) this._failed(error);
    }
  }

  /** Something of the study changed: take what the node has now, unless something here waits to be saved. */
  async hear() {
    if (this.unsaved || this.conflict || !this.values) return;
    try {
      const values = await this._ask("GET", "/review", undefined, { background: true });
      if (!this.unsaved && !this.conflict && !earlier(values.base, this.base)) this._adopt(values);
    } catch (error) {
      if (error.status === 404) this._failed(error);
    }
  }

  _currentIs(base) { return JSON.stringify(base ?? null) === JSON.stringify(this.base ?? null); }

  _changed() { tell("review", this); }
}

export const onReview = (act) => bus.addEventListener("review", ({ detail }) => act(detail));

// The words of an answer are wrong: a button at its question, one key, and a reason if the reviewer likes.

import { bind } from "./keys.js";
import { jobOf, state } from "./study.js";
import { onReview } from "./review.js";

const blocks = () => document.querySelectorAll("[data-words]");
const keyOf = (block) => {
  const [job_key, answer] = block.dataset.words.split("/");
  return { job_key, answer: Number(answer) };
};
const isOf = (key) => (one) => one.job_key === key.job_key && one.answer === key.answer;

/** `review`: the page's; `refused`: tells that nothing may be said now. */
export function wrongWords(review, refused) {
  function turn(key) {
    const done = review.change((content) => {
      const others = content.words.filter((one) => !isOf(key)(one));
      content.words = others.length < content.words.length ? others : [...others, { ...key, reason: "" }];
    });
    if (!done) refused();
  }

  /** The answer of the finding that is chosen, else the first of what is shown. */
  function chosen() {
    if (state.finding) return { job_key: state.finding.split("/")[0], answer: Number(state.finding.split("/")[1]) };
    const first = jobOf(state.job_key)?.answers.find((one) => one.part === state.part);
    return first ? { job_key: state.job_key, answer: first.answer } : null;
  }

  for (const block of blocks()) {
    const key = keyOf(block);
    block.querySelector("button")?.addEventListener("click", () => turn(key));
    block.querySelector(".reason")?.addEventListener("change", ({ target }) => review.change((content) => {
      Object.assign(content.words.find(isOf(key)) ?? {}, { reason: target.value.trim() });
    }));
  }
  if (document.querySelector("[data-words] button")) bind("q", "the words of the answer are wrong", () => { const key = chosen(); if (key) turn(key); });

  onReview(() => {
    for (const block of blocks()) {
      const wrong = review.content.words.find(isOf(keyOf(block)));
      const choice = block.querySelector("button"), reason = block.querySelector(".reason");
      choice?.setAttribute("aria-pressed", String(Boolean(wrong)));
      choice?.setAttribute("aria-disabled", String(!review.open));
      if (reason) {
        reason.hidden = !wrong || !review.open;
        if (document.activeElement !== reason) reason.value = wrong?.reason ?? "";
      }
      block.querySelector(".rejected").hidden = !wrong;
    }
  });
}

// Words of the study page: numbers, times and names as people read them, and where the reader is in the worklist.

import { day, moment } from "./dates.js";

const LIST = "medseg.worklist";  // sessionStorage: the study UIDs of the worklist in its order, as JSON

const number = (value) => (Math.abs(value) >= 100 || Number.isInteger(value) ? Math.round(value) : Number(value.toPrecision(3)));

export const words = {
  window: ({ centre, width }) => `W ${number(width)} L ${number(centre)}`,

  value(value, unit) {
    if (Array.isArray(value)) return `RGB ${value.join(" ")}`;
    if (!Number.isFinite(value)) return "no value";
    return `${Number.isInteger(value) ? value : Number(value.toPrecision(5))}${unit ? ` ${unit}` : ""}`;
  },

  series(job, part) {
    const asked = job.question_by ? `Asked: ${job.answers[0]?.question ?? "a question"}` : "";
    const name = asked ? asked : part.name ? `${job.series}: ${part.name}` : job.series;
    return name.length > 28 ? `${name.slice(0, 27)}…` : name;
  },

  /** What is on a slice, for who does not see it. */
  slice(study, state, findings) {
    const there = findings.filter((one) => one.slices.some(([first, last]) => first <= state.slice && state.slice <= last));
    const named = there.length ? there.map((one) => one.label).join(", ") : "nothing marked";
    return `${study.study.modality || "Image"}, slice ${state.slice + 1}: ${named}`;
  },

  nothing(study) {
    return study.jobs.length ? "No answer yet: the images are shown once they are read." : "No series of this study was read.";
  },

  /** Times relative, with the absolute one on hover. */
  times(root) {
    for (const element of root.querySelectorAll("time[data-time]")) {
      const then = new Date(element.getAttribute("datetime"));
      if (Number.isNaN(then.getTime())) continue;
      element.textContent = relative(then);
      element.title = moment(then);
    }
  },
};

function relative(then) {
  const minutes = Math.round((Date.now() - then.getTime()) / 60000);
  if (minutes < 1) return "just now";
  if (minutes < 60) return `${minutes} min ago`;
  if (minutes < 60 * 24) return `${Math.round(minutes / 60)} h ago`;
  return day(then);
}

/** Where a study stands in the worklist that the reader came from. */
export function listed(uid) {
  let uids = [];
  try {
    uids = JSON.parse(sessionStorage.getItem(LIST) ?? "[]");
  } catch {
    uids = [];
  }
  const at = Array.isArray(uids) ? uids.indexOf(uid) : -1;
  return at < 0 ? { next: null, told: "" } : { next: uids[at + 1] ?? null, told: `${at + 1} of ${uids.length}` };
}

// What verdicts are called, and what signing says that it does. Words only.

const MARK = { accept: "✓", outline: "✎", name: "⇄", "not-there": "✕" };
const SAID = { accept: "Accepted", outline: "Outline wrong", name: "Name wrong", "not-there": "Not there" };
const DOES = { accept: ["accept", ""], outline: ["correct", ""], name: ["rename", ""], "not-there": ["take out", ""] };

const several = (count, one, more = `${one}s`) => `${count} ${count === 1 ? one : more}`;
const list = (parts) => parts.length < 2 ? parts.join("") : `${parts.slice(0, -1).join(", ")} and ${parts.at(-1)}`;
const of = (review) => review.content.verdicts.filter((one) => one.place in review.values.places);

function verdict(one) {
  const said = one.kind === "name" && one.label ? `Is ${one.label}` : SAID[one.kind];
  const more = one.kind === "outline" ? (one.correction ? ", corrected" : ", not corrected yet (d draws)") : one.kind === "name" && !one.label ? ": choose the right one" : "";
  return `${MARK[one.kind]} ${said}${more}${one.reason ? ` · ${one.reason}` : ""}`;
}

const wanting = (one) => Boolean(one) && one.kind === "name" && !one.label;

/** What is still to be said before it can be signed, beside verdicts that are missing. */
function wanted(review) {
  const nameless = of(review).filter(wanting).map((one) => review.values.places[one.place]);
  return nameless.length ? `Choose the right name of ${list(nameless)}.` : "";
}

const left = (labels) => `No verdict yet on ${list(labels)}: give one, or accept all that is left with A.`;

function sign(review) {
  const open = review.undecided().length;
  if (open) return `Sign: ${several(open, "finding")} to judge`;
  const counts = Object.entries(DOES).map(([kind, [does]]) => [does, of(review).filter((one) => one.kind === kind).length]);
  const parts = counts.filter(([, count]) => count);
  const missed = review.content.missed.length;
  const wrong = review.content.words.length;
  if (!parts.length && !missed && !wrong) return "Sign: nothing was seen";
  const told = parts.map(([does, count], place) => `${does} ${place ? count : several(count, "finding")}`);
  return `Sign: ${list([...told, ...(missed ? [`${missed} missed`] : []), ...(wrong ? [`words of ${several(wrong, "answer")} rejected`] : [])])}`;
}

/** How many objects go where: as the node makes them, a report, a segmentation, or key objects for each series. */
function sends(review, jobOf) {
  const made = { report: 0, segmentation: 0 }, archives = new Set();
  const amends = review.values.review?.number > 1;
  let takenBack = 0;  // jobs of which something was sent that does not hold any more
  for (const [key, names] of Object.entries(review.values.destinations)) {
    names.forEach((name) => archives.add(name));
    const verdicts = of(review).filter((one) => one.place.startsWith(`${key}/`));
    const missed = review.content.missed.filter((one) => one.job_key === key && one.correction);
    if (verdicts.length && !missed.length && verdicts.every((one) => one.kind === "not-there")) takenBack += 1;
    else {
      if (amends || review.content.missed.some((one) => one.job_key === key) || verdicts.some((one) => one.kind !== "accept" || one.correction)) takenBack += 1;
      made.report += 1;
      const parts = new Set(jobOf(key)?.answers.map((one) => one.part) ?? [0]);
      const wrong = verdicts.length && review.content.words.some((one) => one.job_key === key);
      if (wrong || missed.length || verdicts.some((one) => one.kind !== "accept")) made.segmentation += Math.max(1, parts.size);
    }
  }
  const objects = Object.entries(made).filter(([, count]) => count).map(([name, count]) => several(count, name));
  if (!archives.size) return objects.length ? `Makes ${list(objects)}; no archive is configured to send them to.` : "";
  const back = `akes back what was sent before of ${several(takenBack, "series", "series")} (a rejection note, or a deletion).`;
  const sent = objects.length ? `Sends ${list(objects)} to ${list([...archives])}.` : "";
  return [sent, takenBack ? (sent ? `Then t${back}` : `T${back}`) : ""].filter(Boolean).join(" ");
}

function told(review) {
  if (review.unsaved && !review.conflict) return "Saving…";
  return review.values?.told ?? "";
}

function signed(review, seconds) {
  if (seconds > 0 && review.mine) return `Signed. It is written and sent in ${seconds} s.`;
  return seconds > 0 ? review.values.told : "Signed. It is being written.";
}

const unread = "A question is still being read: its answer is not in what you sign.";

/** Why nothing may be said now of a review that is signed, or "". */
const closed = (state) => ({
  SIGNED: "It is signed: undo that first, or wait until it is written.",
  WRITTEN: "It is signed and written: Amend begins a further review.",
}[state] ?? "");

const outdated = "The results of this study changed since this page was loaded. Load it again and look at all of them: what you have said is kept.";

const proposal = (one) => `Proposed by ${one.author}: ${one.place ? "another outline" : `${one.label}, which we have not`}.`;

const missed = (one) => `${one.label}, slice ${one.slice + 1}${one.correction ? ", outlined" : ""}${one.reason ? ` · ${one.reason}` : ""}`;

export const words = { closed, left, missed, outdated, proposal, sends, sign, signed, told, unread, verdict, wanted, wanting };

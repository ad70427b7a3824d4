// Days and moments in one order that nobody can misread, whatever the browser's language: 29 Nov 2026 08:12. As web/dates.py.

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const two = (number) => String(number).padStart(2, "0");

export const day = (at) => `${at.getDate()} ${MONTHS[at.getMonth()]} ${at.getFullYear()}`;

export const moment = (at) => `${day(at)} ${two(at.getHours())}:${two(at.getMinutes())}`;

/** The day of an ISO date; a text that is none stays as it is. */
export function dayOf(iso) {
  const found = /^(\d{4})-(\d\d)-(\d\d)$/.exec(iso ?? "");
  return found ? `${Number(found[3])} ${MONTHS[Number(found[2]) - 1]} ${found[1]}` : iso ?? "";
}

// Slices and outlines of one part of a job: fetched once, kept up to a bound, neighbours ahead of the reader.

import { send } from "./page.js";

const MOST_BYTES = 192 * 1024 * 1024;
const KINDS = { int16: Int16Array, uint16: Uint16Array, float32: Float32Array, rgb8: Uint8Array };
const kept = new Map();  // address -> { promise, bytes }, the least lately used first
let held = 0;

function remember(address, make) {
  const found = kept.get(address);
  if (found) {
    kept.delete(address);
    kept.set(address, found);
    return found.promise;
  }
  const entry = { bytes: 0, ready: false };
  entry.promise = make().then((value) => {
    entry.bytes = value.bytes ?? 2000;
    entry.ready = true;
    held += entry.bytes;
    for (const [key, old] of kept) {
      if (held <= MOST_BYTES) break;
      if (!old.ready || old === entry) continue;
      kept.delete(key);
      held -= old.bytes;
    }
    entry.value = value;
    return value;
  });
  entry.promise.catch(() => kept.delete(address));
  kept.set(address, entry);
  return entry.promise;
}

/** What is kept is forgotten where its address begins so: after a correction, or when a study is read anew. */
export function forget(beginning) {
  for (const [key, entry] of kept) {
    if (key.startsWith(beginning)) {
      kept.delete(key);
      held -= entry.bytes;
    }
  }
}

export class Slices {
  /** `study`, `job`: keys; `part`: of the model. */
  constructor(study, job, part) {
    this.root = `/studies/${study}/jobs/${job}/parts/${part.part}`;
    this.job = job;
    this.part = part;
    this.count = part.slices;
  }

  /** Values of a slice: { kind, rows, columns, values }. */
  values(index) {
    return remember(`${this.root}/slices/${index}/values`, async () => {
      const response = await send("GET", `${this.root}/slices/${index}/values`);
      const kind = response.headers.get("X-Kind");
      const values = new KINDS[kind](await response.arrayBuffer());
      const size = (name) => Number(response.headers.get(name));
      return { kind, rows: size("X-Rows"), columns: size("X-Columns"), values, bytes: values.byteLength };
    });
  }

  /** The same if it is there already, else undefined. */
  ready(index) {
    return kept.get(`${this.root}/slices/${index}/values`)?.value;
  }

  /** Outlines on a slice: [{ place, label, colour, corrected, loops }]. None kept: []. */
  outlines(index) {
    return remember(`${this.root}/outlines/${index}`, async () => {
      try {
        const answer = await (await send("GET", `${this.root}/outlines/${index}`)).json();
        return { findings: answer.findings, bytes: 4000 };
      } catch (error) {
        if (error.status === 410) return { findings: [], bytes: 100 };
        throw error;
      }
    }).then((kept) => kept.findings);
  }

  /** Fetch those beside a slice, two at a time, the nearest first; a later call takes over. */
  async ahead(index, direction = 1, reach = 12) {
    const turn = (this.turn = Symbol("turn"));
    const wanted = [];
    for (let step = 1; step <= reach; step += 1) {
      for (const next of [index + step * direction, index - step * direction]) {
        if (next >= 0 && next < this.count && (step <= reach / 2 || next === index + step * direction)) wanted.push(next);
      }
    }
    const work = async () => {
      while (wanted.length && this.turn === turn) {
        const next = wanted.shift();
        await Promise.allSettled([this.values(next), this.outlines(next)]);
      }
    };
    await Promise.all([work(), work()]);
  }
}

// Masks as .nii.gz, as the node sends and takes them: uint8, zeros and ones, column by column fastest, then row, slice.
// The header is kept as it came, so a mask goes back on exactly the grid that it came on.

import { base } from "./page.js";

const HEADER = 352;

/** Fetches bytes. `progress` gets a number from 0 on, in bytes. Rejects with the node's own sentence. */
export async function fetched(path, progress = () => {}, signal = undefined) {
  const response = await fetch(base + path, { credentials: "same-origin", signal });
  if (!response.ok) {
    const answer = await response.json().catch(() => ({}));
    throw Object.assign(new Error(answer.detail ?? response.statusText), { status: response.status });
  }
  const reader = response.body.getReader();
  const pieces = [];
  let there = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    pieces.push(value);
    progress((there += value.length));
  }
  return new Blob(pieces);
}

/** A mask of the node: its header, bytes as they came, and its voxels, a Uint8Array. */
export async function fetchMask(path, signal = undefined) {
  return unpacked(await fetched(path, undefined, signal));
}

export async function unpacked(blob) {
  const stream = blob.stream().pipeThrough(new DecompressionStream("gzip"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  return { header: bytes.slice(0, HEADER), voxels: bytes.slice(HEADER) };
}

/** The inverse of `unpacked`. */
export async function packed({ header, voxels }) {
  const stream = new Blob([header, voxels]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Response(stream).blob();
}

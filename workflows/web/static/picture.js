// A slice's values as pixels: windowed here, so that a drag follows the mouse.

/** Paint { kind, rows, columns, values } through a window onto a canvas of its own size. */
export function paint(canvas, slice, window) {
  if (canvas.width !== slice.columns || canvas.height !== slice.rows) {
    canvas.width = slice.columns;
    canvas.height = slice.rows;
  }
  const context = canvas.getContext("2d", { willReadFrequently: false });
  const image = context.createImageData(slice.columns, slice.rows);
  const pixels = new Uint32Array(image.data.buffer);
  const { values } = slice;
  if (slice.kind === "rgb8") {
    for (let at = 0, from = 0; at < pixels.length; at += 1, from += 3) {
      pixels[at] = 0xff000000 | (values[from + 2] << 16) | (values[from + 1] << 8) | values[from];
    }
  } else if (slice.kind === "float32") {
    const low = window.centre - window.width / 2, scale = 255 / window.width;
    for (let at = 0; at < pixels.length; at += 1) {
      const grey = Math.max(0, Math.min(255, Math.round((values[at] - low) * scale))) || 0;
      pixels[at] = 0xff000000 | (grey * 0x010101);
    }
  } else {
    const table = tableOf(window, slice.kind);
    for (let at = 0; at < pixels.length; at += 1) pixels[at] = table[values[at] & 0xffff];
  }
  context.putImageData(image, 0, 0);
}

const table = new Uint32Array(65536);
let tableFor = "";

function tableOf(window, kind) {
  const name = `${window.centre}/${window.width}/${kind}`;
  if (name === tableFor) return table;
  tableFor = name;
  const low = window.centre - window.width / 2, scale = 255 / window.width;
  for (let stored = 0; stored < 65536; stored += 1) {
    const value = kind === "int16" && stored > 32767 ? stored - 65536 : stored;
    const grey = Math.max(0, Math.min(255, Math.round((value - low) * scale)));
    table[stored] = 0xff000000 | (grey * 0x010101);
  }
  return table;
}

/** A window over nearly all values of a slice, for images that state none. */
export function fullRange(slice) {
  const step = Math.max(1, Math.floor(slice.values.length / 20000));
  const some = [];
  for (let at = 0; at < slice.values.length; at += step) if (Number.isFinite(slice.values[at])) some.push(slice.values[at]);
  some.sort((one, other) => one - other);
  const low = some[Math.floor(some.length * 0.005)] ?? 0, high = some[Math.ceil(some.length * 0.995) - 1] ?? 1;
  return { name: "Full range", centre: (low + high) / 2, width: Math.max(high - low, 1e-3) };
}

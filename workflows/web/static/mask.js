// A mask that is drawn on: voxels on the source grid, what a stroke marks or clears, undo and redo.
// An index is column + columns * (row + rows * slice). A place is [column, row, slice]. An `axis` (0, 1, 2) is the one
// that a plane is perpendicular to; in a plane, u and v are the other two in this order.

const LONGEST = 200;  // strokes that can be undone

export class Mask {
  /** `dims`: columns, rows, slices. `voxels`: 0 and 1; they are changed. `start`: what changes are counted from. */
  constructor(dims, voxels, start = voxels.slice()) {
    this.dims = dims;
    this.steps = [1, dims[0], dims[0] * dims[1]];
    this.voxels = voxels;
    this.start = start;
    this.perSlice = new Float64Array(dims[2]);
    this.added = this.removed = 0;
    this.done = [];
    this.undone = [];
    this.stroke = null;
    this.box = null;
    this.recount();
  }

  recount() {
    this.perSlice.fill(0);
    this.added = this.removed = 0;
    for (let slice = 0, i = 0; slice < this.dims[2]; slice++) {
      for (const end = i + this.steps[2]; i < end; i++) {
        const here = this.voxels[i];
        this.perSlice[slice] += here;
        if (here !== this.start[i]) here ? this.added++ : this.removed++;
      }
    }
  }

  get count() {
    return this.perSlice.reduce((sum, one) => sum + one, 0);
  }

  get changed() {
    return this.added + this.removed > 0;
  }

  /** ml, where `each` is what a voxel of each slice holds; null where nobody knows. */
  ml(each) {
    return each && this.perSlice.reduce((sum, count, slice) => sum + count * each[slice], 0);
  }

  index([column, row, slice]) {
    return column + this.steps[1] * row + this.steps[2] * slice;
  }

  // --- Strokes -------------------------------------------------------------------------------------------------------

  begin() {
    this.stroke = [];
  }

  /** Ends a stroke; true: it has changed something. */
  end() {
    const stroke = this.stroke ?? [];
    this.stroke = null;
    if (!stroke.length) return false;
    this.done.push(Uint32Array.from(stroke));
    if (this.done.length > LONGEST) this.done.shift();
    this.undone = [];
    return true;
  }

  undo() {
    return this._again(this.done, this.undone);
  }

  redo() {
    return this._again(this.undone, this.done);
  }

  _again(from, to) {
    const stroke = from.pop();
    if (!stroke) return false;
    for (const i of stroke) this._flip(i);  // a stroke only marks or only clears
    to.push(stroke);
    return true;
  }

  /** The box of what changed since it was last taken: [[c, r, s] first, [c, r, s] last], or null. */
  takeBox() {
    const box = this.box;
    this.box = null;
    return box;
  }

  /** Indices of voxels that are other than at the start, for a draft. */
  difference() {
    const found = new Uint32Array(this.added + this.removed);
    for (let i = 0, n = 0; n < found.length; i++) if (this.voxels[i] !== this.start[i]) found[n++] = i;
    return found;
  }

  /** Changes these voxels as one stroke. */
  apply(difference) {
    this.begin();
    for (const i of difference) this._set(i, this.voxels[i] ^ 1);
    this.end();
  }

  // --- Tools ---------------------------------------------------------------------------------------------------------

  /** A round brush from one place to the next in a plane; `size` in voxels across, `edges`: mm of a voxel along c r s. */
  brush(axis, from, to, size, value, edges = [1, 1, 1]) {
    const [u, v] = others(axis);
    for (const [a, b] of between([from[u], from[v]], [to[u], to[v]])) {
      this._disc(axis, from[axis], a, b, size, value, edges);
    }
  }

  _disc(axis, depth, a, b, size, value, edges) {
    const [u, v] = others(axis);
    const finest = Math.min(edges[u], edges[v]);
    const radius = ((size - 1) / 2 + (size > 1 ? 0.25 : 0)) * finest;
    const [across, down] = [Math.floor(radius / edges[u]), Math.floor(radius / edges[v])];
    for (let q = -down; q <= down; q++) {
      for (let p = -across; p <= across; p++) {
        if (Math.hypot(p * edges[u], q * edges[v]) <= radius) this._put(axis, depth, a + p, b + q, value);
      }
    }
  }

  /** Fills what an outline of places in a plane encloses, the outline too. */
  polygon(axis, outline, value) {
    if (!outline.length) return;
    const [u, v] = others(axis);
    const depth = outline[0][axis];
    const points = outline.map((place) => [place[u], place[v]]);
    points.forEach((point, n) => {
      for (const [a, b] of between(point, points[(n + 1) % points.length])) this._put(axis, depth, a, b, value);
    });
    const rows = points.map(([, b]) => b);
    for (let b = Math.min(...rows); b <= Math.max(...rows); b++) {
      const crossings = [];
      points.forEach(([a1, b1], n) => {
        const [a2, b2] = points[(n + 1) % points.length];
        if (b1 <= b !== b2 <= b) crossings.push(a1 + ((b - b1) / (b2 - b1)) * (a2 - a1));
      });
      crossings.sort((first, second) => first - second);
      for (let n = 0; n + 1 < crossings.length; n += 2) {
        for (let a = Math.ceil(crossings[n]); a <= crossings[n + 1]; a++) this._put(axis, depth, a, b, value);
      }
    }
  }

  /** Fills the hole that a place of a plane lies in. False: it is not closed, and nothing is filled. */
  hole(axis, place) {
    const [u, v] = others(axis);
    const [width, height] = [this.dims[u], this.dims[v]];
    const origin = this.steps[axis] * place[axis];
    const seen = new Uint8Array(width * height);
    const queue = [place[u] + width * place[v]];
    if (this.voxels[this.index(place)]) return true;
    seen[queue[0]] = 1;
    for (let n = 0; n < queue.length; n++) {
      const [a, b] = [queue[n] % width, Math.floor(queue[n] / width)];
      if (a === 0 || b === 0 || a === width - 1 || b === height - 1) return false;
      for (const next of [queue[n] - 1, queue[n] + 1, queue[n] - width, queue[n] + width]) {
        const [c, d] = [next % width, Math.floor(next / width)];
        if (seen[next] || this.voxels[origin + c * this.steps[u] + d * this.steps[v]]) continue;
        seen[next] = 1;
        queue.push(next);
      }
    }
    for (const one of queue) this._put(axis, place[axis], one % width, Math.floor(one / width), 1);
    return true;
  }

  // --- Voxels --------------------------------------------------------------------------------------------------------

  _put(axis, depth, a, b, value) {
    const [u, v] = others(axis);
    if (a < 0 || b < 0 || a >= this.dims[u] || b >= this.dims[v]) return;
    this._set(depth * this.steps[axis] + a * this.steps[u] + b * this.steps[v], value);
  }

  _set(i, value) {
    if (this.voxels[i] === value) return;
    this._flip(i);
    this.stroke.push(i);
  }

  _flip(i) {
    const value = (this.voxels[i] ^= 1);
    const slice = Math.floor(i / this.steps[2]);
    this.perSlice[slice] += value ? 1 : -1;
    if (this.start[i]) this.removed += value ? -1 : 1;
    else this.added += value ? 1 : -1;
    const place = [i % this.dims[0], Math.floor(i / this.dims[0]) % this.dims[1], slice];
    this.box ??= [place.slice(), place.slice()];
    for (let n = 0; n < 3; n++) {
      if (place[n] < this.box[0][n]) this.box[0][n] = place[n];
      if (place[n] > this.box[1][n]) this.box[1][n] = place[n];
    }
  }
}

function others(axis) {
  return axis === 0 ? [1, 2] : axis === 1 ? [0, 2] : [0, 1];
}

/** The voxels of a line, both ends too (Bresenham). */
function* between([a, b], [c, d]) {
  const [across, down] = [Math.abs(c - a), -Math.abs(d - b)];
  let off = across + down;
  for (;;) {
    yield [a, b];
    if (a === c && b === d) return;
    const twice = 2 * off;
    if (twice >= down) { off += down; a += a < c ? 1 : -1; }
    if (twice <= across) { off += across; b += b < d ? 1 : -1; }
  }
}

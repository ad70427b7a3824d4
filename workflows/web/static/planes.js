// Three planes by Niivue: the volume, masks in their colours, a crosshair. Drawing marks voxels of the source grid; this
// view says which voxel lies under the pointer and shows what is marked.
//
// Niivue keeps what is shown in RAS order (first voxel right, posterior, feet), the node in the order of its source grid.
// Its own mouse is off: the crosshair is always put onto the centre of a voxel, so the slice that is shown is the one
// that is drawn on.

import { base, bus, tell } from "./page.js";
import { fetched } from "./nifti.js";

const PERPENDICULAR = [2, 1, 0];  // the RAS axis of Niivue's axial, coronal and sagittal slices
const MULTIPLANAR = 3;

export class Planes {
  /** A view in `host`. `values(index)`: the number of the colour of a voxel of the source grid, 0 for none. */
  static async open(host, path, { window, values, colours, progress = () => {}, signal }) {
    const { Niivue, NVImage } = await import(`${base}/static/vendor/niivue.js`);
    const view = new Planes(host, values);
    await view._open(Niivue, NVImage, await fetched(`${path}/volume.nii.gz`, progress, signal), window, colours);
    return view;
  }

  constructor(host, values) {
    this.host = host;
    this.values = values;
    this.canvas = document.createElement("canvas");
    this.canvas.setAttribute("aria-label", "three planes: axial, coronal, sagittal");
    this.canvas.tabIndex = 0;
    this.listening = new AbortController();
    this.due = 0;
  }

  async _open(Niivue, NVImage, blob, window, colours) {
    this.host.replaceChildren(this.canvas);
    const nv = (this.nv = new Niivue({
      interactive: false, dragAndDropEnabled: false, isRadiologicalConvention: true, isSliceMM: false,
      sliceType: MULTIPLANAR, multiplanarShowRender: 0, backColor: [0, 0, 0, 1], crosshairColor: [0.35, 0.66, 1, 0.7],
      crosshairWidth: 0.3, crosshairWidthUnit: "voxels", crosshairGap: 6, fontColor: [0.6, 0.65, 0.7, 1],
      isNearestInterpolation: true, logLevel: "error", loadingText: "", maxDrawUndoBitmaps: 1, isAntiAlias: false,
    }));
    await nv.attachToCanvas(this.canvas);
    const image = await NVImage.loadFromUrl({ url: await blob.arrayBuffer(), name: "volume.nii.gz", colormap: "gray" });
    nv.addVolume(image);
    this.dims = image.hdr.dims.slice(1, 4);
    this.edges = image.hdr.pixDims.slice(1, 4);
    this.rasDims = image.dimsRAS.slice(1, 4);
    this.step = image.img2RASstep;
    this.first = image.img2RASstart.reduce((sum, one) => sum + one, 0);
    this.perm = image.permRAS;  // which source axis, from 1, each RAS axis is; negative: the other way round
    nv.createEmptyDrawing();
    nv.clickToSegmentGrowingBitmap = null;
    nv.drawClearAllUndoBitmaps();
    this.at = this.rasDims.map((length) => Math.floor(length / 2));
    nv.setCustomLayout(this._layout());
    this.setColours(colours);
    if (window) this.setWindow(window);
    this._listen();
  }

  /** The plane that was acquired is large, since one draws on it; the two others stand beside it. */
  _layout() {
    const main = PERPENDICULAR.indexOf(this.perm.findIndex((one) => Math.abs(one) === 3));
    const [upper, lower] = [0, 1, 2].filter((one) => one !== main);
    return [
      { sliceType: main, position: [0, 0, 0.68, 1] },
      { sliceType: upper, position: [0.68, 0, 0.32, 0.5] },
      { sliceType: lower, position: [0.68, 0.5, 0.32, 0.5] },
    ];
  }

  close() {
    this.listening.abort();
    cancelAnimationFrame(this.due);
    this.nv?.cleanup();
    this.nv?.gl?.getExtension("WEBGL_lose_context")?.loseContext();
    this.canvas.remove();
    this.nv = null;
  }

  // --- What is shown -------------------------------------------------------------------------------------------------

  /** `colours`: "#rrggbb" of each number from 1 on. */
  setColours(colours) {
    const parts = colours.map((one) => [1, 3, 5].map((n) => parseInt(one.slice(n, n + 2), 16)));
    const channel = (n) => [0, ...parts.map((one) => one[n])];
    const labels = ["", ...colours.map((_, n) => String(n + 1))];
    this.nv.setDrawColormap({ R: channel(0), G: channel(1), B: channel(2), A: [0, ...parts.map(() => 255)], labels });
  }

  setOpacity(opacity) {
    this.nv.setDrawOpacity(opacity);
  }

  setWindow({ centre, width }) {
    if (this.window?.centre === centre && this.window.width === width) return;
    const [volume] = this.nv.volumes;
    this.window = { centre, width: Math.max(width, 1e-3) };
    volume.cal_min = centre - this.window.width / 2;
    volume.cal_max = centre + this.window.width / 2;
    this.nv.updateGLVolume();
  }

  /** Puts the crosshair onto the centre of a voxel of the source grid, [column, row, slice]. */
  show(place) {
    this.at = this._ras(place);
    this._crosshair();
  }

  /** The voxel that the crosshair is on: [column, row, slice]. */
  get place() {
    return this._source(this.at);
  }

  /** Shows the voxels of a box of the source grid anew; all where none is given. */
  refresh(box = [[0, 0, 0], this.dims.map((length) => length - 1)]) {
    const ends = box.map((place) => this._ras(place));
    const low = ends[0].map((one, n) => Math.min(one, ends[1][n]));
    const size = ends[0].map((one, n) => Math.abs(one - ends[1][n]) + 1);
    const shown = this.nv.drawBitmap;
    const cut = new Uint8Array(size[0] * size[1] * size[2]);
    const [x1, y1, z1] = this.step;
    let n = 0;
    for (let z = low[2]; z < low[2] + size[2]; z++) {
      for (let y = low[1]; y < low[1] + size[1]; y++) {
        let from = this.first + low[0] * x1 + y * y1 + z * z1;
        let to = low[0] + this.rasDims[0] * (y + this.rasDims[1] * z);
        for (let x = 0; x < size[0]; x++, from += x1) shown[to++] = cut[n++] = this.values(from);
      }
    }
    const { gl } = this.nv;
    gl.activeTexture(gl.TEXTURE7);
    gl.bindTexture(gl.TEXTURE_3D, this.nv.drawTexture);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    gl.texSubImage3D(gl.TEXTURE_3D, 0, ...low, ...size, gl.RED, gl.UNSIGNED_BYTE, cut);
    this._drawSoon();
  }

  // --- Where things are ----------------------------------------------------------------------------------------------

  /** What lies under the pointer: {axis, place} on the source grid; null beside the planes. `axis`: only this plane. */
  pick(event, axis = null) {
    const [x, y] = this._pixels(event);
    const tile = this.nv.screenSlices[this.nv.tileIndex(x, y)];
    if (!tile || tile.axCorSag > 2) return null;
    const frac = this.nv.canvasPos2frac([x, y]);
    if (frac[0] < 0) return null;
    const ras = Array.from(this.nv.frac2vox(frac), (one, n) => Math.max(0, Math.min(this.rasDims[n] - 1, one)));
    const across = PERPENDICULAR[tile.axCorSag];
    ras[across] = this.at[across];
    const source = Math.abs(this.perm[across]) - 1;
    return axis === null || axis === source ? { axis: source, place: this._source(ras) } : null;
  }

  /** Where a voxel is on the screen, in the plane perpendicular to a source axis: client coordinates, or null. */
  where(place, axis) {
    const across = this.perm.findIndex((one) => Math.abs(one) - 1 === axis);
    const kind = PERPENDICULAR.indexOf(across);
    const found = this.nv.frac2canvasPosWithTile(this.nv.vox2frac(this._ras(place)), kind);
    if (!found) return null;
    const { left, top } = this.canvas.getBoundingClientRect();
    return [left + found.pos[0] / this._ratio, top + found.pos[1] / this._ratio];
  }

  get _ratio() {
    return this.canvas.width / this.canvas.clientWidth;
  }

  _pixels(event) {
    const { left, top } = this.canvas.getBoundingClientRect();
    return [(event.clientX - left) * this._ratio, (event.clientY - top) * this._ratio];
  }

  _ras(place) {
    return this.perm.map((one) => {
      const axis = Math.abs(one) - 1;
      return one < 0 ? this.dims[axis] - 1 - place[axis] : place[axis];
    });
  }

  _source(ras) {
    const place = [0, 0, 0];
    this.perm.forEach((one, n) => {
      const axis = Math.abs(one) - 1;
      place[axis] = one < 0 ? this.dims[axis] - 1 - ras[n] : ras[n];
    });
    return place;
  }

  // --- Moving --------------------------------------------------------------------------------------------------------

  /** Goes through the slices of the plane under the pointer. */
  scroll(event, by) {
    const [x, y] = this._pixels(event);
    const tile = this.nv.screenSlices[this.nv.tileIndex(x, y)];
    const across = tile && tile.axCorSag <= 2 ? PERPENDICULAR[tile.axCorSag] : 2;
    this.at[across] = Math.max(0, Math.min(this.rasDims[across] - 1, this.at[across] + by));
    this._crosshair();
    tell("moved", { place: this.place });
  }

  _crosshair() {
    this.nv.scene.crosshairPos = this.nv.vox2frac(this.at);
    this._drawSoon();
  }

  _drawSoon() {
    cancelAnimationFrame(this.due);
    this.due = requestAnimationFrame(() => this.nv?.drawScene());
  }

  _listen() {
    const { signal } = this.listening;
    this._crosshair();
    this.canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.scroll(event, event.deltaY > 0 ? -1 : 1);
    }, { signal, passive: false });
    this.canvas.addEventListener("contextmenu", (event) => event.preventDefault(), { signal });
    bus.addEventListener("window", ({ detail }) => this.setWindow(detail), { signal });
  }
}

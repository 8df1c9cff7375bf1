// The surface as coloured bands, and the paths on it.

import { clamp, scale, sizeOf, svg } from "./chart.js";

const BANDS = 20;
let drawn = "";

/** Colour every pixel by its band; bands cover equal areas, so that flat and steep parts both show. */
export function drawHeights(canvas, name, surface) {
  const ratio = Math.min(2, window.devicePixelRatio || 1);
  const [width, height] = sizeOf(canvas).map((size) => Math.max(2, Math.round(size * ratio)));
  const style = getComputedStyle(document.documentElement);
  const [low, high] = ["--valley", "--height"].map((key) => rgb(style.getPropertyValue(key)));
  const key = [name, width, height, low, high].join();
  if (key === drawn) return;
  drawn = key;
  [canvas.width, canvas.height] = [width, height];
  const { heights, columns } = surface;
  const rows = heights.length / columns;
  const sorted = [...heights].sort((a, b) => a - b);
  const edges = Array.from({ length: BANDS - 1 }, (_, k) => sorted[Math.floor(((k + 1) / BANDS) * sorted.length)]);
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  for (let row = 0; row < height; row++) {
    const v = (row / (height - 1)) * (rows - 1);
    const [v0, dv] = [Math.min(rows - 2, Math.floor(v)), v - Math.min(rows - 2, Math.floor(v))];
    for (let column = 0; column < width; column++) {
      const u = (column / (width - 1)) * (columns - 1);
      const u0 = Math.min(columns - 2, Math.floor(u));
      const du = u - u0;
      const at = v0 * columns + u0;
      const value =
        (heights[at] * (1 - du) + heights[at + 1] * du) * (1 - dv) +
        (heights[at + columns] * (1 - du) + heights[at + columns + 1] * du) * dv;
      const part = bandOf(edges, value) / (BANDS - 1);
      const pixel = 4 * (row * width + column);
      for (let channel = 0; channel < 3; channel++)
        image.data[pixel + channel] = low[channel] + part * (high[channel] - low[channel]);
      image.data[pixel + 3] = 255;
    }
  }
  context.putImageData(image, 0, 0);
}

function bandOf(edges, value) {
  let [low, high] = [0, edges.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (edges[middle] <= value) low = middle + 1;
    else high = middle;
  }
  return low;
}

const rgb = (text) => [1, 3, 5].map((at) => parseInt(text.trim().slice(at, at + 2), 16));

/** Paths up to a slot, where the seeds ended, start and minimum. */
export function drawPaths(element, surface, start, shown, slot) {
  const [left, right, bottom, top] = surface.box;
  const [width, height] = sizeOf(element).map((size, axis) => size || [400, 300][axis]);
  const [x, y] = [scale(left, right, 0, width), scale(bottom, top, height, 0)];
  const put = ([px, py]) => [clamp(x(px), -2000, 3000), clamp(y(py), -2000, 3000)];
  const circle = (kind, [cx, cy], r) => svg("circle", { class: kind, cx, cy, r });
  const [mx, my] = put(surface.minimum);
  const parts = shown.flatMap((one, index) => {
    if (one.error) return [];
    const colour = `s${index}`;
    const points = one.path.slice(0, slot + 1).map(put);
    const d = `M${points.map((point) => point.map((n) => n.toFixed(1)).join(" ")).join("L")}`;
    const dots = points.length <= 130 ? points : [];
    const ends = slot >= one.path.length - 1 ? one.ends.map(put) : [];
    return [
      svg("path", { class: `series ${colour}`, d }),
      ...dots.map((point) => circle(`dot ${colour}`, point, 1.8)),
      ...ends.map((point) => circle(`end ${colour}`, point, 3.2)),
      circle(`now ${colour}`, points.at(-1), 5),
    ];
  });
  element.setAttribute("viewBox", `0 0 ${width} ${height}`);
  element.replaceChildren(
    svg("path", { class: "minimum", d: `M${mx - 6} ${my}h12M${mx} ${my - 6}v12` }),
    ...parts,
    circle("start", put(start), 6),
    svg("title", {}, surface.title),
  );
}

// The surface as coloured bands, and the paths on it.

import { lineStyle, scale, sizeOf, svg } from "./chart.js";

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

/** The scales of the picture. */
function places(element, box) {
  const [left, right, bottom, top] = box;
  const [width, height] = sizeOf(element).map((size, axis) => size || [400, 300][axis]);
  return { x: scale(left, right, 0, width), y: scale(bottom, top, height, 0), width, height };
}

/** Paths up to a slot, where the seeds ended, start and minimum. */
export function drawPaths(element, surface, start, shown, slot) {
  const { x, y, width, height } = places(element, surface.box);
  element.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const put = ([px, py]) => [bound(x(px)), bound(y(py))];
  const parts = [];
  const [mx, my] = put(surface.minimum);
  parts.push(svg("path", { class: "minimum", d: `M${mx - 6} ${my}h12M${mx} ${my - 6}v12` }));
  shown.forEach((one, index) => {
    if (one.error) return;
    const points = one.path.slice(0, slot + 1).map(put);
    parts.push(svg("path", { ...lineStyle(index), "stroke-dasharray": "", d: `M${points.map((p) => p.map((n) => n.toFixed(1)).join(" ")).join("L")}` }));
    if (points.length <= 130)
      for (const [px, py] of points) parts.push(svg("circle", { class: `dot s${index % 6}`, cx: px, cy: py, r: 1.8 }));
    if (slot >= one.path.length - 1)
      for (const end of one.ends) {
        const [px, py] = put(end);
        parts.push(svg("circle", { class: `end s${index % 6}`, cx: px, cy: py, r: 3.2 }));
      }
    const [px, py] = points[points.length - 1];
    parts.push(svg("circle", { class: `now s${index % 6}`, cx: px, cy: py, r: 5 }));
  });
  const [sx, sy] = put(start);
  parts.push(svg("circle", { class: "start", cx: sx, cy: sy, r: 6 }), svg("title", {}, surface.title));
  element.replaceChildren(...parts);
}

const bound = (pixel) => Math.max(-2000, Math.min(3000, pixel));

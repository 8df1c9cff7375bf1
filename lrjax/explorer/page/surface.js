// The surface as coloured bands, and the paths on it.

import { clamp, scale, sizeOf, svg } from "./chart.js";

let drawn = "";

/** Colour the canvas, a pixel for every number of the grid, by its band; the browser scales it to the surface's size. */
export function drawHeights(canvas, name, { heights, columns, highest }) {
  const style = getComputedStyle(document.documentElement);
  const [low, high] = ["--valley", "--height"].map((key) => rgb(style.getPropertyValue(key)));
  const key = [name, low, high].join();
  if (key === drawn) return;
  drawn = key;
  [canvas.width, canvas.height] = [columns, heights.length / columns];
  const pixels = heights.flatMap((band) => [...low.map((one, channel) => one + (band / highest) * (high[channel] - one)), 255]);
  canvas.getContext("2d").putImageData(new ImageData(Uint8ClampedArray.from(pixels), columns), 0, 0);
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

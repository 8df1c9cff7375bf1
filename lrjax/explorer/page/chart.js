// Line charts in SVG.

const SVG = "http://www.w3.org/2000/svg";
const DASHES = ["", "7 3", "7 3 2 3", "2 2.5", "10 3", "4 2 1 2"];

export const clamp = (value, low, high) => Math.max(low, Math.min(high, value));

/** An SVG element with attributes and children. */
export function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

const sizes = new WeakMap();
const watch = new ResizeObserver((entries) => {
  for (const { target } of entries) sizes.set(target, [target.clientWidth, target.clientHeight]);
});

/** Width and height in pixels. Remembered: to read them while drawing makes the browser lay the page out each time. */
export function sizeOf(element) {
  if (!sizes.get(element)?.[0]) {
    sizes.set(element, [element.clientWidth, element.clientHeight]);
    watch.observe(element);
  }
  return sizes.get(element);
}

/** Class and dash of the line of one schedule. */
export const lineStyle = (index) => ({ class: `series s${index}`, "stroke-dasharray": DASHES[index] });

/** A number as one reads it: three digits. */
export function format(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-3) return value.toExponential(2).replace(/\.?0+e/, "e");
  return String(Number(value.toPrecision(3)));
}

/** A scale from values to pixels. */
export function scale(low, high, from, to, log) {
  const map = log ? Math.log10 : (value) => value;
  const [a, b] = [map(low), map(high)];
  const place = (value) => from + ((map(value) - a) / (b - a || 1)) * (to - from);
  return Object.assign(place, { low, high, log });
}

function ticks({ low, high, log }, room) {
  if (log) {
    const [first, last] = [Math.ceil(Math.log10(low) - 1e-9), Math.floor(Math.log10(high) + 1e-9)];
    const every = Math.max(1, Math.ceil((last - first + 1) / room));
    const found = [];
    for (let power = first; power <= last; power += every) found.push(Number(`1e${power}`));
    if (found.length > 1) return found;
    return [1, 2, 5].flatMap((digit) => [first - 1, first].map((power) => Number(`${digit}e${power}`))).filter((one) => one >= low && one <= high);
  }
  const rough = (high - low) / room;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = unit * [1, 2, 5, 10].find((factor) => factor * unit >= rough);
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-6; value += step) found.push(value);
  return found;
}

const tickText = (value, log) =>
  log && (value < 1e-2 || value > 1e4) ? value.toExponential(0).replace("+", "") : Math.abs(value) < 1e-12 ? "0" : format(value);

/** Pixels of a value, within what a browser can draw; below the axis where a log scale has no place for it. */
const pixels = (y, value) => clamp(y(y.log && value <= 0 ? y.low : value), -1e4, 1e4).toFixed(1);

/** The `d` of a line through the points; it breaks where a value is null. */
function pathThrough(xs, ys, x, y) {
  let [d, pen] = ["", "M"];
  xs.forEach((at, index) => {
    const missing = ys[index] === null || (y.log && ys[index] <= 0);
    if (!missing) d += `${pen}${x(at).toFixed(1)} ${pixels(y, ys[index])}`;
    pen = missing ? "M" : "L";
  });
  return d;
}

function bandThrough({ xs, low, high }, x, y) {
  const kept = xs.map((_, index) => index).filter((index) => low[index] !== null);
  if (kept.length < 2) return "";
  const point = (values) => (index) => `${x(xs[index]).toFixed(1)} ${pixels(y, values[index] ?? y.high)}`;
  return `M${[...kept.map(point(high)), ...kept.reverse().map(point(low))].join("L")}Z`;
}

/**
 * Draw a chart into an <svg>.
 *
 * spec.x, spec.y: {low, high, log, label}; spec.lines: [{xs, ys, index}]; spec.bands: [{xs, low, high, index}];
 * spec.levels: [{at, text}] across; spec.uprights: [{at, text, class}] upright; spec.spans: [{low, high}] from left to
 * right; spec.belts: [{low, high, text}] from below to above;
 * spec.points: [{x, y, class}]; spec.cursor: an x.
 */
export function drawChart(element, spec) {
  const [width, height] = sizeOf(element).map((size, axis) => size || [600, 240][axis]);
  const [left, right, top, bottom] = [54, width - 12, 12, height - 38];
  const x = scale(spec.x.low, spec.x.high, left, right, spec.x.log);
  const y = scale(spec.y.low, spec.y.high, bottom, top, spec.y.log);
  const across = (at, kind) => svg("line", { class: kind, x1: left, x2: right, y1: y(at), y2: y(at) });
  const upright = (at, kind) => svg("line", { class: kind, x1: x(at), x2: x(at), y1: top, y2: bottom });
  const axes = svg(
    "g",
    { class: "axes" },
    ...ticks(x, Math.max(2, Math.floor(width / 90))).flatMap((at) => [upright(at, ""), svg("text", { x: x(at), y: bottom + 15, "text-anchor": "middle" }, tickText(at, x.log))]),
    ...ticks(y, Math.max(2, Math.floor(height / 45))).flatMap((at) => [across(at, ""), svg("text", { x: left - 6, y: y(at) + 4, "text-anchor": "end" }, tickText(at, y.log))]),
    svg("path", { class: "frame", d: `M${left} ${top}V${bottom}H${right}` }),
    svg("text", { class: "label", x: (left + right) / 2, y: height - 4, "text-anchor": "middle" }, spec.x.label),
  );
  const { spans = [], belts = [], bands = [], levels = [], uprights = [], lines = [], points = [], cursor = null } = spec;
  const clip = `${element.id}-clip`;
  const inside = svg(
    "g",
    { "clip-path": `url(#${clip})` },
    ...spans.map(({ low, high }) => svg("rect", { class: "span", x: x(low), width: Math.max(1, x(high) - x(low)), y: top, height: bottom - top })),
    ...belts.flatMap(({ low, high, text: words }) => [
      svg("rect", { class: "span", x: left, width: right - left, y: pixels(y, high), height: Math.max(1, pixels(y, low) - pixels(y, high)) }),
      svg("text", { class: "remark", x: left + 6, y: clamp(y(high) + 13, top + 13, bottom - 5) }, words),
    ]),
    ...bands.map((band) => svg("path", { class: `band s${band.index}`, d: bandThrough(band, x, y) })),
    ...levels.flatMap(({ at, text: words }) => [
      across(at, "level"),
      svg("text", { class: "remark", x: right - 4, y: y(at) + (y(at) < top + 16 ? 13 : -5), "text-anchor": "end" }, words),
    ]),
    ...uprights.map((one) => upright(one.at, one.class)),
    ...lines.map((one) => svg("path", { ...(one.class ? { class: one.class } : lineStyle(one.index)), d: pathThrough(one.xs, one.ys, x, y) })),
    ...points.map((one) => pointAt(one, x, y, top)),
    ...(cursor === null ? [] : [upright(cursor, "cursor")]),
  );
  const window = svg("rect", { x: left, y: top - 2, width: Math.max(0, right - left), height: Math.max(0, bottom - top + 3) });
  element.setAttribute("viewBox", `0 0 ${width} ${height}`);
  element.replaceChildren(svg("defs", {}, svg("clipPath", { id: clip }, window)), axes, inside);
}

/** A dot, or a cross at the upper edge where the value is missing or too high. */
function pointAt({ x: px, y: py, class: kind, title }, x, y, top) {
  const lost = py === null || py > y.high;
  const mark = lost
    ? svg("path", { class: `${kind} cross`, d: `M${x(px) - 4} ${top + 3}l8 8m-8 0l8 -8` })
    : svg("circle", { class: kind, cx: x(px), cy: y(py), r: 3.5 });
  if (title) mark.append(svg("title", {}, title));
  return mark;
}

/** Lowest and highest of several lists, nulls left out; for a log axis only what is above 0. */
export function extent(lists, log) {
  const values = lists.flat().filter((value) => value !== null && (!log || value > 0));
  if (!values.length) return [log ? 1e-3 : 0, 1];
  return values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
}

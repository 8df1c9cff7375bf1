// Line charts in SVG.

const SVG = "http://www.w3.org/2000/svg";
const DASHES = ["", "7 3", "7 3 2 3", "2 2.5", "10 3", "4 2 1 2"];
let count = 0;

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
export const lineStyle = (index) => ({ class: `series s${index % 6}`, "stroke-dasharray": DASHES[index % 6] });

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

/** The `d` of a line through the points; it breaks where a value is null. */
export function pathThrough(xs, ys, x, y) {
  let d = "";
  let pen = "M";
  for (let index = 0; index < xs.length; index++) {
    const value = ys[index];
    if (value === null || (y.log && value <= 0)) {
      pen = "M";
      continue;
    }
    d += `${pen}${x(xs[index]).toFixed(1)} ${Math.max(-1e4, Math.min(1e4, y(value))).toFixed(1)}`;
    pen = "L";
  }
  return d;
}

/**
 * Draw a chart into an <svg>.
 *
 * spec.x, spec.y: {low, high, log, label}; spec.lines: [{xs, ys, index}]; spec.bands: [{xs, low, high, index}];
 * spec.levels: [{at, text}] across; spec.uprights: [{at, text, class}] upright; spec.spans: [{low, high}];
 * spec.points: [{x, y, class}]; spec.cursor: an x.
 */
export function drawChart(element, spec) {
  const [width, height] = sizeOf(element).map((size, axis) => size || [600, 240][axis]);
  const [left, right, top, bottom] = [54, 12, 12, 38];
  element.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const x = scale(spec.x.low, spec.x.high, left, width - right, spec.x.log);
  const y = scale(spec.y.low, spec.y.high, height - bottom, top, spec.y.log);
  const clip = (element.dataset.clip ??= `clip${++count}`);
  const inside = svg("g", { "clip-path": `url(#${clip})` });
  const axes = svg("g", { class: "axes" });
  for (const value of ticks(x, Math.max(2, Math.floor(width / 90)))) {
    axes.append(
      svg("line", { x1: x(value), x2: x(value), y1: top, y2: height - bottom }),
      svg("text", { x: x(value), y: height - bottom + 15, "text-anchor": "middle" }, tickText(value, x.log)),
    );
  }
  for (const value of ticks(y, Math.max(2, Math.floor(height / 45)))) {
    axes.append(
      svg("line", { x1: left, x2: width - right, y1: y(value), y2: y(value) }),
      svg("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, tickText(value, y.log)),
    );
  }
  axes.append(
    svg("path", { class: "frame", d: `M${left} ${top}V${height - bottom}H${width - right}` }),
    svg("text", { class: "label", x: (left + width - right) / 2, y: height - 4, "text-anchor": "middle" }, spec.x.label),
  );
  for (const { low, high } of spec.spans ?? [])
    inside.append(svg("rect", { class: "span", x: x(low), width: Math.max(1, x(high) - x(low)), y: top, height: height - top - bottom }));
  for (const band of spec.bands ?? []) {
    const d = bandThrough(band, x, y);
    if (d) inside.append(svg("path", { class: `band s${band.index % 6}`, d }));
  }
  for (const { at, text } of spec.levels ?? []) {
    inside.append(svg("line", { class: "level", x1: left, x2: width - right, y1: y(at), y2: y(at) }));
    const below = y(at) < top + 16;
    inside.append(svg("text", { class: "remark", x: width - right - 4, y: y(at) + (below ? 13 : -5), "text-anchor": "end" }, text));
  }
  for (const { at, class: kind } of spec.uprights ?? [])
    inside.append(svg("line", { class: kind, x1: x(at), x2: x(at), y1: top, y2: height - bottom }));
  for (const { xs, ys, index, class: kind } of spec.lines ?? []) {
    const style = kind ? { class: kind } : lineStyle(index);
    inside.append(svg("path", { ...style, d: pathThrough(xs, ys, x, y) }));
  }
  for (const { x: px, y: py, class: kind, title } of spec.points ?? []) {
    const lost = py === null || py > y.high;
    const at = [x(px), lost ? top + 7 : y(py)];
    const mark = lost
      ? svg("path", { class: `${kind} cross`, d: `M${at[0] - 4} ${at[1] - 4}l8 8m-8 0l8 -8` })
      : svg("circle", { class: kind, cx: at[0], cy: at[1], r: 3.5 });
    if (title) mark.append(svg("title", {}, title));
    inside.append(mark);
  }
  if (spec.cursor !== undefined && spec.cursor !== null)
    inside.append(svg("line", { class: "cursor", x1: x(spec.cursor), x2: x(spec.cursor), y1: top, y2: height - bottom }));
  const window = svg("clipPath", { id: clip }, svg("rect", { x: left, y: top - 2, width: Math.max(0, width - left - right), height: Math.max(0, height - top - bottom + 3) }));
  element.replaceChildren(svg("defs", {}, window), axes, inside);
}

function bandThrough({ xs, low, high }, x, y) {
  const floor = (value) => (y.log && value <= 0 ? y.low : value);
  const ceiling = (value) => (value === null ? y.high : value);
  const kept = xs.map((_, index) => index).filter((index) => low[index] !== null);
  if (kept.length < 2) return "";
  const bound = (value) => Math.max(-1e4, Math.min(1e4, y(value))).toFixed(1);
  const up = kept.map((index) => `${x(xs[index]).toFixed(1)} ${bound(floor(ceiling(high[index])))}`);
  const down = kept.reverse().map((index) => `${x(xs[index]).toFixed(1)} ${bound(floor(low[index]))}`);
  return `M${up.join("L")}L${down.join("L")}Z`;
}

/** Lowest and highest of several lists, nulls left out; for a log axis only what is above 0. */
export function extent(lists, log) {
  let [low, high] = [Infinity, -Infinity];
  for (const list of lists)
    for (const value of list)
      if (value !== null && (!log || value > 0)) {
        if (value < low) low = value;
        if (value > high) high = value;
      }
  return low > high ? [log ? 1e-3 : 0, 1] : [low, high];
}

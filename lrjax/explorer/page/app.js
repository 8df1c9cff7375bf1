// The schedules: state, controls, and what is drawn of the answers.

import { ask, latest } from "./ask.js";
import { drawChart, extent, format, svg } from "./chart.js";
import { choice, controlsOf, example, make, slider, stretch } from "./controls.js";
import { startFinder } from "./finder.js";
import { drawHeights, drawPaths } from "./surface.js";

const $ = (id) => document.getElementById(id);
let form; // what the server told at the start
let state; // what is asked for
let answer = null; // the last answer, and the state it is for
let slot = null; // the slot that is looked at; null is the last
let cards = [];
let common = {};

const request = latest("/api/course", show);

function changed() {
  request(structuredClone(state));
  document.dispatchEvent(new Event("training"));
}

function show(found, asked) {
  const wrong = found.error !== undefined;
  trouble(wrong ? found.error : "");
  if (wrong) return;
  answer = { ...found, asked };
  const last = answer.steps.length - 1;
  $("scrub").max = last;
  if (slot === null || slot > last) $("scrub").value = last;
  found.schedules.forEach((one, index) => cards[index]?.show(one));
  draw();
}

function trouble(message) {
  $("trouble").textContent = message;
  $("trouble").hidden = !message;
}

// Pictures.

function draw() {
  if (!answer) return;
  const { steps, schedules, asked, limit } = answer;
  const at = Math.min(slot ?? steps.length - 1, steps.length - 1);
  const good = schedules.map((one, index) => ({ ...one, index })).filter((one) => !one.error);
  const x = { low: 0, high: asked.steps, label: "step (optimizer updates)" };
  const cursor = slot === null ? null : steps[at];
  drawRates(steps, good, x, limit, cursor);
  drawMomentum(steps, good, x, cursor);
  drawLosses(steps, good, x, cursor);
  const surface = form.surfaces[asked.surface];
  $("surface-title").textContent = surface.title;
  $("surface-note").textContent = `${surface.sentence} Press on it, or drag, to start elsewhere.`;
  drawHeights($("heights"), asked.surface, surface);
  drawPaths($("paths"), surface, asked.start, schedules, at);
  drawNumbers(steps, at);
}

function drawRates(steps, good, x, limit, cursor) {
  const log = $("lr-log").checked;
  const [low, high] = extent(good.map((one) => one.lr), log);
  const levels = limit !== null && limit < 4 * high && limit > low ? [{ at: limit, text: `unstable at the minimum above ${format(limit)}` }] : [];
  const top = Math.max(high, levels.length ? limit : 0) * (log ? 1.8 : levels.length ? 1.25 : 1.12) || 1;
  const y = log ? { low: Math.max(Math.min(low, high / 10), high * 1e-6) / 1.3, high: top, log } : { low: 0, high: top };
  drawChart($("lr-chart"), { x, y, levels, cursor, lines: good.map(({ lr, index }) => ({ xs: steps, ys: lr, index })) });
}

function drawMomentum(steps, good, x, cursor) {
  const paired = good.filter((one) => one.momentum);
  $("momentum-figure").hidden = paired.length === 0;
  if (!paired.length) return;
  const [low, high] = extent(paired.map((one) => one.momentum), false);
  const room = (high - low) * 0.1 || 0.05;
  const lines = paired.map(({ momentum, index }) => ({ xs: steps, ys: momentum, index }));
  drawChart($("momentum-chart"), { x, y: { low: Math.max(0, low - room), high: high + room }, cursor, lines });
}

function drawLosses(steps, good, x, cursor) {
  const log = $("loss-log").checked;
  const alive = good.filter((one) => one.loss.length);
  const first = Math.max(...alive.map((one) => one.loss[0]), 1e-6);
  const [low, high] = extent(alive.map((one) => one.loss), log);
  const top = Math.min(high, first * (log ? 30 : 1.5)) * (log ? 2 : 1.05);
  const y = log ? { low: Math.max(low, first * 1e-9) / 2, high: top, log } : { low: 0, high: top };
  const bands = alive.map((one) => ({ xs: steps, low: one.low, high: one.high, index: one.index }));
  const lines = alive.map((one) => ({ xs: steps, ys: one.loss, index: one.index }));
  const points = alive
    .filter((one) => one.loss[one.loss.length - 1] === null)
    .map((one) => ({ x: steps[Math.max(0, one.loss.indexOf(null) - 1)], y: null, class: `point s${one.index % 6}` }));
  drawChart($("loss-chart"), { x, y, bands, lines, cursor, points });
}

function drawNumbers(steps, at) {
  const here = steps[at];
  $("lr-at").textContent = `lr at ${here}`;
  $("loss-at").textContent = `Loss at ${here}`;
  $("scrub-value").textContent = `${here} of ${answer.asked.steps}`;
  $("scrub").setAttribute("aria-valuetext", `step ${here}`);
  const rows = answer.schedules.map((one, index) => {
    const name = make("th", { scope: "row" }, swatch(index), ` ${label(index)}`);
    if (one.error) return make("tr", {}, name, make("td", { colSpan: 4, textContent: "cannot be made" }));
    const last = one.loss[one.loss.length - 1];
    const lost = one.diverged ? `${one.diverged} of ${answer.asked.seeds}${one.diverged_at ? `, first at step ${one.diverged_at}` : ""}` : "none";
    const cells = [format(one.lr[at]), loss(one.loss[at]), loss(last), lost];
    const row = make("tr", {}, name, ...cells.map((textContent) => make("td", { textContent })));
    row.classList.toggle("lost", one.diverged > 0);
    return row;
  });
  $("numbers").tBodies[0].replaceChildren(...rows);
}

const loss = (value) => (value === null ? "diverged" : format(value));
const label = (index) => state.schedules[index]?.spec.name.replaceAll("_", " ") ?? "";

function swatch(index) {
  const picture = svg("svg", { class: "swatch", viewBox: "0 0 26 10", "aria-hidden": "true" });
  picture.append(svg("path", { class: `series s${index % 6}`, d: "M1 5H25", "stroke-dasharray": ["", "7 3", "7 3 2 3", "2 2.5", "10 3", "4 2 1 2"][index % 6] }));
  return picture;
}

// Cards.

function buildCards() {
  cards = state.schedules.map((_, index) => card(index));
  $("cards").replaceChildren(...cards.map((one) => one.element));
  $("add").disabled = state.schedules.length >= form.limits.schedules;
}

function card(index) {
  const entry = state.schedules[index];
  const body = make("div");
  const select = choice(
    `Schedule ${index + 1}`,
    [],
    entry.spec.name,
    (name) => {
      entry.spec = example(form, name, state.steps);
      entry.momentum = null;
      fill();
      changed();
    },
    form.groups,
  );
  select.querySelector("label").prepend(swatch(index), " ");
  const remove = make("button", { type: "button", className: "remove", textContent: "Remove" });
  remove.setAttribute("aria-label", `Remove schedule ${index + 1}`);
  remove.disabled = state.schedules.length === 1;
  remove.addEventListener("click", () => {
    state.schedules.splice(index, 1);
    buildCards();
    changed();
    $("add").focus();
  });
  const wrong = make("p", { className: "wrong-words", hidden: true });
  wrong.setAttribute("role", "alert");
  const problems = make("ul", { className: "warnings" });
  const told = make("pre", { className: "words" });
  const code = make("code");
  const buttons = copyButtons(index);
  const text = make("details", {}, make("summary", { textContent: "In words and code" }), told, code, buttons);
  const fill = () => body.replaceChildren(...controlsOf(entry.spec, form, state.steps, changed), ...momentumRows(entry, fill));
  fill();
  const show = (one) => {
    wrong.hidden = !one.error;
    wrong.textContent = one.error ?? "";
    text.hidden = Boolean(one.error);
    problems.replaceChildren(...(one.problems ?? []).map(({ message }) => make("li", { textContent: message })));
    told.textContent = one.words ?? "";
    code.textContent = one.code ?? "";
  };
  const head = make("div", { className: "head" }, select, remove);
  const element = make("article", { className: `card schedule c${index % 6}` }, head, body, wrong, problems, text);
  return { element, show, fill };
}

function momentumRows(entry, fill) {
  const pair = form.pairs[entry.spec.name];
  if (!pair) return [];
  const choose = choice("momentum", ["as for all", pair], entry.momentum ? pair : "as for all", (name) => {
    entry.momentum = name === pair ? { max_momentum: 0.95, min_momentum: 0.85 } : null;
    fill();
    changed();
  });
  if (!entry.momentum) return [choose];
  const ends = ["max_momentum", "min_momentum"].map((end) =>
    slider(end.replace("_", " "), { kind: "number", low: 0, high: 1 }, entry.momentum[end], (value) => {
      entry.momentum[end] = value;
      changed();
    }),
  );
  return [choose, ...ends];
}

function copyButtons(index) {
  const said = make("span", { className: "hint" });
  said.setAttribute("role", "status");
  const button = (words, text) => {
    const found = make("button", { type: "button", textContent: words });
    found.addEventListener("click", async () => {
      said.textContent = (await copy(text())) ? "Copied." : "The browser does not allow it: select the line above.";
    });
    return found;
  };
  const shown = () => answer.schedules[index];
  return make("div", { className: "buttons" }, button("Copy Python", () => shown().code), button("Copy JSON", () => JSON.stringify(shown().spec)), said);
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

// The training.

function buildCommon() {
  const set = (name) => (value) => {
    state[name] = value;
    changed();
  };
  let before = null; // the schedules before the length began to move, so that rounding does not add up
  const length = slider("steps", { kind: "steps", low: 10, high: form.limits.steps }, state.steps, (value) => {
    if (value < 1 || value > form.limits.steps) return trouble(`steps must be from 1 to ${form.limits.steps}.`);
    if (before?.now !== JSON.stringify(state.schedules)) before = { steps: state.steps, schedules: structuredClone(state.schedules) };
    state.steps = value;
    state.schedules.forEach((entry, index) => {
      entry.spec = structuredClone(before.schedules[index].spec);
      stretch(entry.spec, form, value / before.steps);
    });
    before.now = JSON.stringify(state.schedules);
    for (const one of cards) one.fill();
    changed();
  });
  const titles = Object.fromEntries(Object.entries(form.surfaces).map(([name, { title }]) => [name, title]));
  const surface = choice("surface", Object.keys(titles), state.surface, (name) => {
    state.surface = name;
    setStart(form.surfaces[name].start);
  });
  for (const option of surface.querySelectorAll("option")) option.textContent = titles[option.value];
  const optimizer = choice("optimizer", form.optimizers, state.optimizer, (name) => {
    state.optimizer = name;
    momentum.hidden = form.without_momentum.includes(name);
    changed();
  });
  const momentum = slider("momentum", { kind: "number", low: 0, high: 0.99 }, state.momentum, set("momentum"));
  momentum.hidden = form.without_momentum.includes(state.optimizer);
  const noise = slider("noise", { kind: "number", low: 0, high: 20 }, state.noise, set("noise"));
  const seeds = slider("seeds", { kind: "number", low: 1, high: form.limits.seeds, whole: true }, state.seeds, set("seeds"));
  const along = (axis) => {
    const box = form.surfaces[state.surface].box.slice(2 * axis, 2 * axis + 2);
    const spec = { kind: "number", low: box[0], high: box[1] };
    return slider(`start ${"xy"[axis]}`, spec, state.start[axis], (value) => {
      state.start[axis] = value;
      changed();
    });
  };
  const starts = [along(0), along(1)];
  common = { starts };
  $("common").replaceChildren(length, surface, optimizer, momentum, noise, seeds, ...starts);
}

function setStart(point) {
  state.start = [...point];
  const fresh = form.surfaces[state.surface];
  const rows = [0, 1].map((axis) =>
    slider(`start ${"xy"[axis]}`, { kind: "number", low: fresh.box[2 * axis], high: fresh.box[2 * axis + 1] }, state.start[axis], (value) => {
      state.start[axis] = value;
      changed();
    }),
  );
  common.starts.forEach((row, axis) => row.replaceWith(rows[axis]));
  common.starts = rows;
  changed();
}

function load(fresh) {
  state = structuredClone(fresh);
  slot = null;
  buildCommon();
  buildCards();
  changed();
}

/** Add the schedule of a spec; the oldest makes room if there are as many as can be. */
function addSchedule(spec) {
  if (state.schedules.length >= form.limits.schedules) state.schedules.shift();
  state.schedules.push({ spec, momentum: null });
  buildCards();
  changed();
}

const trainingSteps = () => state.steps;

// Wiring.

function wire() {
  for (const id of ["lr-log", "loss-log"]) $(id).addEventListener("input", draw);
  $("add").addEventListener("click", () => addSchedule(example(form, "cosine_decay", state.steps)));
  $("scrub").addEventListener("input", () => {
    slot = Number($("scrub").value);
    draw();
  });
  $("play").addEventListener("click", play);
  const area = $("surface");
  const move = (event) => {
    if (!(event.buttons & 1)) return;
    const { box } = form.surfaces[state.surface];
    const bounds = area.getBoundingClientRect();
    const part = [(event.clientX - bounds.left) / bounds.width, 1 - (event.clientY - bounds.top) / bounds.height];
    const point = part.map((share, axis) => box[2 * axis] + Math.max(0, Math.min(1, share)) * (box[2 * axis + 1] - box[2 * axis]));
    setStart(point.map((value) => Number(value.toPrecision(3))));
  };
  area.addEventListener("pointerdown", (event) => {
    area.setPointerCapture(event.pointerId);
    move(event);
  });
  area.addEventListener("pointermove", move);
  new ResizeObserver(() => draw()).observe($("lr-chart"));
  wireTheme();
}

let playing = 0;

function play() {
  if (playing) return stop();
  if (!answer) return;
  const last = answer.steps.length - 1;
  const began = performance.now();
  $("play").textContent = "Stop";
  const frame = (now) => {
    const part = Math.min(1, (now - began) / 4000);
    slot = Math.round(part * last);
    $("scrub").value = slot;
    draw();
    if (part < 1) playing = requestAnimationFrame(frame);
    else stop();
  };
  playing = requestAnimationFrame(frame);
}

function stop() {
  cancelAnimationFrame(playing);
  playing = 0;
  $("play").textContent = "Play";
}

function wireTheme() {
  const system = matchMedia("(prefers-color-scheme: dark)");
  let own = null;
  const apply = () => {
    const dark = own ?? system.matches;
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    $("theme").setAttribute("aria-pressed", String(dark));
    draw();
    document.dispatchEvent(new Event("redraw"));
  };
  system.addEventListener("change", apply);
  $("theme").addEventListener("click", () => {
    own = !(own ?? system.matches);
    apply();
  });
  apply();
}

const INTRODUCTION = "Move anything: the schedules, the surface, the noise. Or take one of the examples.";

function exampleButton({ name, sentence, state: fresh }) {
  const button = make("button", { type: "button", textContent: name });
  button.setAttribute("aria-pressed", "false");
  button.addEventListener("click", () => {
    for (const other of $("presets").children) other.setAttribute("aria-pressed", String(other === button && fresh !== form.first));
    $("lesson").textContent = sentence;
    load(fresh);
  });
  return button;
}

async function start() {
  wire();
  form = await ask("/api/start", {});
  if (form.error) return trouble(form.error);
  $("version").textContent = form.version;
  const examples = [...form.presets, { name: "Start over", sentence: INTRODUCTION, state: form.first }];
  $("presets").replaceChildren(...examples.map(exampleButton));
  $("lesson").textContent = INTRODUCTION;
  load(form.first);
  startFinder(form, { addSchedule, trainingSteps, trouble });
}

start();

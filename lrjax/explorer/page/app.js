// The schedules: state, controls, and what is drawn of the answers.

import { ask, latest } from "./ask.js";
import { clamp, drawChart, extent, format, lineStyle, svg } from "./chart.js";
import { $, choice, controlsOf, example, make, slider, stretch } from "./controls.js";
import { startFinder, windowHere } from "./finder.js";
import { drawHeights, drawPaths } from "./surface.js";

const INTRODUCTION = "Move anything: the schedules, the surface, the noise. Or take one of the examples.";
let form; // what the server sent at the start
let state; // what is asked for
let answer = null; // the last answer, and the state it is for
let slot = null; // the slot that is looked at; null is the last
let cards = [];
let starts = []; // the sliders of the start
let playing = 0;

const request = latest("/api/course", show);

function changed() {
  request(structuredClone(state));
  document.dispatchEvent(new Event("training"));
}

/** A function that sets one number or word of the state. */
const setter = (name) => (value) => {
  state[name] = value;
  changed();
};

function show(found, asked) {
  trouble(found.error ?? "");
  if (found.error) return;
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

function draw() {
  if (!answer) return;
  const { steps, schedules, asked, limit } = answer;
  const at = Math.min(slot ?? steps.length - 1, steps.length - 1);
  const good = schedules.map((one, index) => ({ ...one, index })).filter((one) => !one.error);
  const common = { x: { low: 0, high: asked.steps, label: "step (optimizer updates)" }, cursor: slot === null ? null : steps[at] };
  const lines = (shown, name) => shown.map((one) => ({ xs: steps, ys: one[name], index: one.index }));
  drawChart($("lr-chart"), { ...common, ...rates(good, limit), belts: windowHere(), lines: lines(good, "lr") });
  const paired = good.filter((one) => one.momentum);
  $("momentum-figure").hidden = paired.length === 0;
  if (paired.length) drawChart($("momentum-chart"), { ...common, ...momenta(paired), lines: lines(paired, "momentum") });
  drawChart($("loss-chart"), { ...common, ...losses(steps, good), lines: lines(good, "loss") });
  const surface = form.surfaces[asked.surface];
  $("surface-title").textContent = surface.title;
  $("surface-note").textContent = `${surface.sentence} Press on it, or drag, to start elsewhere.`;
  drawHeights($("heights"), asked.surface, surface);
  drawPaths($("paths"), surface, asked.start, schedules, at);
  drawNumbers(steps, at);
}

function rates(good, limit) {
  const log = $("lr-log").checked;
  const [low, high] = extent(good.map((one) => one.lr), log);
  const levels = limit !== null && limit < 4 * high && limit > low ? [{ at: limit, text: `unstable at the minimum above ${format(limit)}` }] : [];
  const top = Math.max(high, levels.length ? limit : 0) * (log ? 1.8 : levels.length ? 1.25 : 1.12) || 1;
  return { levels, y: { low: log ? Math.max(Math.min(low, high / 10), high * 1e-6) / 1.3 : 0, high: top, log } };
}

function momenta(paired) {
  const [low, high] = extent(paired.map((one) => one.momentum), false);
  const room = (high - low) * 0.1 || 0.05;
  return { y: { low: Math.max(0, low - room), high: high + room } };
}

function losses(steps, good) {
  const log = $("loss-log").checked;
  const first = Math.max(...good.map((one) => one.loss[0]), 1e-6);
  const [low, high] = extent(good.map((one) => one.loss), log);
  const top = Math.min(high, first * (log ? 30 : 1.5)) * (log ? 2 : 1.05);
  const bands = good.map((one) => ({ xs: steps, low: one.low, high: one.high, index: one.index }));
  const points = good
    .filter((one) => one.loss.at(-1) === null)
    .map((one) => ({ x: steps[Math.max(0, one.loss.indexOf(null) - 1)], y: null, class: `point s${one.index}` }));
  return { bands, points, y: { low: log ? Math.max(low, first * 1e-9) / 2 : 0, high: top, log } };
}

function drawNumbers(steps, at) {
  const here = steps[at];
  const loss = (value) => (value === null ? "diverged" : format(value));
  $("lr-at").textContent = `lr at ${here}`;
  $("loss-at").textContent = `Loss at ${here}`;
  $("scrub-value").textContent = `${here} of ${answer.asked.steps}`;
  $("scrub").ariaValueText = `step ${here}`;
  const rows = answer.schedules.map((one, index) => {
    const label = state.schedules[index]?.spec.name.replaceAll("_", " ") ?? "";
    const name = make("th", { scope: "row" }, swatch(index), ` ${label}`);
    if (one.error) return make("tr", {}, name, make("td", { colSpan: 4, textContent: "cannot be made" }));
    const lost = one.diverged ? `${one.diverged} of ${answer.asked.seeds}${one.diverged_at ? `, first at step ${one.diverged_at}` : ""}` : "none";
    const cells = [format(one.lr[at]), loss(one.loss[at]), loss(one.loss.at(-1)), lost];
    return make("tr", { className: one.diverged ? "lost" : "" }, name, ...cells.map((textContent) => make("td", { textContent })));
  });
  $("numbers").tBodies[0].replaceChildren(...rows);
}

const swatch = (index) =>
  svg("svg", { class: "swatch", viewBox: "0 0 26 10", "aria-hidden": "true" }, svg("path", { ...lineStyle(index), d: "M1 5H25" }));

function buildCards() {
  cards = state.schedules.map(card);
  $("cards").replaceChildren(...cards.map((one) => one.element));
  $("add").disabled = state.schedules.length >= form.limits.schedules;
}

function card(entry, index) {
  const body = make("div");
  const fill = () => body.replaceChildren(...controlsOf(entry.spec, form, state.steps, changed), ...momentumRows(entry, fill));
  const select = choice(`Schedule ${index + 1}`, form.groups, entry.spec.name, (name) => {
    Object.assign(entry, { spec: example(form, name, state.steps), momentum: null });
    fill();
    changed();
  });
  select.querySelector("label").prepend(swatch(index), " ");
  const onclick = () => {
    state.schedules.splice(index, 1);
    buildCards();
    changed();
    $("add").focus();
  };
  const disabled = state.schedules.length === 1;
  const remove = make("button", { type: "button", className: "remove", textContent: "Remove", ariaLabel: `Remove schedule ${index + 1}`, disabled, onclick });
  const wrong = make("p", { className: "wrong-words", hidden: true, role: "alert" });
  const problems = make("ul", { className: "warnings" });
  const description = make("pre", { className: "words" });
  const code = make("code");
  const text = make("details", {}, make("summary", { textContent: "In words and code" }), description, code, copyButtons(index));
  const show = (one) => {
    wrong.hidden = !one.error;
    wrong.textContent = one.error ?? "";
    text.hidden = Boolean(one.error);
    problems.replaceChildren(...(one.problems ?? []).map(({ message }) => make("li", { textContent: message })));
    description.textContent = one.words ?? "";
    code.textContent = one.code ?? "";
  };
  fill();
  const head = make("div", { className: "head" }, select, remove);
  const element = make("article", { className: `card schedule s${index}` }, head, body, wrong, problems, text);
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
  const ends = Object.keys(entry.momentum ?? {}).map((end) =>
    slider(end.replace("_", " "), { kind: "number", low: 0, high: 1 }, entry.momentum[end], (value) => {
      entry.momentum[end] = value;
      changed();
    }),
  );
  return [choose, ...ends];
}

function copyButtons(index) {
  const status = make("span", { className: "hint", role: "status" });
  const button = (textContent, text) => {
    const onclick = async () => {
      try {
        await navigator.clipboard.writeText(text(answer.schedules[index]));
        status.textContent = "Copied.";
      } catch {
        status.textContent = "The browser does not allow it: select the line above.";
      }
    };
    return make("button", { type: "button", textContent, onclick });
  };
  return make("div", { className: "buttons" }, button("Copy Python", (one) => one.code), button("Copy JSON", (one) => JSON.stringify(one.spec)), status);
}

function buildCommon() {
  const { limits, surfaces, optimizers, without_momentum: plain } = form;
  const surface = choice("surface", Object.keys(surfaces), state.surface, (name) => {
    state.surface = name;
    setStart(surfaces[name].start);
  });
  for (const option of surface.querySelectorAll("option")) option.textContent = surfaces[option.value].title;
  const optimizer = choice("optimizer", optimizers, state.optimizer, (name) => {
    momentum.hidden = plain.includes(name);
    setter("optimizer")(name);
  });
  const number = (name, range) => slider(name, { kind: "number", ...range }, state[name], setter(name));
  const momentum = number("momentum", { low: 0, high: 0.99 });
  momentum.hidden = plain.includes(state.optimizer);
  const others = [number("noise", { low: 0, high: 20 }), number("seeds", { low: 1, high: limits.seeds, whole: true })];
  starts = startSliders();
  $("common").replaceChildren(lengthSlider(), surface, optimizer, momentum, ...others, ...starts);
}

/** The length of the training; the schedules are stretched with it. */
function lengthSlider() {
  let before = null; // the schedules before the length began to move, so that rounding does not add up
  return slider("steps", { kind: "steps", low: 10, high: form.limits.steps }, state.steps, (value) => {
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
}

function startSliders() {
  const { box } = form.surfaces[state.surface];
  return [0, 1].map((axis) =>
    slider(`start ${"xy"[axis]}`, { kind: "number", low: box[2 * axis], high: box[2 * axis + 1] }, state.start[axis], (value) => {
      state.start[axis] = value;
      changed();
    }),
  );
}

function setStart(point) {
  state.start = [...point];
  const fresh = startSliders();
  starts.forEach((row, axis) => row.replaceWith(fresh[axis]));
  starts = fresh;
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

function wire() {
  for (const id of ["lr-log", "loss-log"]) $(id).oninput = draw;
  $("add").onclick = () => addSchedule(example(form, "cosine_decay", state.steps));
  $("scrub").oninput = look;
  $("play").onclick = () => (playing ? stop() : play());
  const area = $("surface");
  area.onpointermove = (event) => {
    if (!(event.buttons & 1)) return;
    const { box } = form.surfaces[state.surface];
    const bounds = area.getBoundingClientRect();
    const part = [(event.clientX - bounds.left) / bounds.width, 1 - (event.clientY - bounds.top) / bounds.height];
    const point = part.map((share, axis) => box[2 * axis] + clamp(share, 0, 1) * (box[2 * axis + 1] - box[2 * axis]));
    setStart(point.map((value) => Number(value.toPrecision(3))));
  };
  area.onpointerdown = (event) => {
    area.setPointerCapture(event.pointerId);
    area.onpointermove(event);
  };
  new ResizeObserver(draw).observe($("lr-chart"));
  wireTheme();
}

function look() {
  slot = Number($("scrub").value);
  draw();
}

function play() {
  if (!answer) return;
  const began = performance.now();
  $("play").textContent = "Stop";
  const frame = (now) => {
    const part = clamp((now - began) / 4000, 0, 1);
    $("scrub").value = Math.round(part * (answer.steps.length - 1));
    look();
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
    $("theme").ariaPressed = String(dark);
    draw();
    document.dispatchEvent(new Event("redraw"));
  };
  system.onchange = apply;
  $("theme").onclick = () => {
    own = !(own ?? system.matches);
    apply();
  };
  apply();
}

function exampleButton({ name, sentence, state: fresh }) {
  const onclick = () => {
    for (const other of $("presets").children) other.ariaPressed = String(other === button && fresh !== form.first);
    $("lesson").textContent = sentence;
    load(fresh);
  };
  const button = make("button", { type: "button", textContent: name, ariaPressed: "false", onclick });
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
  startFinder(form, { addSchedule, redraw: draw, trainingSteps: () => state.steps, trouble });
}

start();

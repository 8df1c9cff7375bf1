// The finder: a curve, read at any horizon by any rule, and the schedule to make of it.

import { ask, latest } from "./ask.js";
import { drawChart, extent, format } from "./chart.js";
import { $, make, slider } from "./controls.js";

let form; // what the server sent at the start
let page; // what the other half of the page does for this one
let id = null; // the curve
let found = null; // the last reading
let asked = { horizon: 0, share: 0.95 };
let used = "midpoint"; // the rule whose pick a schedule is made of
const hidden = new Set(["steepest", "lowest_for", "share"]); // rules that are not drawn
const peers = new Set(["fastai_valley", "lightning"]);

const request = latest("/api/reading", (reading) => {
  page.trouble(reading.error ?? "");
  if (reading.error) return;
  found = reading;
  show();
});

function read() {
  asked.steps = page.trainingSteps();
  request({ id, ...asked });
}

export function startFinder(sent, tools) {
  [form, page] = [sent, tools];
  $("digits-optimizer").replaceChildren(...form.digits_optimizers.map((name) => make("option", { value: name, textContent: name })));
  $("digits").onclick = searchDigits;
  $("file").onchange = openFile;
  for (const button of document.querySelectorAll("[data-plan]")) button.onclick = () => makeSchedule(button.dataset.plan);
  document.addEventListener("training", () => found && page.trainingSteps() !== asked.steps && read());
  document.addEventListener("redraw", () => found && draw());
  new ResizeObserver(() => found && draw()).observe($("finder"));
  if (form.opened) take(form.opened, "");
}

async function searchDigits() {
  const optimizer = $("digits-optimizer").value;
  $("digits").disabled = true;
  say(`Training the digits with ${optimizer} at some 25 learning rates, with 3 seeds each. Seconds, longer the first time.`);
  const answer = await ask("/api/digits", { optimizer });
  $("digits").disabled = false;
  take(answer, "Done.");
}

async function openFile() {
  const file = $("file").files[0];
  if (!file) return;
  if (file.size > form.limits.file) return say(`${file.name} is too large: at most ${form.limits.file / 2 ** 20} MiB are read.`);
  take(await ask("/api/open", { name: file.name, text: await file.text() }), `${file.name} is open.`);
  $("file").value = "";
}

function take(answer, words) {
  if (answer.error) return say(answer.error);
  say(words);
  if (answer.spec) {
    page.addSchedule(answer.spec);
    return say("This is a schedule: it is among the others now.");
  }
  id = answer.id;
  asked = { ...asked, horizon: 0 };
  first();
}

/** Read it once for its horizons, and then at the last. */
async function first() {
  const reading = await ask("/api/reading", { id, ...asked, steps: page.trainingSteps() });
  if (reading.error) return say(reading.error);
  const { horizons } = reading;
  const last = (asked.horizon = horizons.length - 1);
  const horizon = slider("horizon", { kind: "steps", low: 0, high: Math.max(1, last) }, last, (value) => {
    asked.horizon = Math.min(value, last);
    name();
    read();
  });
  const range = horizon.querySelector("input");
  range.disabled = last === 0;
  const output = make("output", { className: "number" });
  horizon.querySelector(".number").replaceWith(output);
  const name = () => {
    output.textContent = horizons[asked.horizon];
    range.ariaValueText = `after ${horizons[asked.horizon]} updates`;
  };
  name();
  const share = slider("share", { kind: "number", low: 0.05, high: 0.99 }, asked.share, (value) => {
    asked.share = value;
    hidden.delete("share");
    read();
  });
  $("reading-controls").replaceChildren(horizon, share);
  read();
}

const say = (words) => ($("status").textContent = words);

function show() {
  for (const part of ["reading-card", "curve-figure"]) $(part).hidden = false;
  $("picks-region").hidden = $("plan-card").hidden = found.picks.length === 0;
  $("finder-empty").hidden = true;
  $("test-figure").hidden = !found.test;
  $("curve-title").textContent = `${found.title}: ${found.ranked} after ${found.horizons[asked.horizon]} updates`;
  const marks = found.picks.length ? ` The shaded window goes from ${format(found.window[0])} to ${format(found.window[1])}.` : "";
  $("curve-note").textContent = `${found.outcome} Mean and range of the seeds; the dotted line is the untrained model. The search took ${found.updates} updates, ${format(found.updates / page.trainingSteps())} of a training of ${page.trainingSteps()}.${marks}${found.picks.length ? " Thick: the pick in use; dashed: other rules" : ""}${found.test ? "; dotted: the peers' picks, below." : "."}`;
  $("warnings").replaceChildren(...found.warnings.map((textContent) => make("li", { textContent })));
  if (!found.picks.some(({ rule }) => rule === used)) used = "midpoint";
  rebuild($("picks"), found.picks.map(pickRow));
  if (found.test) rebuild($("peers"), [...found.test.picks.map(peerRow), ...Object.entries(found.test.refusals).map((refusal) => row("", ...refusal))]);
  describePlan();
  page.redraw();
  draw();
}

/** Replace the rows of a table, and give the focus back to where it was. */
function rebuild(table, rows) {
  const key = document.activeElement?.dataset?.key;
  table.tBodies[0].replaceChildren(...rows);
  if (key) table.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus();
}

const row = (first, rule, lr, ...rest) =>
  make("tr", {}, make("td", {}, first), make("th", { scope: "row" }, rule), ...[lr, ...rest].map((textContent) => make("td", { textContent })));

/** A box that puts a rule into a set or takes it out, and draws. */
function drawBox(rule, set, member, ariaLabel = null) {
  const oninput = () => {
    set[box.checked === member ? "add" : "delete"](rule);
    draw();
  };
  const box = make("input", { type: "checkbox", checked: set.has(rule) === member, ariaLabel, dataset: { key: `draw ${rule}` }, oninput });
  return box;
}

function pickRow({ rule, lr, meaning }) {
  const oninput = () => {
    used = rule;
    hidden.delete(rule);
    show();
  };
  const radio = make("input", { type: "radio", name: "use", value: rule, checked: rule === used, ariaLabel: `Use ${rule}`, dataset: { key: `use ${rule}` }, oninput });
  return row(radio, make("label", {}, drawBox(rule, hidden, false), ` ${rule.replaceAll("_", " ")}`), format(lr), meaning);
}

const peerRow = ({ rule, lr }) => row(drawBox(rule, peers, true, `Draw ${rule}`), rule, format(lr));

function describePlan() {
  const pick = found.picks.find(({ rule }) => rule === used);
  if (pick) $("plan-note").textContent = `For a training of ${page.trainingSteps()} steps, from ${used.replaceAll("_", " ")}, ${format(pick.lr)}. It joins the schedules above.`;
}

async function makeSchedule(kind) {
  const { lr } = found.picks.find(({ rule }) => rule === used);
  const [min_lr, max_lr] = found.window;
  const answer = await ask("/api/plan", { kind, lr, min_lr, max_lr, steps: page.trainingSteps() });
  if (answer.error) return say(answer.error);
  page.addSchedule(answer.spec);
  say(`Added to the schedules. ${answer.why}`);
}

function draw() {
  const x = { low: found.lrs[0] / 1.5, high: found.lrs.at(-1) * 1.5, log: true, label: "learning rate" };
  const effect = found.effect > 0 ? found.effect : 0;
  const [low, high] = effect ? [found.initial - 1.12 * effect, found.initial + 0.5 * effect] : padded(extent([found.loss], false));
  const capped = found.loss.map((value) => (value === null || value > high ? null : value));
  const drawnPicks = found.picks.filter(({ rule }) => rule === used || !hidden.has(rule));
  drawChart($("curve-chart"), {
    x,
    y: { low, high },
    spans: found.window ? [{ low: found.window[0], high: found.window[1] }] : [],
    levels: [{ at: found.initial, text: `untrained ${format(found.initial)}` }],
    bands: [{ xs: found.lrs, low: found.low, high: found.high, index: 0 }],
    lines: [{ xs: found.lrs, ys: capped, index: 0 }],
    points: found.lrs.map((lr, index) => ({ x: lr, y: capped[index], class: "point s0", title: `lr ${format(lr)}: ${format(found.loss[index])}` })),
    uprights: [
      ...drawnPeers(),
      ...drawnPicks.map(({ rule, lr }) => ({ at: lr, class: rule === used ? "pick used" : "pick" })),
    ],
  });
  if (found.test) drawTest(found.test);
}

function drawTest({ lrs, losses, smoothed }) {
  const [low, high] = padded(extent([smoothed], false));
  drawChart($("test-chart"), {
    x: { low: lrs[0], high: lrs.at(-1), log: true, label: "learning rate, rising from step to step" },
    y: { low, high },
    lines: [
      { xs: lrs, ys: losses, class: "raw" },
      { xs: lrs, ys: smoothed, index: 0 },
    ],
    uprights: drawnPeers(),
  });
}

/** The window of the curve that is open, for the picture of the schedules. */
export const windowHere = () => (found?.picks.length ? [{ low: found.window[0], high: found.window[1], text: "window of the curve below" }] : []);
const drawnPeers = () => (found.test?.picks ?? []).filter(({ rule }) => peers.has(rule)).map(({ lr }) => ({ at: lr, class: "pick peer" }));
const padded = ([low, high]) => [low - 0.08 * (high - low || 1), high + 0.08 * (high - low || 1)];

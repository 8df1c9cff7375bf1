// One labelled control for every argument, from the server's description of it.

import { format } from "./chart.js";

let count = 0;

/** An HTML element. Text is set as text, never as markup. */
export function make(name, properties = {}, ...children) {
  const element = document.createElement(name);
  const { dataset, ...rest } = properties;
  Object.assign(element, rest);
  Object.assign(element.dataset, dataset ?? {});
  element.append(...children);
  return element;
}

const words = (name) => name.replaceAll("_", " ");

/** Places of a slider, 0 to 1000, and the values they stand for. */
function mapping({ kind, low, high, whole, optionalZero }) {
  const round = whole || kind === "steps" ? Math.round : (value) => Number(value.toPrecision(3));
  if (kind === "lr" || kind === "ratio") {
    const floor = kind === "lr" ? Math.max(low, 1e-7) : low;
    const span = Math.log10(high / floor);
    return {
      to: (place) => (optionalZero && place === 0 ? 0 : round(floor * 10 ** ((place / 1000) * span))),
      from: (value) => (value <= 0 ? 0 : (1000 * Math.log10(value / floor)) / span),
    };
  }
  return {
    to: (place) => round(low + (place / 1000) * (high - low)),
    from: (value) => (1000 * (value - low)) / (high - low || 1),
  };
}

/** A slider with its number beside it. Whole numbers move by at least one with every press of an arrow key. */
export function slider(label, spec, value, onInput) {
  const id = `c${++count}`;
  const steps = spec.whole || spec.kind === "steps";
  const direct = steps && spec.kind !== "ratio";
  const { to, from } = mapping({ optionalZero: spec.kind === "lr", ...spec });
  const range = direct
    ? make("input", { type: "range", id, min: spec.low, max: spec.high, step: 1 })
    : make("input", { type: "range", id, min: 0, max: 1000, step: 5 });
  const number = make("input", { type: "text", inputMode: "decimal", className: "number", autocomplete: "off", spellcheck: false });
  number.setAttribute("aria-label", `${label}, as a number`);
  const show = (now) => {
    range.value = String(direct ? now : Math.round(Math.max(0, Math.min(1000, from(now)))));
    number.value = Number.isInteger(now) ? String(now) : format(now);
    range.setAttribute("aria-valuetext", number.value);
    number.classList.remove("wrong");
  };
  range.addEventListener("input", () => {
    const now = direct ? Number(range.value) : to(Number(range.value));
    number.value = Number.isInteger(now) ? String(now) : format(now);
    range.setAttribute("aria-valuetext", number.value);
    number.classList.remove("wrong");
    onInput(now);
  });
  number.addEventListener("input", () => {
    const now = Number(number.value);
    const good = number.value.trim() !== "" && Number.isFinite(now) && (!steps || Number.isInteger(now));
    number.classList.toggle("wrong", !good);
    if (!good) return;
    range.value = String(direct ? now : Math.round(Math.max(0, Math.min(1000, from(now)))));
    onInput(now);
  });
  show(value);
  const row = make("div", { className: "control" }, make("label", { htmlFor: id, textContent: label }), range, number);
  row.show = show;
  return row;
}

/** A box to tick. */
export function tick(label, value, onInput) {
  const id = `c${++count}`;
  const box = make("input", { type: "checkbox", id, checked: value });
  box.addEventListener("input", () => onInput(box.checked));
  return make("div", { className: "control flag" }, box, make("label", { htmlFor: id, textContent: label }));
}

/** One of several words; groups is {title: words} for a long list. */
export function choice(label, choices, value, onInput, groups = null) {
  const id = `c${++count}`;
  const select = make("select", { id });
  const option = (word) => make("option", { value: word, textContent: words(word) });
  if (groups)
    for (const [title, members] of Object.entries(groups))
      select.append(make("optgroup", { label: title }, ...members.map(option)));
  else select.append(...choices.map(option));
  select.value = value;
  select.addEventListener("input", () => onInput(select.value));
  return make("div", { className: "control" }, make("label", { htmlFor: id, textContent: label }), select);
}

/** All controls of a spec; `change` is called after each change of it, `form` has what the server told. */
export function controlsOf(spec, form, total, change) {
  const rows = [];
  for (const argument of form.controls[spec.name]) rows.push(...argumentRows(spec, argument, form, total, change));
  return rows;
}

function argumentRows(spec, argument, form, total, change) {
  const { name } = argument;
  const set = (value) => {
    spec[name] = value;
    change();
  };
  if (!argument.optional) return valueRows(words(name), argument, spec[name], set, form, total, change);
  const rows = [];
  const holder = make("div", { className: "optional" });
  const fill = () => {
    const given = spec[name] !== null && spec[name] !== undefined;
    holder.replaceChildren(...(given ? valueRows(words(name), argument, spec[name], set, form, total, change) : []));
  };
  const first = argument.kind === "lr" ? 0.01 : argument.kind === "steps" ? Math.max(1, Math.round(total / 8)) : argument.low;
  rows.push(
    tick(`with ${words(name)}`, spec[name] !== null && spec[name] !== undefined, (on) => {
      spec[name] = on ? first : null;
      fill();
      change();
    }),
    holder,
  );
  fill();
  return rows;
}

function valueRows(label, argument, value, set, form, total, change) {
  switch (argument.kind) {
    case "flag":
      return [tick(label, value, set)];
    case "choice":
      return [choice(label, argument.choices, value, set)];
    case "list":
      return listRows(label, argument.of, value, form, total, change);
    case "schedule":
      return [nested(label, value, set, form, total, change)];
    case "steps":
      return [slider(label, { ...argument, high: Math.max(2 * total, value) }, value, set)];
    default:
      return [slider(label, argument, value, set)];
  }
}

function listRows(label, of, values, form, total, change) {
  const single = label.replace(/s$/, "");
  return values.flatMap((value, index) => {
    const set = (now) => {
      values[index] = now;
      change();
    };
    return valueRows(`${single} ${index + 1}`, of, value, set, form, total, change);
  });
}

function nested(label, spec, set, form, total, change) {
  const body = make("div");
  const fill = (inner) => body.replaceChildren(...controlsOf(inner, form, total, change));
  const select = choice(
    label,
    [],
    spec.name,
    (name) => {
      const inner = example(form, name, total);
      set(inner);
      fill(inner);
    },
    form.groups,
  );
  fill(spec);
  return make("div", { className: "nested" }, select, body);
}

/** A schedule as it is first shown, for a training of this length. */
export function example(form, name, total) {
  const spec = structuredClone(form.examples[name]);
  stretch(spec, form, total / form.example_steps);
  return spec;
}

/** Multiply every number of steps in a spec. */
export function stretch(spec, form, factor) {
  for (const argument of form.controls[spec.name])
    spec[argument.name] = stretched(spec[argument.name], argument, form, factor);
}

function stretched(value, argument, form, factor) {
  if (value === null || value === undefined) return value;
  if (argument.kind === "steps") return Math.max(argument.low, Math.round(value * factor));
  if (argument.kind === "list") return value.map((one) => stretched(one, argument.of, form, factor));
  if (argument.kind === "schedule") stretch(value, form, factor);
  return value;
}

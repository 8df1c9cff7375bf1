// HTML elements, and one labelled control for every argument, from the server's description of it.

import { clamp, format } from "./chart.js";

let count = 0;
const words = (name) => name.replaceAll("_", " ");

export const $ = (id) => document.getElementById(id);

/** An HTML element with these properties. Text is set as text, never as markup. */
export function make(name, { dataset = {}, ...properties } = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  Object.assign(element.dataset, dataset);
  element.append(...children);
  return element;
}

const labelled = (kind, label, control) =>
  make("div", { className: `control ${kind}` }, make("label", { htmlFor: control.id, textContent: label }), control);

/** Places of a slider and the values that they stand for. */
function mapping({ kind, low, high, whole }) {
  if (kind === "steps" || (whole && kind !== "ratio")) return { min: low, max: high, step: 1, to: (place) => place, from: (value) => value };
  const round = whole ? Math.round : (value) => Number(value.toPrecision(3));
  const places = { min: 0, max: 1000, step: 5 };
  if (kind === "number")
    return { ...places, to: (place) => round(low + (place / 1000) * (high - low)), from: (value) => (1000 * (value - low)) / (high - low || 1) };
  const floor = kind === "lr" ? Math.max(low, 1e-7) : low;
  const span = Math.log10(high / floor);
  return {
    ...places,
    to: (place) => (kind === "lr" && place === 0 ? 0 : round(floor * 10 ** ((place / 1000) * span))),
    from: (value) => (value <= 0 ? 0 : (1000 * Math.log10(value / floor)) / span),
  };
}

/** A slider with its number beside it. Whole numbers move by at least one with every press of an arrow key. */
export function slider(label, spec, value, onInput) {
  const { to, from, ...places } = mapping(spec);
  const range = make("input", { type: "range", id: `c${++count}`, ...places });
  const number = make("input", { type: "text", inputMode: "decimal", className: "number", autocomplete: "off", spellcheck: false, ariaLabel: `${label}, as a number` });
  const place = (now) => (range.value = Math.round(clamp(from(now), places.min, places.max)));
  const write = (now) => {
    number.value = range.ariaValueText = Number.isInteger(now) ? String(now) : format(now);
    number.classList.remove("wrong");
  };
  range.oninput = () => {
    const now = to(Number(range.value));
    write(now);
    onInput(now);
  };
  number.oninput = () => {
    const now = Number(number.value);
    const whole = spec.whole || spec.kind === "steps";
    const good = number.value.trim() !== "" && Number.isFinite(now) && (!whole || Number.isInteger(now));
    number.classList.toggle("wrong", !good);
    if (!good) return;
    place(now);
    onInput(now);
  };
  place(value);
  write(value);
  const row = labelled("", label, range);
  row.append(number);
  return row;
}

/** A box to tick. */
function tick(label, checked, onInput) {
  const box = make("input", { type: "checkbox", id: `c${++count}`, checked, oninput: () => onInput(box.checked) });
  const row = labelled("flag", label, box);
  row.prepend(box);
  return row;
}

/** One of several words, from a list, or from {title: list} where there are many. */
export function choice(label, choices, value, onInput) {
  const option = (word) => make("option", { value: word, textContent: words(word) });
  const options = Array.isArray(choices)
    ? choices.map(option)
    : Object.entries(choices).map(([title, members]) => make("optgroup", { label: title }, ...members.map(option)));
  const select = make("select", { id: `c${++count}`, oninput: () => onInput(select.value) }, ...options);
  select.value = value;
  return labelled("", label, select);
}

/** All controls of a spec; `change` is called after each change of it, `form` has what the server sent. */
export function controlsOf(spec, form, total, change) {
  const rowsOf = (inner) => form.controls[inner.name].flatMap((argument) => argumentRows(inner, argument));

  function argumentRows(inner, argument) {
    const { name, kind, low, optional } = argument;
    const set = (value) => {
      inner[name] = value;
      change();
    };
    const rows = () => valueRows(words(name), argument, inner[name], set);
    if (!optional) return rows();
    const given = () => inner[name] !== null && inner[name] !== undefined;
    const holder = make("div");
    const fill = () => holder.replaceChildren(...(given() ? rows() : []));
    const first = kind === "lr" ? 0.01 : kind === "steps" ? Math.max(1, Math.round(total / 8)) : low;
    const box = tick(`with ${words(name)}`, given(), (on) => {
      inner[name] = on ? first : null;
      fill();
      change();
    });
    fill();
    return [box, holder];
  }

  function valueRows(label, argument, value, set) {
    switch (argument.kind) {
      case "flag":
        return [tick(label, value, set)];
      case "choice":
        return [choice(label, argument.choices, value, set)];
      case "list":
        return value.flatMap((one, index) =>
          valueRows(`${label.replace(/s$/, "")} ${index + 1}`, argument.of, one, (now) => {
            value[index] = now;
            change();
          }),
        );
      case "schedule":
        return [nested(label, value, set)];
      case "steps":
        return [slider(label, { ...argument, high: Math.max(2 * total, value) }, value, set)];
      default:
        return [slider(label, argument, value, set)];
    }
  }

  function nested(label, inner, set) {
    const body = make("div", {}, ...rowsOf(inner));
    const select = choice(label, form.groups, inner.name, (name) => {
      const fresh = example(form, name, total);
      set(fresh);
      body.replaceChildren(...rowsOf(fresh));
    });
    return make("div", { className: "nested" }, select, body);
  }

  return rowsOf(spec);
}

/** A schedule as it is first shown, for a training of this length. */
export function example(form, name, total) {
  const spec = structuredClone(form.examples[name]);
  stretch(spec, form, total / form.example_steps);
  return spec;
}

/** Multiply every number of steps in a spec. */
export function stretch(spec, form, factor) {
  const stretched = (value, { kind, low, of }) => {
    if (value === null || value === undefined) return value;
    if (kind === "steps") return Math.max(low, Math.round(value * factor));
    if (kind === "list") return value.map((one) => stretched(one, of));
    if (kind === "schedule") stretch(value, form, factor);
    return value;
  };
  for (const argument of form.controls[spec.name]) spec[argument.name] = stretched(spec[argument.name], argument);
}

"""The benchmark's results as Markdown tables."""

from typing import Any

import numpy as np
from contenders import BY_HAND, HAND_WRITTEN, NAMES, OURS

TARGET = 1.10
LEGEND = """\
Medians of the runs, with half the interquartile range. `*` fewer learning rates than the row says were run and the
rest extrapolated; `'` a single run; `-` not run. **step loop**: a host loop of one jitted step. **scan loop**: a loop
over learning rates of one jitted scan. **torch**: the sequential PyTorch loop. A trial is its steps and one validation
pass."""


def markdown(results: dict[str, Any]) -> str:
    """All tables."""
    parts = [
        _title(results),
        "### Ratio to the best hand-written JAX engine (below 1 is faster)\n\n" + _ratios(results, "best"),
        "### Ratio to `auto` (above 1 is slower than what the user gets)\n\n" + _ratios(results, "auto"),
        "### `auto` against the best of all JAX engines\n\n" + _verdicts(results),
        "### First call: preparing, compiling and the first run, seconds\n\n" + _first_calls(results),
        "### Achieved part of the matrix product's peak\n\n" + _peaks(results),
        "### Memory of the vectorised program\n\n" + _memory(results),
    ]
    notes = _notes(results)
    return "\n\n".join(parts + ([f"### Notes\n\n{notes}"] if notes else []))


def gpu_markdown(cells: dict[str, Any], models: list[str]) -> str:
    """Of `gpu.py`: the engines' times, lanes, sweeps, and what a rule for `auto` could go by."""
    executors = [name for name in OURS if name != "auto"]
    columns = [*executors, *BY_HAND]
    rows, rules, lanes, sweeps = [], [], [], []
    for model in models:
        times = {name: cells.get(f"engine/{model}/{name}", {}).get("ms") for name in columns}
        ours = {name: times[name] for name in executors if times[name]}
        losses = [np.asarray(cells[f"engine/{model}/{name}"]["losses"]) for name in ours]
        if any(times.values()):
            apart = max((float(np.max(np.abs(loss / losses[0] - 1))) for loss in losses), default=np.nan)
            rows.append([model, *(f"{time:.4g}" if time else "-" for time in times.values()), f"{apart:.1e}"])
        facts = cells.get(f"facts/{model}", {})
        if "operations" in facts and "vmap" in ours:
            fastest = min(ours, key=ours.__getitem__)
            gain = f"{fastest}: {ours['vmap'] / ours[fastest]:.2f}x"
            row = [model, f"{facts['flops']:.1e}", "yes" if facts["convolution"] else "no"]
            peak = cells.get("peak", {}).get("bf16" if "bf16" in model else "default", np.nan)
            alone = facts["flops"] / (1e-3 * ours["map"] * facts["steps"]) / peak if "map" in ours else np.nan
            rules.append([*row, f"{alone:.1%}", gain, f"{facts['predicted / actual']:.2f}"])
    for name, cell in cells.items():
        if name.startswith("lanes/") and "ms" in cell:
            lanes.append([name.removeprefix("lanes/"), f"{cell['run_seconds']:.4g}", f"{cell['ms']:.4g}"])
        if "stall_share" in cell:
            of_bound = f"{cell['throughput_of_bound']:.2f}" if "throughput_of_bound" in cell else "-"
            sweeps.append([name.removeprefix("sweep/"), of_bound, f"{cell['stall_share']:.1%}"])
    parts = [
        "Milliseconds of a trial and step, and how far apart the losses of our executors are:\n\n"
        + _table(["model", *columns, "apart"], rows),
        "The tiny MLP, 25 times as many steps:\n\n" + _table(["lanes", "seconds", "ms"], lanes),
        "Sweeps:\n\n" + _table(["batches from", "of the bound (on the device)", "waiting for batches"], sweeps),
        "For a rule of `auto`:\n\n"
        + _table(["model", "FLOP", "convolves", "one lane, of peak", "times vmap", "bytes: predicted / actual"], rules),
    ]
    return "\n\n".join(parts)


def verdict(cell: dict[str, Any]) -> tuple[str, float, float, str]:
    """`auto` against the fastest JAX engine: that engine, the ratio, its spread, and ok, MISS or within the spread."""
    names = [name for name in NAMES if name not in ("auto", "torch") and _samples(cell, name).size]
    best = min(names, key=lambda name: np.median(_samples(cell, name)))
    ratio, spread = _ratio(_samples(cell, "auto"), _samples(cell, best))
    if ratio <= TARGET:
        return best, ratio, spread, "ok"
    return best, ratio, spread, "MISS" if ratio - spread > TARGET else "over, within the spread"


def best_hand_written(cell: dict[str, Any]) -> str:
    """The faster of the two hand-written JAX loops."""
    names = [name for name in HAND_WRITTEN if _samples(cell, name).size]
    return min(names, key=lambda name: np.median(_samples(cell, name)))


def _samples(cell: dict[str, Any], name: str) -> np.ndarray:
    """Seconds a learning rate took, one number a run; empty if the engine did not run."""
    entry = cell["engines"].get(name, {"samples": [], "lanes": 1})
    return np.asarray(entry["samples"]) / entry["lanes"]


def _ratio(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Median ratio and half its interquartile range; runs of one round are compared with each other."""
    ratios = one / other if len(one) == len(other) else one / np.median(other)
    return float(np.median(one) / np.median(other)), _spread(ratios)


def _spread(values: np.ndarray) -> float:
    low, high = np.quantile(values, [0.25, 0.75])
    return float(high - low) / 2


def _title(results: dict[str, Any]) -> str:
    machine, peak = results["machine"], max(results["peak"].values())
    lines = [
        f"{results['date']}, {machine['device']} ({machine['backend']}), {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['memory_gib']} GiB; Python {machine['python']}, jax {machine['jax']}, optax {machine['optax']}, "
        f"torch {machine['torch']}; measured matrix product peak {peak / 1e9:.0f} GFLOP/s.",
        LEGEND,
    ]
    if "headline" in results:
        head = results["headline"]
        ours, fresh = np.median(head["ours_seconds"]), np.median(head["fresh_seconds"])
        ratios = np.asarray(head["fresh_seconds"]) / np.asarray(head["ours_seconds"])
        lines.insert(
            1,
            f"**{head['lrs']} learning rates, {head['num_steps']} steps on {head['model']}, nothing compiled before: "
            f"{ours:.1f} s against {fresh:.1f} s for a fresh jit each ({head['fresh_lrs_measured']} measured): "
            f"{head['ratio']:.1f}x** ({min(ratios):.1f}-{max(ratios):.1f}; target 20x"
            f"{'' if head['ratio'] >= 20 else ': MISS'}).",
        )
    return "\n\n".join(lines)


def _table(header: list[str], rows: list[list[str]]) -> str:
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = [[text.ljust(width) for text, width in zip(row, widths, strict=True)] for row in [header, *rows]]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cells(results: dict[str, Any]) -> list[dict[str, Any]]:
    order = list(results["models"])
    return sorted(results["cells"].values(), key=lambda cell: (order.index(cell["model"]), cell["width"]))


def _marks(cell: dict[str, Any], name: str) -> str:
    entry = cell["engines"][name]
    return ("*" if entry["lanes"] < cell["width"] else "") + ("'" if len(entry["samples"]) == 1 else "")


def _ratios(results: dict[str, Any], to: str) -> str:
    rows = []
    for cell in _cells(results):
        base = best_hand_written(cell) if to == "best" else "auto"
        steps = results["models"][cell["model"]]["num_steps"]
        milliseconds = 1e3 * np.median(_samples(cell, base)) / steps
        row = [cell["model"], str(cell["width"]), f"{base}: {milliseconds:.3g} ms{_marks(cell, base)}"]
        for name in NAMES:
            samples = _samples(cell, name)
            if not samples.size:
                missing = cell["engines"].get(name, {}).get("skipped", "")
                row.append(missing if missing == "not installed" else "-")
                continue
            ratio, spread = _ratio(samples, _samples(cell, base))
            row.append(("1" if name == base else f"{ratio:.2f} ±{spread:.2f}") + _marks(cell, name))
        rows.append(row)
    return _table(["model", "lrs", "1 = ms per trial and step", *NAMES], rows)


def _verdicts(results: dict[str, Any]) -> str:
    rows = []
    for cell in _cells(results):
        best, ratio, spread, word = verdict(cell)
        auto = cell["engines"]["auto"]
        rows.append(
            [cell["model"], str(cell["width"]), auto["used"], best, f"{ratio:.2f} ±{spread:.2f}", word, auto["reason"]]
        )
    return _table(["model", "lrs", "auto took", "best", "auto / best", f"<= {TARGET:.2f}", "why"], rows)


def _first_calls(results: dict[str, Any]) -> str:
    rows = []
    for cell in _cells(results):
        row = [cell["model"], str(cell["width"])]
        for name in NAMES:
            first = cell["engines"].get(name, {}).get("first_seconds", 0.0)
            row.append(f"{first:.1f}" if first else "-")
        auto = cell["engines"]["auto"]
        rest = (cell["width"] - auto["lanes"]) * np.median(_samples(cell, "auto"))
        fresh = np.median(results["models"][cell["model"]]["fresh_jit_seconds"]) * cell["width"]
        rows.append([*row, f"{fresh:.1f}", f"{fresh / (auto['first_seconds'] + rest):.1f}x"])
    return _table(["model", "lrs", *NAMES, "fresh jit each", "fresh jit / auto"], rows)


def _peaks(results: dict[str, Any]) -> str:
    rows, peak = [], max(results["peak"].values())
    for cell in _cells(results):
        flops = results["models"][cell["model"]]["flops"]
        row = [cell["model"], str(cell["width"]), f"{flops:.2e}"]
        for name in ("auto", best_hand_written(cell), "torch"):
            samples = _samples(cell, name)
            speed = flops / np.median(samples) if samples.size else 0.0
            row.append(f"{speed / 1e9:.3g} ({speed / peak:.0%})" if speed else "-")
        rows.append(row)
    return _table(["model", "lrs", "FLOP per trial", "auto, GFLOP/s", "best hand-written", "torch"], rows)


def _memory(results: dict[str, Any]) -> str:
    rows = []
    for cell in _cells(results):
        if "vmap_bytes" not in cell:
            continue
        facts, actual = results["models"][cell["model"]], cell["vmap_bytes"]
        predicted = facts["memory_fixed"] + cell["width"] * facts["memory_per_lane"]
        ratio = round(predicted / actual, 2)
        word = "ok" if 1.0 <= ratio <= 1.2 else "MISS"
        row = [f"{predicted / 2**20:.1f}", f"{actual / 2**20:.1f}", f"{ratio:.2f}", word]
        rows.append([cell["model"], str(cell["width"]), *row])
    return _table(["model", "lrs", "predicted, MiB", "actual, MiB", "predicted / actual", "1.0-1.2"], rows)


def _notes(results: dict[str, Any]) -> str:
    lines = []
    for cell in _cells(results):
        for name, entry in cell["engines"].items():
            where = f"{cell['model']}, {cell['width']} learning rates, {name}: "
            if entry["skipped"] not in ("", "not installed"):
                lines.append(f"- {where}not run, {entry['skipped']}")
            elif entry["source"]:
                lines.append(f"- {where}taken from {entry['source']} ({entry['lanes']} lanes run)")
            lines += [f"- {where}{note}" for note in entry["notes"]]
            if name in OURS and name not in ("auto", entry["used"]) and entry["used"]:
                lines.append(f"- {where}ran as {entry['used']}")
    return "\n".join(lines)

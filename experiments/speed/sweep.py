"""How fast are sweeps? Against separate processes, a sequential loop, and batches that are on the device already.

    python experiments/speed/sweep.py            # about 25 minutes on two cores; --quick takes about 2
    python experiments/speed/sweep.py --models mlp --fresh

Runs as it is on a GPU. Writes experiments/results/speed_sweep_<backend>.json after every part (a run that was stopped
goes on from there) and prints the tables as Markdown. `pip install lrjax[sweep,bench]` is what it needs.

Expected: waiting for batches and checkpoints below 5 % of the time; cost of an update of one lane flat or falling
as lanes grow from 1 to 256.
"""

import argparse
import functools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from machine import describe_machine, matmul_peak, today
from models import MODELS, Model

import lrjax
from lrjax._engine import Executor, LaneRunner, draw_seeds, make_spec, step_facts
from lrjax.demos import digits, load_digits

RESULTS = Path(__file__).resolve().parent.parent / "results"
STEPS = {"tiny_mlp": 10_000, "mlp": 200, "transformer": 24}
TRIALS = 16
LANES = (1, 4, 16, 64, 256)
ON_CPU = jax.default_backend() == "cpu"
EXECUTORS: tuple[Executor, ...] = (
    ("map", "vmap", lrjax.Chunked(8)) if ON_CPU else ("vmap", lrjax.Chunked(8), lrjax.Chunked(32))
)
KEY = 7


def main() -> None:
    """Run what is missing, then print the tables."""
    options = parse()
    if options.role:
        print(json.dumps(ROLES[options.role](MODELS[options.models[0]], options)))
        return
    name = f"speed_sweep_{jax.default_backend()}{'_quick' if options.quick else ''}.json"
    path = options.results or RESULTS / name
    results: dict[str, Any] = {"machine": describe_machine()}
    if path.exists() and not options.fresh:
        known = json.loads(path.read_text())
        results = known if known["machine"] == results["machine"] else results
    results |= {"date": today(), "lrjax": lrjax.__version__}
    parts: dict[str, Callable[[], Any]] = {"peak": matmul_peak}
    for name, measure in PARTS.items():  # what matters most first, so that half a run says something
        parts |= {f"{model}/{name}": functools.partial(measure, MODELS[model], options) for model in options.models}
    parts["pruning"] = functools.partial(measure_pruning, options)
    for part, measure in parts.items():
        if part not in results:
            started = time.perf_counter()
            results[part] = measure()
            print(f"{part}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(results, indent=1) + "\n")
            jax.clear_caches()
    print(markdown(results, options.models))


def steps_of(model: Model, options: argparse.Namespace) -> int:
    """Updates of a trial."""
    return max(8, STEPS[model.name] // (10 if options.quick else 1))


def make_task(model: Model) -> lrjax.Task:
    """The problem with enough examples for an epoch of twenty steps."""
    return model.task()


def run(model: Model, lanes: int, steps: int, executor: Executor = "auto", **options: Any) -> lrjax.SweepResult:
    """The sweep, over learning rates at which nothing diverges."""
    grid = {"lr": model.lrs(lanes) if lanes > 1 else model.lrs(2)[:1]}
    good = {"key": jax.random.key(KEY), "train_steps": steps, "eval_every": steps, "executor": executor}
    return lrjax.sweep(make_task(model), model.make_optimizer(), grid, **good | options)


# (a) and (b): whole processes, start and compilation included.


def role_sweep(model: Model, options: argparse.Namespace) -> list[float]:
    """All trials in one sweep."""
    return run(model, TRIALS, steps_of(model, options)).final().ravel().tolist()


def role_loop(model: Model, options: argparse.Namespace) -> list[float]:
    """Some trials, one after the other, by one jitted step."""
    trials = range(TRIALS) if options.trial is None else [options.trial]
    task, steps = make_task(model), steps_of(model, options)
    (seed,), _ = draw_seeds(task, jax.random.key(KEY), 1)
    make_optimizer, lrs = model.make_optimizer(), model.lrs(TRIALS)

    @functools.partial(jax.jit, donate_argnums=(1, 2))
    def step(lr: Any, params: Any, opt_state: Any, batch: Any, key: Any) -> Any:
        grads = jax.grad(task.loss_fn)(params, batch, key)
        updates, opt_state = make_optimizer(lr).update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    start = jax.jit(lambda lr: (jax.tree.map(jax.numpy.copy, seed.params), make_optimizer(lr).init(seed.params)))
    loss, losses = jax.jit(task.loss_fn), []
    for trial in trials:
        lr = jax.numpy.float32(lrs[trial])
        params, opt_state = start(lr)
        for index in range(steps):
            batch = jax.tree.map(lambda leaf: leaf[0], task._host_batches(0, seed.data_key, index, index + 1))
            params, opt_state = step(lr, params, opt_state, batch, jax.random.fold_in(seed.key, index))
        losses.append(float(loss(params, task.eval_batches[0], jax.random.key(0))))
    return losses


ROLES = {"sweep": role_sweep, "loop": role_loop}


def start(model: Model, role: str, options: argparse.Namespace, trial: int | None = None) -> subprocess.Popen:
    """This script as a process of its own."""
    words = [sys.executable, __file__, "--role", role, "--models", model.name]
    words += ["--quick"] if options.quick else []
    words += [] if trial is None else ["--trial", str(trial)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen) -> list[float]:
    output, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"A process of the comparison failed with status {process.returncode}.")
    return json.loads(output.splitlines()[-1])


def separate_processes(model: Model, options: argparse.Namespace) -> list[float]:
    """One process for each trial, two at a time."""
    losses = []
    for first in range(0, TRIALS, 2):
        both = [start(model, "loop", options, trial) for trial in (first, first + 1)]
        losses += [loss for process in both for loss in finish(process)]
    return losses


def compare_with_others(model: Model, options: argparse.Namespace) -> dict[str, Any]:
    """Wall time of whole processes, in turns."""
    ways: dict[str, Callable[[], list[float]]] = {
        "sweep": lambda: finish(start(model, "sweep", options)),
        "loop": lambda: finish(start(model, "loop", options)),
        "processes": lambda: separate_processes(model, options),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    losses = {}
    for turn in range(1 if options.quick else 2):
        for way in ways if turn % 2 == 0 else reversed(ways):
            if way == "processes" and turn == 1:
                continue  # the slowest, and steady
            started = time.perf_counter()
            losses[way] = ways[way]()
            seconds[way].append(time.perf_counter() - started)
    apart = max(float(np.max(np.abs(np.subtract(losses["sweep"], losses[way])))) for way in ways)
    median = {way: float(np.median(times)) for way, times in seconds.items()}
    return {
        "trials": TRIALS,
        "steps": steps_of(model, options),
        "seconds": seconds,
        "throughput_over_loop": median["loop"] / median["sweep"],
        "throughput_over_processes": median["processes"] / median["sweep"],
        "losses_apart": apart,
    }


# (c): the input pipeline.


def measure_input(model: Model, options: argparse.Namespace) -> dict[str, Any]:
    """The sweep against the finder's engine with all its batches on the device, in turns; and the waiting."""
    steps, turns = min(steps_of(model, options), 2000), 2 if options.quick else 5
    chosen = run(model, TRIALS, steps).execution
    executor = _executor(chosen.used)
    factory = model.make_optimizer()
    runner = LaneRunner("bound", make_task(model), factory, key=jax.random.key(KEY), executor=executor)
    lrs, task = model.lrs(TRIALS), make_task(model)
    grid = {"lr": lrs}
    bound, ours, stalls = [], [], []
    for _ in range(turns):
        before = runner.execution.run_seconds
        runner.sample(lrs, (steps,), 1, in_batches=True)
        bound.append(runner.execution.run_seconds - before)
        result = lrjax.sweep(
            task, factory, grid, key=jax.random.key(KEY), train_steps=steps, eval_every=steps, executor=executor
        )
        ours.append(result.execution.run_seconds)
        stalls.append(result.execution.stall_seconds / result.execution.run_seconds)
    return {
        "executor": chosen.used,
        "reason": chosen.reason,
        "steps": steps,
        "steps_per_call": chosen.steps_per_call,
        "bound_seconds": bound[1:],
        "sweep_seconds": ours[1:],
        "throughput_of_bound": float(np.median(bound[1:]) / np.median(ours[1:])),
        "stall_share": float(np.median(stalls[1:])),
    }


def measure_checkpoints(model: Model, options: argparse.Namespace) -> dict[str, Any]:
    """The sweep with a folder and without, in turns."""
    steps = steps_of(model, options)
    task, factory, grid = make_task(model), model.make_optimizer(), {"lr": model.lrs(TRIALS)}
    used = run(model, TRIALS, min(steps, 100)).execution.used
    good = {"key": jax.random.key(KEY), "train_steps": steps, "executor": _executor(used)}
    without, with_folder, waited, written = [], [], [], []
    for _ in range(2 if options.quick else 4):
        started = time.perf_counter()
        lrjax.sweep(task, factory, grid, **good)
        without.append(time.perf_counter() - started)
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            result = lrjax.sweep(task, factory, grid, directory=folder, checkpoint_seconds=1.0, **good)
            with_folder.append(time.perf_counter() - started)
        execution = result.execution
        waited.append(execution.checkpoint_seconds / (execution.run_seconds + execution.checkpoint_seconds))
        written.append(execution.checkpoints)
    return {
        "executor": used,
        "steps": steps,
        "checkpoint_seconds": 1.0,
        "seconds_without": without[1:],
        "seconds_with": with_folder[1:],
        "time_with_over_without": float(np.median(with_folder[1:]) / np.median(without[1:])),
        "waiting_share": float(np.median(waited[1:])),
        "checkpoints": float(np.median(written[1:])),
    }


def measure_pruning(options: argparse.Namespace) -> dict[str, Any]:
    """The digits with squared errors, over learning rates of which some diverge: time and updates with pruning."""
    task, grid = squared_digits(), {"learning_rate": np.geomspace(1e-3, 300.0, 64)}
    steps = 400 if options.quick else 2000

    def factory(learning_rate: Any) -> Any:
        return optax.sgd(learning_rate, momentum=0.9)

    stops = {
        "none": None,
        "diverged": lrjax.StopDiverged(),
        "halving": lrjax.SuccessiveHalving(first=steps // 9, factor=3),
    }
    measured: dict[str, Any] = {"steps": steps, "trials": 64}
    for executor in EXECUTORS:
        seconds: dict[str, list[float]] = {name: [] for name in stops}
        for turn in range(3):
            for name, stop in stops.items():
                result = lrjax.sweep(
                    task,
                    factory,
                    grid,
                    key=jax.random.key(KEY),
                    train_steps=steps,
                    eval_every=steps // 20,
                    executor=executor,
                    stop=stop,
                )
                if turn:
                    seconds[name].append(result.execution.run_seconds)
                whole = 64 * steps
                measured["diverge"] = int((result.diverged_at >= 0).sum()) if stop is None else measured["diverge"]
                measured[f"{executor}/{name}"] = {
                    "updates_saved": result.execution.updates_saved / whole,
                    "widths": result.execution.widths,
                    "best_loss": result.best().value,
                }
        for name in stops:
            time_saved = 1 - np.median(seconds[name]) / np.median(seconds["none"])
            measured[f"{executor}/{name}"] |= {"seconds": seconds[name], "time_saved": float(time_saved)}
    return measured


def squared_digits() -> lrjax.Task:
    """Ten outputs against one-hot labels: what diverges overflows, as cross-entropy on these images does not."""
    problem = digits()
    images, labels = load_digits()
    targets = np.eye(10, dtype=np.float32)[labels]

    def logits(params: Any, images: Any) -> Any:
        return jax.nn.relu(images @ params["w1"] + params["b1"]) @ params["w2"] + params["b2"]

    def loss_fn(params: Any, batch: Any, key: Any) -> Any:
        return ((logits(params, batch[0]) - batch[1]) ** 2).mean()

    return lrjax.Task.from_arrays(
        problem.init,
        loss_fn,
        train=(images[256:], targets[256:]),
        validation=(images[:256], targets[:256]),
        batch_size=64,
        eval_batch_size=256,
    )


def measure_lanes(model: Model, options: argparse.Namespace) -> dict[str, Any]:
    """Cost of an update of one lane as lanes grow."""
    _, flops = operations(model)
    rows: dict[str, Any] = {"flops": flops}
    for lanes in LANES[:3] if options.quick or model.name == "transformer" else LANES:
        for executor in EXECUTORS:
            if isinstance(executor, lrjax.Chunked) and executor.size > lanes:
                continue
            goal = 1.0 if options.quick else 2.0
            steps = max(4, min(2000, int(goal / (lanes * max(flops, 1e6) / 3e10))))
            task, factory, grid = make_task(model), model.make_optimizer(), {"lr": model.lrs(max(lanes, 2))[:lanes]}
            best, results = float("inf"), []
            for _ in range(2):
                result = lrjax.sweep(
                    task, factory, grid, key=jax.random.key(KEY), train_steps=steps, eval_every=steps, executor=executor
                )
                best = min(best, result.execution.run_seconds)
                results.append(result.execution)
            rows[f"{lanes}/{executor}"] = {
                "milliseconds": 1e3 * best / (lanes * steps),
                "flops_per_second": flops * lanes * steps / best,
                "bytes": results[-1].bytes,
                "waves": results[-1].waves,
            }
            jax.clear_caches()
    return rows


PARTS = {
    "input": measure_input,
    "lanes": measure_lanes,
    "checkpoints": measure_checkpoints,
    "others": compare_with_others,
}
"""What is measured of every model."""


def operations(model: Model) -> tuple[bool, float]:
    """Whether a step convolves, and the operations of its matrix products."""
    task = make_task(model)
    (seed,), trainable = draw_seeds(task, jax.random.key(KEY), 1)
    spec = make_spec(task, model.make_optimizer(), trainable, (1,))
    batches = task.training_batches(0, seed.data_key, 0, 1)
    return step_facts(spec, jax.ShapeDtypeStruct((), np.float32), seed._replace(batches=batches))


def _executor(words: str) -> Executor:
    return lrjax.Chunked(int(words[8:-1])) if words.startswith("chunked") else words


def markdown(results: dict[str, Any], models: list[str]) -> str:
    """The tables."""
    peak = max(results["peak"].values())
    lines = [
        f"Measured {results['date']}: {results['machine']['device']}, {results['machine']['cpu']}, "
        f"{results['machine']['cores']} cores, jax {results['machine']['jax']}; matrix products reach "
        f"{peak / 1e9:.0f} GFLOP/s.",
        "",
        f"Throughput of a sweep of {TRIALS} trials, whole processes, compilation included:",
        "",
        "| model | updates a trial | over one jitted loop | over separate processes, two at a time |",
        "|---|---|---|---|",
    ]
    for model in [model for model in models if f"{model}/others" in results]:
        row = results[f"{model}/others"]
        ratios = [row["throughput_over_loop"], row["throughput_over_processes"]]
        lines.append(f"| {model} | {row['steps']} | {ratios[0]:.2f}x | {ratios[1]:.2f}x |")
    lines += [
        "",
        "| model | executor | of the bound (batches on the device) | waiting for batches | waiting for checkpoints |",
        "|---|---|---|---|---|",
    ]
    for model in [model for model in models if f"{model}/checkpoints" in results]:
        row, saved = results[f"{model}/input"], results[f"{model}/checkpoints"]
        lines.append(
            f"| {model} | {row['executor']} | {row['throughput_of_bound']:.2f} | {100 * row['stall_share']:.1f} % | "
            f"{100 * saved['waiting_share']:.1f} % ({saved['checkpoints']:.0f} of them; whole call "
            f"{saved['time_with_over_without']:.2f}x) |"
        )
    pruning = results.get("pruning", {"trials": 0, "steps": 0, "diverge": 0})
    lines += [
        "",
        f"Pruning, {pruning['trials']} trials of {pruning['steps']} updates; {pruning['diverge']} diverge:",
        "",
        "| executor | stop | updates saved | time saved | widths | best loss |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in pruning.items():
        if "/" in name and not name.endswith("/none"):
            executor, stop = name.split("/")
            widths = " ".join(map(str, row["widths"]))
            saved = f"{100 * row['updates_saved']:.0f} % | {100 * row['time_saved']:.0f} %"
            lines.append(f"| {executor} | {stop} | {saved} | {widths} | {row['best_loss']:.4f} |")
    for model in [model for model in models if f"{model}/lanes" in results]:
        rows = results[f"{model}/lanes"]
        shown = [str(executor) for executor in EXECUTORS]
        lines += [
            "",
            f"{model}: milliseconds of an update of one lane (share of the matrix-product peak), "
            f"{rows['flops'] / 1e6:.3g} MFLOP each:",
            "",
            f"| lanes | {' | '.join(shown)} |",
            f"|---|{'---|' * len(shown)}",
        ]
        for lanes in LANES:
            cells = [rows.get(f"{lanes}/{executor}") for executor in shown]
            if any(cells):
                words = [
                    f"{c['milliseconds']:.3g} ({100 * c['flops_per_second'] / peak:.0f} %)" if c else "" for c in cells
                ]
                lines.append(f"| {lanes} | {' | '.join(words)} |")
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="How fast are sweeps?")
    parser.add_argument("--models", nargs="+", choices=list(STEPS), default=list(STEPS))
    parser.add_argument("--quick", action="store_true", help="a tenth of the steps, fewer turns")
    parser.add_argument("--fresh", action="store_true", help="measure again what was measured")
    parser.add_argument("--results", type=Path, help="the file to write")
    parser.add_argument("--role", choices=list(ROLES), help=argparse.SUPPRESS)
    parser.add_argument("--trial", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()

"""What one GPU does in ten minutes: every engine on six models, up to 2,048 lanes, sweeps, the first answer.

    python experiments/speed/gpu.py --minutes 10           # on one GPU; --quick: the smallest cells, also on a CPU
    python experiments/speed/gpu.py --only 'lanes/*'       # the cells whose names match

The most telling cells come first. Each is printed, and written to experiments/results/speed_gpu.json, as soon as it is
measured; one that fails is recorded with its error. A run that was cut short goes on from its file. No cell starts in
the last tenth of the time; a process that has not ended by then is ended. PyTorch is compared where it is installed.

`auto` takes `vmap` on every GPU. The last table holds what would decide for another rule: the operations of a trial,
whether it convolves, how much of the device's peak one lane reaches alone, and how much faster than `vmap` the fastest
executor is.
"""

import argparse
import dataclasses
import faulthandler
import fnmatch
import functools
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import contenders
import first_answer
import jax
import jax.numpy as jnp
import numpy as np
import sweep
from engine import RESULTS, load, save
from machine import matmul_peak
from models import MODELS, ConvNet, Model, Transformer
from report import gpu_markdown

import lrjax

LANES, STEPS = sweep.TRIALS, 20
MOST_LANES = (2048, 1, 256, 64, 1024, 16, 4, 512)
ENOUGH_SECONDS, ENOUGH_RUNS, LONG_SECONDS = 1.0, 20, 8.0
"""At least three runs of an engine, and until they took so long; so many at most, and none after so long."""

_big = Transformer(width=1024, layers=4, heads=16, dtype=jnp.bfloat16)
GPU_MODELS = {
    "mlp": MODELS["mlp"],
    "conv_net_bn": dataclasses.replace(
        MODELS["conv_net"], module=ConvNet(batch_norm=True), batch_norm=True, batch_size=128
    ),
    "transformer_1024_bf16": dataclasses.replace(MODELS["transformer"], module=_big, batch_size=128),
    "resnet18": dataclasses.replace(MODELS["resnet18"], batch_size=64),
    "tiny_mlp": MODELS["tiny_mlp"],
    "transformer_256": dataclasses.replace(MODELS["transformer"], module=Transformer(width=256, layers=4, heads=8)),
}
"""The most telling first; the transformer of width 1,024 fills a device by itself."""

TELLING, LAST = ("vmap", "map", "step loop", "torch"), ("torch compiled", "loop", "scan loop")
SMALLEST = "import jax; print(jax.jit(lambda x: x + 1)(1.0))"

Cell = Callable[[], dict[str, Any]]


def main() -> None:
    """Measure what is missing, then print the tables."""
    started, options = time.perf_counter(), parse()
    seconds = 60 * options.minutes
    faulthandler.dump_traceback_later(seconds, exit=True)
    path = options.results or RESULTS / f"speed_gpu{'_quick' if options.quick else ''}.json"
    results = load(path, options)
    print(results["machine"], flush=True)
    for name, cell in all_cells(options.quick).items():
        wanted = any(fnmatch.fnmatch(name, pattern) for pattern in options.only)
        if not wanted or "error" not in results["cells"].get(name, {"error": "not measured"}):
            continue
        begin = time.perf_counter()
        late = begin - started > 0.9 * seconds
        found = {"error": "no time was left"} if late else attempt(cell)
        results["cells"][name] = found | {"seconds": time.perf_counter() - begin}
        print(f"[{time.perf_counter() - started:4.0f} s] {name}: {shown(results['cells'][name])}", flush=True)
        save(path, results)
    faulthandler.cancel_dump_traceback_later()
    print(gpu_markdown(results["cells"], list(GPU_MODELS)))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="the process ends after so long (10)")
    parser.add_argument("--quick", action="store_true", help="the smallest cells, a few seconds of a CPU")
    parser.add_argument("--only", nargs="+", default=["*"], help="patterns of the names of cells")
    parser.add_argument("--fresh", action="store_true", help="measure again what was measured")
    parser.add_argument("--results", type=Path, help="the JSON file")
    return parser.parse_args()


def all_cells(quick: bool) -> dict[str, Cell]:
    """The cells by name, in the order in which they are measured."""
    models = {"tiny_mlp": GPU_MODELS["tiny_mlp"]} if quick else GPU_MODELS
    steps, lanes, most = (2, 2, (2, 1)) if quick else (STEPS, LANES, MOST_LANES)
    models = {name: dataclasses.replace(model, num_steps=steps) for name, model in models.items()}
    problems = {name: functools.cache(functools.partial(contenders.make_problem, models[name])) for name in models}
    long = functools.partial(contenders.make_problem, dataclasses.replace(models["tiny_mlp"], num_steps=25 * steps))

    def engines(names: tuple[str, ...]) -> dict[str, Cell]:
        return {
            f"engine/{model}/{name}": functools.partial(measure_engine, problems[model], name, lanes)
            for model in models
            for name in names
            if contenders.CHUNKS.get(name, 0) < lanes
        }

    def sweeps(lengths: dict[str, int]) -> dict[str, Cell]:
        return {
            f"sweep/{model}/{way}": functools.partial(measure, models[model], length)
            for model, length in lengths.items()
            for way, measure in {"arrays": sweep.measure_input, "streamed": measure_stream}.items()
        }

    cells: dict[str, Cell] = {
        "peak": functools.partial(peaks, (256,) if quick else ()),
        "first answer": functools.partial(first_answers, SMALLEST if quick else first_answer.EXAMPLE),
        "lanes/torch, 1": functools.partial(measure_engine, long, "torch", 1),
    }
    cells |= {f"lanes/vmap, {count}": functools.partial(measure_engine, long, "vmap", count) for count in most[:2]}
    cells |= engines(TELLING)
    cells |= sweeps({"tiny_mlp": 8} if quick else {"tiny_mlp": 2000, "mlp": 2000, "conv_net_bn": 200})
    cells |= engines(tuple(contenders.CHUNKS))
    cells |= {f"facts/{model}": functools.partial(measure_facts, problems[model], lanes) for model in models}
    cells |= engines(LAST) | sweeps({} if quick else {"resnet18": 40})  # whose batches are large
    cells |= {f"lanes/vmap, {count}": functools.partial(measure_engine, long, "vmap", count) for count in most[2:]}
    return cells


def attempt(cell: Cell) -> dict[str, Any]:
    """What a cell measured, or its error."""
    try:
        return cell()
    except Exception as error:  # whatever it is, the other cells are worth the device's time
        return {"error": f"{type(error).__name__}: {error}"[:1000]}


def peaks(sizes: tuple[int, ...]) -> dict[str, Any]:
    """Operations per second of the best matrix product; JAX's default takes TF32 where the device has it."""
    kinds = {"fp32": (jnp.float32, "highest"), "default": (jnp.float32, "default"), "bf16": (jnp.bfloat16, "default")}
    return {name: max(matmul_peak(sizes, *kind).values()) for name, kind in kinds.items()}


def first_answers(code: str) -> dict[str, Any]:
    """The README's example in a fresh process, and in another that finds its programs on disk."""
    with tempfile.TemporaryDirectory() as folder:
        platforms = os.environ.get("JAX_PLATFORMS", "")
        cold, warm = (first_answer.run(code, folder, keep=True, platforms=platforms) for _ in range(2))
    return {"cold": cold, "warm": warm}


def measure_engine(make_problem: Callable[[], contenders.Problem], name: str, lanes: int) -> dict[str, Any]:
    """Milliseconds of a trial and step, compiled before; and what the device held at most until then."""
    problem, begin = make_problem(), time.perf_counter()
    model, samples = problem.model, []
    lrs, (run, runner) = model.lrs(lanes), contenders.build(problem, name)
    if run is None:
        raise ModuleNotFoundError("not installed")
    losses = run(lrs)
    first = time.perf_counter() - begin
    while len(samples) < 3 or sum(samples) < ENOUGH_SECONDS:
        begin = time.perf_counter()
        run(lrs)
        samples.append(time.perf_counter() - begin)
        if len(samples) == ENOUGH_RUNS or sum(samples) > LONG_SECONDS:
            break
    median = float(np.median(samples))
    found = {"ms": 1e3 * median / (lanes * model.num_steps), "run_seconds": median, "first_seconds": first}
    found |= {"lanes": lanes, "steps": model.num_steps, "samples": samples, "losses": losses.tolist()}
    if runner is not None:
        execution = runner.execution
        found |= {"used": execution.used, "notes": execution.notes, "bytes": execution.bytes}
    return found | {"peak_bytes": (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0)}


def measure_facts(make_problem: Callable[[], contenders.Problem], lanes: int) -> dict[str, Any]:
    """What a rule could read off a step, and the bytes of the vectorised program: predicted, and the compiler's."""
    problem = make_problem()
    convolution, operations = sweep.operations(problem.model)
    predicted = contenders.rounds_of(problem, "vmap").memory_model().predict(lanes)
    actual = contenders.vmap_bytes(problem, lanes)
    found = {"convolution": convolution, "operations": operations, "steps": problem.model.num_steps}
    found |= {"flops": contenders.trial_flops(problem)}
    return found | {"predicted_bytes": predicted, "actual_bytes": actual, "predicted / actual": predicted / actual}


def measure_stream(model: Model, steps: int) -> dict[str, Any]:
    """A sweep whose batches come from a loader, one by one."""
    problem = contenders.make_problem(model)
    task, batches = problem.task, [jax.tree.map(np.asarray, batch) for batch in problem.listed()]
    options = {"eval_batches": task.eval_batches, "stateful": task.has_state, "eval_fn": task.eval_fn}
    stream = lrjax.Task.from_batches(task.init, task.loss_fn, train_batches=lambda epoch: iter(batches), **options)
    lrs, sizes = model.lrs(LANES), {"train_steps": steps, "eval_every": steps}
    call = functools.partial(lrjax.sweep, stream, problem.make_optimizer, {"lr": lrs}, key=jax.random.key(0), **sizes)
    call()  # compiles
    execution = call().execution
    found = {"ms": 1e3 * execution.run_seconds / (LANES * steps), "run_seconds": execution.run_seconds}
    return found | {"stall_share": execution.stall_seconds / execution.run_seconds, "used": execution.used}


def shown(cell: dict[str, Any]) -> str:
    """A cell in one line."""
    hidden = ("samples", "losses", "bound_seconds", "sweep_seconds", "reason")
    numbers = {name: value for name, value in cell.items() if name not in hidden}
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in numbers.items()
    )


if __name__ == "__main__":
    main()

"""Which executor `auto` takes: from the backend and the step's jaxpr, or where that is not enough, by measuring."""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from .._settings import current_settings
from .._types import Int, PyTree
from ._devices import first_device
from ._executor import Chunked, Executor
from ._memory import memory_budget, program_bytes
from ._trial import init_trial, train_step
from ._trial_data import SeedData, TrialSpec
from ._weak import WeakCache

SMALL_STEP = 5e7
"""Floating-point operations of a training step under which vectorising can win on a CPU, so that it is measured."""

CHUNK = 8
"""Lanes of the chunk that is measured beside the whole width: on a CPU small chunks stay in its caches."""

PROBE_SECONDS = 0.1
"""About how long an executor is measured."""

MAX_TURNS = 10

_PROBE_STEPS = 4
"""Steps of the call that is measured: more than one, or XLA inlines the loop."""


class Choice(NamedTuple):
    """What `auto` took, and why.

    Attributes:
      executor: the executor to start with.
      reason: one sentence.
    """

    executor: Executor
    reason: str


def step_facts(spec: TrialSpec, hyperparameters: PyTree, data: SeedData) -> tuple[bool, float]:
    """Whether a training step holds a convolution, and the floating-point operations of its matrix products."""
    state = jax.eval_shape(lambda h, d: init_trial(spec, h, d), hyperparameters, data)
    jaxpr = jax.make_jaxpr(lambda h, s, d: train_step(spec, h, s, d))(hyperparameters, state, data)
    return _count_operations(jaxpr.jaxpr)


def _count_operations(jaxpr: Any) -> tuple[bool, float]:
    """Of a jaxpr and all that it holds; the body of a scan counts once for each of its steps."""
    convolution, operations = False, 0.0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            convolution = True
        elif equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            operations += 2.0 * equation.outvars[0].aval.size * math.prod(shape[axis] for axis in contracted)
        for inner in jax.tree.leaves(equation.params, is_leaf=_holds_equations):
            if _holds_equations(inner):
                more, added = _count_operations(getattr(inner, "jaxpr", inner))
                convolution |= more
                operations += added * equation.params.get("length", 1)
    return convolution, operations


def _holds_equations(value: Any) -> bool:
    return hasattr(getattr(value, "jaxpr", value), "eqns")


class Probe(NamedTuple):
    """An executor to measure.

    Attributes:
      bytes: of its program, per device.
      run: calls the program.
      lanes: that a call trains.
    """

    bytes: int
    run: Callable[[], Any]
    lanes: int


_choices = WeakCache(64)


def choose_executor(
    spec: TrialSpec,
    arrays: PyTree,
    mesh: Mesh | None,
    width: int,
    *,
    facts: Callable[[], tuple[bool, float]],
    probe: Callable[[Executor], Probe],
    measure: bool,
) -> Choice:
    """What `auto` takes, chosen once for a trial of these shapes in this process."""
    platform = first_device(mesh).platform
    shapes = str(jax.tree.map(lambda leaf: (np.shape(leaf), str(leaf.dtype)), arrays))
    known = (spec, shapes, mesh, platform, width, current_settings())

    def seconds(executors: list[Executor]) -> list[float]:
        """Of a lane, on the programs that would run; infinite for one that would not fit."""
        probes, budget = [probe(executor) for executor in executors], memory_budget(mesh)
        fits = [index for index, one in enumerate(probes) if one.bytes <= budget]
        times = dict(zip(fits, seconds_of([probes[index].run for index in fits]), strict=True))
        return [times.get(index, math.inf) / one.lanes for index, one in enumerate(probes)]

    return _choices.get(known, lambda: choose(facts, platform, width, seconds if measure else None))


def choose(
    facts: Callable[[], tuple[bool, float]],
    platform: str,
    width: int,
    measure: Callable[[list[Executor]], list[float]] | None,
) -> Choice:
    """The executor for `width` lanes on "cpu", "gpu" or "tpu"; `measure` gives seconds per lane, None: not allowed."""
    if jax.config.jax_disable_jit:  # pyright: ignore[reportAttributeAccessIssue]
        return Choice("loop", "under jax_disable_jit there are no compiled programs")
    if platform != "cpu":
        return Choice("vmap", f"on {platform} all lanes run in one vectorised program")
    convolution, flops = facts()
    if convolution and measure is not None:
        return Choice("loop", "XLA on CPU slows convolutions inside a compiled loop, so the loop stays on the host")
    if width == 1:
        return Choice("map", "one lane has nothing to vectorise")
    if measure is None:
        return Choice("map", "on several hosts nothing is measured, and map is never far from the best on CPU")
    if flops > SMALL_STEP:
        return Choice("map", f"a step of {flops:.1e} operations fills the CPU by itself")
    candidates: list[Executor] = ["map", "vmap", *([Chunked(CHUNK)] if width > CHUNK else [])]
    seconds = dict(zip(candidates, measure(candidates), strict=True))
    best = min(seconds, key=lambda executor: seconds[executor])
    shown = ", ".join(f"{executor} {1e3 * value:.3g} ms" for executor, value in seconds.items())
    return Choice(best, f"fastest of those measured, per lane: {shown}")


def seconds_of(runs: Sequence[Callable[[], Any]]) -> list[float]:
    """The best time of each of some runs, which take turns; the first turn of a short run is left out."""
    best = [_seconds(run) for run in runs]
    for turn in range(MAX_TURNS):
        for index, run in enumerate(runs):
            if best[index] * (turn + 1) < PROBE_SECONDS:
                best[index] = _seconds(run) if turn == 0 else min(best[index], _seconds(run))
    return best


def _seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(run())
    return time.perf_counter() - start


def resolve(engine: Any, settings: PyTree, lanes: int) -> None:
    """Let `auto` choose, for trials like these; `settings` has a leading trial axis."""
    if engine.executor != "auto":
        return
    setting = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), settings)
    choice = choose_executor(
        engine.spec,
        (engine.seeds, engine.first_batches, settings),
        engine.mesh,
        lanes,
        facts=lambda: step_facts(engine.spec, setting, engine.one_step_data()),
        probe=lambda executor: _probe(engine, executor, settings, lanes),
        measure=engine.mesh is None or engine.mesh.size == 1,
    )
    engine.executor, engine.execution.reason = choice


def _probe(engine: Any, executor: Executor, settings: PyTree, lanes: int) -> Probe:
    """A call of a few steps, on all lanes, or on two for `map`, which runs them one by one."""
    before, engine.executor = engine.executor, executor
    engine.fit_chunk(lanes)
    few = min(lanes, 2) if executor == "map" else lanes
    width = engine.width_for(few)
    order: Int[np.ndarray, "seeds lanes"] = np.tile(np.arange(width) % few, (engine.num_seeds, 1))
    picked = engine.place_settings(jax.tree.map(lambda leaf: leaf[order], settings))
    block = engine.example_block()._replace(count=min(_PROBE_STEPS, engine.block))
    shapes = engine.example_arguments("advance", jax.tree.map(lambda leaf: leaf[0], settings), width)
    compiled, state = engine.compile("advance", shapes), []
    begin = engine.compile("begin", arguments := engine.arguments("begin", picked, None, width))
    engine.executor = before

    def run() -> Any:
        states = state.pop() if state else begin(*arguments)
        state.append(compiled(*engine.arguments("advance", picked, states, width, block)))
        return state[-1].loss_sum

    return Probe(program_bytes(compiled), run, width)

"""Which executor `auto` takes: by rule, from the backend and the step's jaxpr, so that equal calls give equal bits.

A measurement would cost more than it gains for a short job, and could choose another executor for the same key: the
losses of vectorised lanes differ from those of single lanes in their last bits.
"""

import math
from typing import Any, NamedTuple

import jax

from .._settings import current_settings
from .._types import PyTree
from ._devices import first_device
from ._executor import Chunked, Executor
from ._jaxprs import inner_jaxprs
from ._trial import begin_on_host, step_on_host
from ._trial_data import SeedData, TrialSpec
from ._weak import WeakCache

SMALL_STEP = 5e7
"""Floating-point operations of a training step under which vectorising wins on a CPU (docs/performance.md)."""

CHUNK = 8
"""Lanes that a small step is vectorised over on a CPU: their states stay in its caches (docs/performance.md)."""

CHEAP, PER_PARAMETER = 3e10, 20
"""Operations that a CPU does in about the time of a compilation, and those of an optimizer for each parameter."""


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
    state = begin_on_host.of(spec, "eval_shape")(hyperparameters, data)
    traced = step_on_host.of(spec, "trace")(hyperparameters, state, data, 0)  # which the loop on the host runs as it is
    return _count_operations(traced.jaxpr.jaxpr)


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
        for inner in inner_jaxprs(equation):
            more, added = _count_operations(getattr(inner, "jaxpr", inner))
            convolution |= more
            operations += added * equation.params.get("length", 1)
    return convolution, operations


_facts = WeakCache(64)


def resolve(engine: Any, settings: PyTree, lanes: int) -> None:
    """Let `auto` choose for `lanes` lanes of an engine; `settings` has a leading trial axis."""
    if engine.executor == "auto":
        engine.executor, engine.execution.reason = _choose(engine, settings, lanes)


def is_padding_cheap(engine: Any, settings: PyTree, lanes: int, steps: int) -> bool:
    """Whether lanes that only fill a program take less time, to the end, than compiling a narrower one."""
    numbers = sum(leaf.size for leaf in jax.tree.leaves(engine.one_step_data().params))
    return lanes * steps * (_facts_of(engine, settings)[1] + PER_PARAMETER * numbers) < CHEAP


def _facts_of(engine: Any, settings: PyTree) -> tuple[bool, float]:
    setting = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), settings)
    data = engine.one_step_data()
    known = (engine.spec, str((setting, data)), current_settings())
    return _facts.get(known, lambda: step_facts(engine.spec, setting, data))


def _choose(engine: Any, settings: PyTree, lanes: int) -> Choice:
    platform = first_device(engine.mesh).platform
    if jax.config.jax_disable_jit:  # pyright: ignore[reportAttributeAccessIssue]
        return Choice("loop", "under jax_disable_jit there are no compiled programs")
    if platform != "cpu":
        return Choice("vmap", f"on {platform} all lanes run in one vectorised program")
    convolution, flops = _facts_of(engine, settings)
    if convolution and not engine.several_hosts:
        return Choice("loop", "XLA on CPU slows convolutions inside a compiled loop, so the loop stays on the host")
    if convolution:
        return Choice("map", "the loop on the host runs on one host only, and map is never far from the best on CPU")
    if lanes == 1:
        return Choice("map", "one lane has nothing to vectorise")
    if flops > SMALL_STEP:
        return Choice("map", f"a step of {flops:.1e} operations fills the CPU by itself")
    return Choice(Chunked(CHUNK), f"a step of {flops:.1e} operations is small: a few lanes at a time fill the CPU")

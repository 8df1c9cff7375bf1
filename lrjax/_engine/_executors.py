"""Four ways to run the one trial over many lanes. All give the same curve; they differ in time and memory.

`vmap` and `chunked` vectorise, `map` is one program with a loop over the lanes, `loop` is a loop on the host
around one jitted step. The first three are compiled ahead of time, once for each shape.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, Protocol, cast, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from .._checks import check_count, show
from .._settings import current_settings
from .._types import Array, Int, PyTree
from ._devices import lane_axis
from ._trial import (
    EvalData,
    SeedData,
    TrialRecord,
    TrialSpec,
    TrialState,
    evaluate_batch,
    finish_record,
    init_trial,
    mean_over_batches,
    observe_step,
    run_trial,
    set_hyperparameters,
    training_loss,
    update_with_loss,
    weights_to_evaluate,
)
from ._weak import JittedFor, WeakCache


@dataclasses.dataclass(frozen=True)
class Chunked:
    """The executor that runs `size` lanes at a time in one program: vectorised, with bounded memory.

    Attributes:
      size: lanes in a chunk, >= 1.

    Raises:
      ValueError: `size` < 1.

    Examples:
      >>> import lrjax
      >>> lrjax.Chunked(8)
      Chunked(size=8)
    """

    size: int

    def __post_init__(self) -> None:
        check_count("Chunked(size)", self.size, unit="lanes")

    def __str__(self) -> str:
        return f"chunked({self.size})"


Executor = Literal["auto", "vmap", "map", "loop"] | Chunked


def check_executor(where: str, executor: object) -> Executor:
    """Return the executor, or say which there are."""
    word = executor if isinstance(executor, str) else ""
    if isinstance(executor, Chunked) or word in ("auto", "vmap", "map", "loop"):
        if jax.config.jax_disable_jit and executor not in ("auto", "loop"):  # pyright: ignore[reportAttributeAccessIssue]
            raise ValueError(
                f'`{where}` must be "loop" under jax_disable_jit, got {show(executor)}, which is one compiled program. '
                '"loop" then runs your functions as plain Python.'
            )
        return executor  # pyright: ignore[reportReturnType]
    advice = "Write lrjax.Chunked(8)." if isinstance(executor, (int, type)) or word == "chunked" else ""
    raise ValueError(
        f'`{where}` must be "auto", "vmap", "map", "loop" or lrjax.Chunked(k), got {show(executor)}. {advice}'.strip()
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """A way to run lanes as one compiled program. Equal programs on equal shapes share one executable.

    Attributes:
      spec: the trial.
      executor: "vmap", "map" or a `Chunked`.
      mesh: the devices over which the lanes are spread, or None for one.
      keep: whether the states after the last step are returned.
    """

    spec: TrialSpec
    executor: Executor
    mesh: Mesh | None = None
    keep: bool = False

    def jitted(self) -> Any:
        """The program, ready to be lowered."""
        return jax.jit(self.function())

    def function(self) -> Callable[..., tuple[TrialRecord, TrialState | None]]:
        """The program as a function of (hyperparameters, lanes, states, data, evaluation).

        Hyperparameters, states and outputs have a leading lane axis, after a seed axis under `vmap`, whose data
        have one too. `lanes` = (first, stop) bounds the rows that `map` runs on each shard; the others run all.
        """
        one = functools.partial(_run_lane, self.spec, self.keep)
        if self.executor == "vmap":
            lanes = jax.vmap(one, in_axes=(0, 0, None, None))
            lifted = _ignore_bounds(jax.vmap(lanes, in_axes=(None, 0, 0, None)))
            lane_spec = lambda axis: PartitionSpec(None, axis)  # noqa: E731
        elif isinstance(self.executor, Chunked):
            lifted = _ignore_bounds(functools.partial(_chunks, one, self.executor.size))
            lane_spec = PartitionSpec
        else:
            lifted = functools.partial(_rows, one)
            lane_spec = PartitionSpec
        if self.mesh is None:
            return lifted
        axis, everywhere = lane_axis(self.mesh), PartitionSpec()
        lane = lane_spec(axis)
        return jax.shard_map(
            lifted,
            mesh=self.mesh,
            in_specs=(PartitionSpec(axis), everywhere, lane, everywhere, everywhere),
            out_specs=lane,
            check_vma=False,  # a scan's carry starts equal on all devices and ends different
        )


def _run_lane(
    spec: TrialSpec,
    keep: bool,
    hyperparameters: PyTree,
    state: TrialState | None,
    data: SeedData,
    evaluation: EvalData,
) -> tuple[TrialRecord, TrialState | None]:
    record, state = run_trial(spec, hyperparameters, state, data, evaluation)
    return record, state if keep else None


def _ignore_bounds(run: Callable[..., Any]) -> Callable[..., Any]:
    return lambda hyperparameters, lanes, states, data, evaluation: run(hyperparameters, states, data, evaluation)


def _chunks(
    one: Callable[..., Any],
    size: int,
    hyperparameters: PyTree,
    states: PyTree,
    data: SeedData,
    evaluation: EvalData,
) -> PyTree:
    """`size` lanes at a time; the width is a multiple of the size, so there is no remainder to compile."""
    return lax.map(lambda lane: one(*lane, data, evaluation), (hyperparameters, states), batch_size=size)


def _rows(
    one: Callable[..., Any],
    hyperparameters: PyTree,
    lanes: tuple[Array, Array],
    states: PyTree,
    data: SeedData,
    evaluation: EvalData,
) -> PyTree:
    """Rows first..stop-1, one after the other; the rest of the output is zeros."""
    inputs = (hyperparameters, states)
    width = jax.tree.leaves(inputs)[0].shape[0]
    row = jax.tree.map(lambda leaf: leaf[0], inputs)
    shapes = jax.eval_shape(lambda row: one(*row, data, evaluation), row)
    outputs = jax.tree.map(lambda shape: jnp.zeros((width, *shape.shape), shape.dtype), shapes)

    def body(index: Array, outputs: PyTree) -> PyTree:
        row = jax.tree.map(lambda leaf: lax.dynamic_index_in_dim(leaf, index, keepdims=False), inputs)
        result = one(*row, data, evaluation)
        return jax.tree.map(lambda rows, new: lax.dynamic_update_index_in_dim(rows, new, index, 0), outputs, result)

    return lax.fori_loop(*lanes, body, outputs)


@runtime_checkable
class Compilable(Protocol):
    """A hashable description of a program: equal ones on equal shapes share one executable."""

    @property
    def mesh(self) -> Mesh | None:
        """The devices over which it is spread."""
        ...

    def jitted(self) -> Any:
        """What `jax.jit` returned."""
        ...


def compile_program(program: Compilable, arguments: tuple) -> Any:
    """The executable of a program for arguments of these shapes; compiled once."""
    leaves, treedef = jax.tree.flatten(arguments)
    shapes = tuple(
        jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding if program.mesh else None)
        for leaf in leaves
    )
    return programs.get(
        (program, treedef, shapes, current_settings()),
        lambda: lower_program(program, treedef.unflatten(shapes)).compile(),
    )


programs = WeakCache(64)
"""The executables; they hold none of the functions that they were compiled from."""


def lower_program(program: Compilable, arguments: tuple) -> Any:
    """The program before compilation."""
    return program.jitted().lower(*arguments)


def _begin(spec: TrialSpec, hyperparameters: PyTree, data: SeedData) -> TrialState:
    # copied, since the steps donate their state and these are the seed's own parameters
    return jax.tree.map(jnp.copy, init_trial(spec, hyperparameters, data))


def _evaluate_one(
    spec: TrialSpec, params: PyTree, model_state: PyTree, group: PyTree, index: Int[Array, ""], key: Array
) -> dict[str, Array]:
    batch = jax.tree.map(lambda leaf: lax.dynamic_index_in_dim(leaf, index, keepdims=False), group)
    return evaluate_batch(spec, params, model_state, batch, key)


_start = JittedFor(_begin)
_step = JittedFor(update_with_loss, donate_argnums=1)
_observe = JittedFor(observe_step)
_set_hyperparameters = JittedFor(set_hyperparameters, donate_argnums=1)
_loss_before = JittedFor(training_loss)
_weights = JittedFor(weights_to_evaluate)
_evaluate_batch = JittedFor(_evaluate_one)
_finish = jax.jit(finish_record)


@jax.jit
def _mean(values: list[dict[str, Array]], shares: tuple[Array, ...] | None) -> dict[str, Array]:
    # as one group, whose sum rounds as the sums of groups do inside one program
    stacked = jax.tree.map(lambda *some: jnp.stack(some), *values)
    return mean_over_batches([stacked], None if shares is None else [jnp.concatenate(shares)])


def compile_step(spec: TrialSpec, hyperparameters: PyTree, data: SeedData) -> Any:
    """The executable of a step of `run_on_host`."""
    return _step.lower(spec, hyperparameters, _start(spec, hyperparameters, data), data).compile()


def run_on_host(
    spec: TrialSpec, hyperparameters: PyTree, state: TrialState | None, data: SeedData, evaluation: EvalData
) -> tuple[TrialRecord, TrialState]:
    """`run_trial` as a loop on the host around the jitted step."""
    # copied, since the steps donate their state
    now = _start(spec, hyperparameters, data) if state is None else jax.tree.map(jnp.copy, state)
    done, metrics = 0, []
    for horizon in spec.horizons:
        for _ in range(horizon - done):
            now, _ = _step(spec, hyperparameters, now, data)
        done = horizon
        metrics.append(evaluate_on_host(spec, now, data, evaluation))
    stacked = {name: jnp.stack([values[name] for values in metrics]) for name in metrics[0]}
    return _finish(now, stacked), now


def follow_on_host(
    spec: TrialSpec, hyperparameters: Iterable[PyTree], data: SeedData
) -> Iterator[tuple[Array, TrialState]]:
    """One trial whose hyperparameters change at every step.

    Args:
      spec: what is fixed at compile time.
      hyperparameters: one setting for each step.
      data: the seed.

    Yields:
      The training loss before the update and the state after it, which the next step consumes. Of a step that returns
      no loss it is what `spec.loss_fn` reads.
    """
    state = None
    returned = spec.step_fn is None or cast(Any, spec.step_fn).returns_loss
    for setting in hyperparameters:
        if state is None:
            state = _start(spec, setting, data)
        elif spec.step_fn is not None:
            state = _set_hyperparameters(spec, setting, state)
        before = None if returned else _loss_before(spec, state, data)
        state, loss = _step(spec, setting, state, data)
        yield loss if before is None else before, state


def evaluate_on_host(spec: TrialSpec, state: TrialState, data: SeedData, evaluation: EvalData) -> dict[str, Array]:
    """`evaluate` as a loop on the host over the evaluation batches."""
    params = _weights(spec, state, data)
    groups, shares = evaluation.batches
    values = [
        _evaluate_batch(spec, params, state.model_state, group, jnp.asarray(np.int32(index)), evaluation.key)
        for group in groups
        for index in range(jax.tree.leaves(group)[0].shape[0])
    ]
    return values[0] if len(values) == 1 and shares is not None else _mean(values, shares)


def observe_on_host(spec: TrialSpec, data: SeedData, evaluation: EvalData) -> np.ndarray:
    """The loss after each horizon at learning rate 0, where only the model state moves, shape (horizons,)."""
    spec, state, losses = _without_optimizer(spec, data), _untouched(data), []
    for step in range(spec.horizons[-1]):
        state = _observe(spec, state, data)
        if step + 1 in spec.horizons:
            losses.append(np.asarray(evaluate_on_host(spec, state, data, evaluation)["loss"]))
    return np.stack(losses)


def untouched_loss(spec: TrialSpec, data: SeedData, evaluation: EvalData) -> np.ndarray:
    """The loss of the initial parameters and state."""
    spec = _without_optimizer(spec, data)
    return np.asarray(evaluate_on_host(spec, _untouched(data), data, evaluation)["loss"])


def _untouched(data: SeedData) -> TrialState:
    """A state whose optimizer has none, unless a checkpoint's: what is evaluated are the parameters themselves."""
    opt_state = () if data.opt_state is None else data.opt_state
    return TrialState(data.params, data.model_state, opt_state, jnp.asarray(np.int32(0)), jnp.asarray(np.int32(-1)))


def _without_optimizer(spec: TrialSpec, data: SeedData) -> TrialSpec:
    eval_params = None if data.opt_state is None else spec.eval_params
    return dataclasses.replace(spec, make_optimizer=optax.sgd, eval_params=eval_params)

"""What one update is where an optimizer accumulates gradients: as many training batches as it takes to hold none.

`num_steps` counts training batches, each a call of the optimizer. Without accumulation that is an update each. Under
`optax.MultiSteps(optimizer, k)` or `optax.apply_every(k)`, wherever they stand in the optimizer, one update is k
batches: results, ramps and `train_steps` count updates.
"""

import functools
from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from .._checks import name_of
from .._types import Array, Batch, Int, Params, PyTree
from ._optimizer import build_optimizer, extra_arguments
from ._trial_data import TrialSpec

_KINDS = (optax.MultiStepsState, optax.ApplyEvery)
_FIRST_LENGTH, _MOST_PER_UPDATE = 256, 4096

Counters = tuple[Array, ...]


class Accumulation:
    """When the updates of an optimizer are complete.

    Args:
      name: the optimizer's, for messages.
      kinds: the states of Optax that accumulate, by name; empty where every batch is an update.
      advance: from their counters before a batch, and what is held, to those after it.
      counters: at the start.
      held: further arguments of `advance`.
      resting: positions of the counters that are 0 where nothing is held.
    """

    def __init__(
        self,
        name: str,
        kinds: tuple[str, ...] = (),
        advance: Callable[..., Counters] = lambda counters: counters,
        counters: Counters = (),
        held: tuple[Any, ...] = (),
        resting: tuple[int, ...] = (),
    ):
        self.name, self.kinds = name, kinds
        self._counters, self._held, self._done = counters, held, np.zeros(1, np.int64)

        def follow(length: int, counters: Counters, *held: Any) -> tuple[Counters, Array]:
            def one(counters: Counters, _: None) -> tuple[Counters, Array]:
                counters = advance(counters, *held)
                return counters, jnp.stack([counters[index] == 0 for index in resting]).all()

            return lax.scan(one, counters, length=length)

        # of this search alone: a cache for the process would keep the user's functions alive
        self._follow = jax.jit(follow, static_argnums=0)

    def __bool__(self) -> bool:
        return bool(self.kinds)

    def done(self, batches: int) -> Int[np.ndarray, " batches"]:
        """Updates that are complete after 0, 1, ..., `batches` batches."""
        if not self:
            return np.arange(batches + 1)
        while len(self._done) <= batches:
            length = max(_FIRST_LENGTH, len(self._done) - 1)
            self._counters, rests = self._follow(length, self._counters, *self._held)
            self._done = np.append(self._done, self._done[-1] + np.cumsum(np.asarray(rests)))
        return self._done[: batches + 1]

    def updates(self, batches: int) -> int:
        """Updates that are complete after so many batches."""
        return int(self.done(batches)[-1])

    def batches(self, updates: int) -> int:
        """Batches of so many updates."""
        if not self or updates == 0:
            return updates
        length = _FIRST_LENGTH
        while self.updates(length) < updates:
            length *= 2
            if length > _MOST_PER_UPDATE * (updates + 1):
                raise ValueError(
                    f"`make_optimizer` must return an optimizer that updates, but that of {self.name} accumulates "
                    f"({', '.join(self.kinds)}): {length // 2} batches are not enough for {updates} updates."
                )
        return int(np.argmax(self.done(length) >= updates))

    def check(self, where: str, batches: int) -> None:
        """Raise unless so many batches end with an update."""
        if not self or self.ends(batches):
            return
        done = self.updates(batches)
        before, after = self.batches(done), self.batches(done + 1)
        write = f"{before} or {after}" if done else f"{after}, or as many for each update"
        made = f"{done} update{'' if done == 1 else 's'}, and no update uses the last {batches - before}"
        raise ValueError(
            f"`{where}` counts training batches and must end with an update, but {self.name} accumulates gradients "
            f"({', '.join(self.kinds)}): {batches} batches make {made}. Write {write}."
        )

    def ends(self, batches: int) -> bool:
        """Whether an update is complete after so many batches and none before."""
        done = self.done(batches)
        return bool(batches > 0 and done[-1] > done[-2])


def find_accumulation(
    spec: TrialSpec,
    hyperparameters: PyTree,
    params: Params,
    *,
    opt_state: PyTree = None,
    batch: Callable[[], Batch] | None = None,
    stacked: bool = False,
) -> Accumulation:
    """How an optimizer, or a step of one's own, accumulates."""
    name, own = name_of(spec.make_optimizer), spec.step_fn is not None
    begin, step = _own_step(spec) if own else _optimizer_step(spec, params)
    given = params if own else None
    one = jax.tree.map(lambda leaf: leaf[0], hyperparameters) if stacked else hyperparameters
    state = jax.eval_shape(begin, one, given) if opt_state is None else opt_state
    leaves, treedef = jax.tree.flatten(state)
    positions: Any = treedef.unflatten(range(len(leaves)))
    nodes = _accumulators(cast(Any, spec.step_fn).state_of(positions) if own else positions)
    if not nodes:
        return Accumulation(name)
    places, resting = [], []
    for node in nodes:
        held = (node.mini_step, node.gradient_step) if isinstance(node, optax.MultiStepsState) else (node.count,)
        resting.append(len(places))
        places += [jax.tree.leaves(counter)[0] for counter in held]

    def first(hyperparameters: PyTree, given: Params) -> Counters:
        every = jax.tree.leaves(begin(hyperparameters, given) if opt_state is None else opt_state)
        return tuple(jnp.asarray(every[place]) for place in places)

    def advance(counters: Counters, hyperparameters: PyTree, given: Params, batch: Batch) -> Counters:
        now = dict(zip(places, counters, strict=True))
        before = enumerate(jax.tree.leaves(begin(hyperparameters, given)))
        state = treedef.unflatten([now.get(index, leaf) for index, leaf in before])
        after = jax.tree.leaves(step(hyperparameters, state, batch))
        return tuple(after[place] for place in places)

    if stacked:
        first, advance = jax.vmap(first, (0, None)), jax.vmap(advance, (0, 0, None, None))
    held = (hyperparameters, given, None if batch is None or not own else batch())
    counters = jax.jit(first)(*held[:2])
    return Accumulation(name, tuple(sorted({_name(node) for node in nodes})), advance, counters, held, tuple(resting))


def _optimizer_step(spec: TrialSpec, params: Params) -> tuple[Callable, Callable]:
    """The first state, and an update by gradients of 0: of arrays that the compiler leaves out."""
    zeros = functools.partial(jax.tree.map, lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), params)

    def step(hyperparameters: PyTree, state: PyTree, batch: Batch) -> PyTree:
        extra = extra_arguments(jnp.zeros(()), zeros(), lambda params: jnp.zeros(()))
        return build_optimizer(spec.make_optimizer, hyperparameters).update(zeros(), state, zeros(), **extra)[1]

    return lambda lr, given: build_optimizer(spec.make_optimizer, lr).init(zeros()), step


def _own_step(spec: TrialSpec) -> tuple[Callable, Callable]:
    """The arrays with a learning rate in them, and a step."""
    step_fn, put_lr = cast(Any, spec.step_fn), cast(Any, spec.make_optimizer)
    return lambda lr, arrays: put_lr(lr)(arrays), lambda lr, arrays, batch: step_fn(arrays, batch)[0]


def _accumulators(state: PyTree) -> list[Any]:
    """The states that accumulate, those within others too."""
    is_one = lambda node: isinstance(node, _KINDS)  # noqa: E731
    found = [node for node in jax.tree.leaves(state, is_leaf=is_one) if is_one(node)]
    within = [node.inner_opt_state for node in found if isinstance(node, optax.MultiStepsState)]
    return found + [node for state in within for node in _accumulators(state)]


def _name(node: Any) -> str:
    return "optax.MultiSteps" if isinstance(node, optax.MultiStepsState) else "optax.apply_every"

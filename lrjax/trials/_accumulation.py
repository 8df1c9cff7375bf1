"""What one update is where an optimizer accumulates gradients: as many training batches as it takes to hold none.

`num_steps` counts training batches, each a call of the optimizer. Without accumulation that is an update each. Under
`optax.MultiSteps(optimizer, k)` or `optax.apply_every(k)`, wherever they stand in the optimizer, one update is k
batches: results, ramps and `train_steps` count updates.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from .._checks import name_of
from .._types import Array, Batch, Int, Params, PyTree
from ._optimizer import build_optimizer, extra_arguments
from ._trial import TrialSpec

_KINDS = (optax.MultiStepsState, optax.ApplyEvery)
_FIRST_LENGTH, _MOST_PER_UPDATE = 256, 4096

Counters = tuple[Array, ...]


class Accumulation:
    """When the updates of an optimizer are complete.

    Args:
      name: the optimizer's, for messages.
      kinds: the states of Optax that accumulate, by name; empty where every batch is an update.
      advance: from their counters before a batch to those after it.
      counters: at the start.
      resting: positions of the counters that are 0 where nothing is held.
    """

    def __init__(
        self,
        name: str,
        kinds: tuple[str, ...] = (),
        advance: Callable[[Counters], Counters] = lambda counters: counters,
        counters: Counters = (),
        resting: tuple[int, ...] = (),
    ):
        self.name, self.kinds = name, kinds
        self._counters, self._done = counters, np.zeros(1, np.int64)

        def one(counters: Counters, _: None) -> tuple[Counters, Array]:
            counters = advance(counters)
            return counters, jnp.stack([counters[index] == 0 for index in resting]).all()

        # of this search alone: it closes over the state, which a cache for the process would keep alive
        self._follow = jax.jit(lambda counters, length: lax.scan(one, counters, length=length), static_argnums=1)

    def __bool__(self) -> bool:
        return bool(self.kinds)

    def done(self, batches: int) -> Int[np.ndarray, " batches"]:
        """Updates that are complete after 0, 1, ..., `batches` batches."""
        if not self:
            return np.arange(batches + 1)
        while len(self._done) <= batches:
            length = max(_FIRST_LENGTH, len(self._done) - 1)
            self._counters, rests = self._follow(self._counters, length)
            self._done = np.append(self._done, self._done[-1] + np.cumsum(np.asarray(rests)))
        return self._done[: batches + 1]

    def updates(self, batches: int) -> int:
        """Updates that are complete after so many batches."""
        return int(self.done(batches)[-1])

    def batches(self, updates: int) -> int:
        """Batches of so many updates.

        Raises:
          ValueError: the optimizer does not come to make them.
        """
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
        """Raise unless so many batches end with an update.

        Raises:
          ValueError: they do not; the message says which numbers do.
        """
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
) -> Accumulation:
    """How an optimizer, or a step of one's own, accumulates.

    Args:
      spec: with the optimizer.
      hyperparameters: of one trial.
      params: that train.
      opt_state: a checkpoint's, to go on from; None: the first.
      batch: gives a training batch, for a step of one's own.

    Returns:
      When its updates are complete.
    """
    name = name_of(spec.make_optimizer)
    begin, step, view = _own_step(spec, batch) if spec.step_fn is not None else _optimizer_step(spec)
    state = jax.eval_shape(begin, hyperparameters, params) if opt_state is None else opt_state
    leaves, treedef = jax.tree.flatten(state)
    nodes = _accumulators(view(treedef.unflatten(range(len(leaves)))))
    if not nodes:
        return Accumulation(name)
    places, resting = [], []
    for node in nodes:
        held = (node.mini_step, node.gradient_step) if isinstance(node, optax.MultiStepsState) else (node.count,)
        resting.append(len(places))
        places += [jax.tree.leaves(counter)[0] for counter in held]
    start = begin(hyperparameters, params) if opt_state is None else opt_state

    def advance(counters: Counters) -> Counters:
        now = dict(zip(places, counters, strict=True))
        before = [now.get(index, leaf) for index, leaf in enumerate(jax.tree.leaves(start))]
        after = jax.tree.leaves(step(hyperparameters, treedef.unflatten(before), params))
        return tuple(after[place] for place in places)

    counters = tuple(jnp.asarray(jax.tree.leaves(start)[place]) for place in places)
    return Accumulation(name, tuple(sorted({_name(node) for node in nodes})), advance, counters, tuple(resting))


def _optimizer_step(spec: TrialSpec) -> tuple[Callable, Callable, Callable]:
    """The first state, an update by gradients of 0, and the state itself."""

    def step(hyperparameters: PyTree, state: PyTree, params: Params) -> PyTree:
        zero = jax.tree.map(jnp.zeros_like, params)
        extra = extra_arguments(jnp.zeros(()), zero, lambda params: jnp.zeros(()))
        return build_optimizer(spec.make_optimizer, hyperparameters).update(zero, state, params, **extra)[1]

    return lambda lr, params: build_optimizer(spec.make_optimizer, lr).init(params), step, lambda state: state


def _own_step(spec: TrialSpec, batch: Callable[[], Batch] | None) -> tuple[Callable, Callable, Callable]:
    """The arrays with a learning rate in them, a step on some batch, and the user's own state of those arrays."""
    step_fn: Any = spec.step_fn
    put_lr: Any = spec.make_optimizer
    assert batch is not None

    def step(hyperparameters: PyTree, arrays: PyTree, params: Params) -> PyTree:
        return step_fn(arrays, batch())

    return lambda lr, arrays: put_lr(lr)(arrays), step, step_fn.state_of


def _accumulators(state: PyTree) -> list[Any]:
    """The states that accumulate, those within others too."""
    is_one = lambda node: isinstance(node, _KINDS)  # noqa: E731
    found = [node for node in jax.tree.leaves(state, is_leaf=is_one) if is_one(node)]
    within = [node.inner_opt_state for node in found if isinstance(node, optax.MultiStepsState)]
    return found + [node for state in within for node in _accumulators(state)]


def _name(node: Any) -> str:
    return "optax.MultiSteps" if isinstance(node, optax.MultiStepsState) else "optax.apply_every"

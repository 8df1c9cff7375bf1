"""Piecewise step sampling: train, and look for the learning rate on the way, at the cost of 6.2 trainings.

In every tenth of the training, up to 80 %, five copies go on from the current model and optimizer state, on the same
batches, at 1/4, 1/2, 1, 2 and 4 times the current learning rate (at first at 0.1, 0.32, 1, 3.2 and 10 times the given
one). Each is scored by its validation loss after 5 % more, in which its learning rate falls linearly to 0; the training
goes on from where the best of them was before that. In the last 20 % the learning rate falls to 0.

Not in the package: cosine at its best peak of eight, for about the same cost, is as good, and 1cycle better
(experiments/results/live.json). The cooldown shows progress without the noise of a high learning rate: in an earlier
study copies that were scored right after their windows lost twice as much, and in shorter windows their learning rate
collapsed.

Source: "Learning rate optimization through step sampling", section 6, as future work; the cooled score is ours.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import lrjax

PARTS = 20
"""The training has so many parts: two are a window, one is the cooldown of a score."""

WINDOWS = 8
"""Windows in which the learning rate is chosen; in the rest of the training it falls to 0."""

FIRST = np.asarray([0.1, 10**-0.5, 1.0, 10**0.5, 10.0])
"""The first forks, as multiples of the given learning rate."""

LATER = np.asarray([0.25, 0.5, 1.0, 2.0, 4.0])
"""The other forks, as multiples of the current learning rate."""


class Piece(NamedTuple):
    """A learning rate, constant and then falling linearly to 0 in the last steps before an end."""

    lr: Any
    end: Any
    fall: Any

    def at(self, step: Any) -> jax.Array:
        """The learning rate of a step."""
        return self.lr * jnp.clip((self.end - step) / self.fall, 0.0, 1.0)


class State(NamedTuple):
    """A training, stopped."""

    params: Any
    opt_state: Any


class Window(NamedTuple):
    """One choice: the copies' learning rates, their losses after the cooldown, and which of them went on."""

    start: int
    lrs: np.ndarray
    losses: np.ndarray
    chosen: int

    @property
    def lr(self) -> float:
        """The chosen learning rate."""
        return float(self.lrs[self.chosen])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
    """A training that looked for its learning rate.

    Attributes:
      params, opt_state: at its end.
      schedule: its learning rates, for another training of the same length.
      windows: what was tried when, and what was chosen.
      loss: validation loss at the end.
      num_updates: of all copies.
    """

    params: Any
    opt_state: Any
    schedule: optax.Schedule
    windows: tuple[Window, ...]
    loss: float
    num_updates: int


def piecewise(
    task: lrjax.Task,
    make_optimizer: Callable[[Any], optax.GradientTransformation],
    *,
    key: jax.Array,
    lr: float,
    train_steps: int,
) -> Trained:
    """Train a task without a model state, beginning around a learning rate.

    Args:
      task: its batches must be readable from any step on.
      make_optimizer: `make_optimizer(schedule) -> optax optimizer`.
      key: PRNG key; the training is that of seed 0 of a search with this key.
      lr: learning rate to begin around.
      train_steps: a multiple of 20.

    Returns:
      The training.

    Raises:
      RuntimeError: every copy diverged.
      ValueError: `train_steps` is no multiple of 20.
    """
    if train_steps % PARTS:
        raise ValueError(f"`piecewise(train_steps=...)` must be a multiple of {PARTS}, got {train_steps}.")
    part = train_steps // PARTS
    init_key, data_key, train_key = jax.random.split(jax.random.fold_in(key, 0), 3)
    params = task.init(init_key) if callable(task.init) else task.init
    optimizer = make_optimizer(lambda step: jnp.float32(lr))
    states = _copies(State(params, optimizer.init(params)))
    run, evaluate = _programs(task, make_optimizer)

    def go_on(states: State, pieces: Piece, start: int, stop: int) -> State:
        batches = task.training_batches(0, data_key, start, stop)
        return run(states, jax.tree.map(jnp.float32, pieces), batches, train_key, start)

    windows: list[Window] = []
    for start in range(0, 2 * WINDOWS * part, 2 * part):
        lrs, stop = lr * (LATER if windows else FIRST), start + 2 * part
        states = go_on(states, Piece(lrs, np.full(5, 2.0**24), np.ones(5)), start, stop)
        cooled = go_on(states, Piece(lrs, np.full(5, stop + part), np.full(5, part)), stop, stop + part)
        windows.append(choose(start, lrs, np.asarray(evaluate(cooled.params), np.float64)))
        states, lr = _copies(jax.tree.map(lambda leaf: leaf[windows[-1].chosen], states)), windows[-1].lr
    rest = (PARTS - 2 * WINDOWS) * part
    fall = Piece(np.full(5, lr), np.full(5, train_steps), np.full(5, rest))
    states = go_on(states, fall, train_steps - rest, train_steps)
    last = jax.tree.map(lambda leaf: leaf[0], states)
    return Trained(
        params=last.params,
        opt_state=last.opt_state,
        schedule=lrjax.schedules.cooldown_from(
            lrjax.schedules.piecewise_constant([one.lr for one in windows], [one.start for one in windows[1:]]),
            train_steps - rest,
            rest,
            cooldown="linear",
        ),
        windows=tuple(windows),
        loss=float(evaluate(states.params)[0]),
        num_updates=3 * part * WINDOWS * len(LATER) + rest,
    )


def choose(start: int, lrs: np.ndarray, losses: np.ndarray) -> Window:
    """The lowest loss; of equal ones the highest learning rate, or it falls for good where nothing moves."""
    losses = np.where(np.isfinite(losses), losses, np.inf)
    if not np.isfinite(losses).any():
        raise RuntimeError(
            f"`piecewise` needs a copy that does not diverge, but from step {start} on all {len(lrs)} did, "
            f"at learning rates from {lrs[0]:.1e} to {lrs[-1]:.1e}. Start lower (lr=...)."
        )
    return Window(start, lrs, losses, int(np.flatnonzero(losses == losses.min())[-1]))


def _copies(state: State) -> State:
    return jax.tree.map(lambda leaf: jnp.repeat(jnp.asarray(leaf)[None], len(LATER), axis=0), state)


def _programs(task: lrjax.Task, make_optimizer: Callable[[Any], optax.GradientTransformation]) -> tuple[Any, Any]:
    """The training of all copies over some batches, and their validation losses, both compiled."""

    def run(state: State, piece: Piece, batches: Any, key: jax.Array, first: Any) -> State:
        optimizer = make_optimizer(piece.at)

        def step(state: State, xs: Any) -> tuple[State, None]:
            batch, index = xs
            grads = jax.grad(task.loss_fn)(state.params, batch, jax.random.fold_in(key, index))
            updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
            return State(optax.apply_updates(state.params, updates), opt_state), None

        count = jax.tree.leaves(batches)[0].shape[0]
        return jax.lax.scan(step, state, (batches, first + jnp.arange(count)))[0]

    def loss_of(params: Any, batch: Any) -> Any:
        return task.eval_fn(params, batch)["loss"] if task.eval_fn else task.loss_fn(params, batch, jax.random.key(0))

    def evaluate(params: Any) -> jax.Array:
        sizes = jnp.asarray([jax.tree.leaves(batch)[0].shape[0] for batch in task.eval_batches])
        losses = jnp.stack([loss_of(params, batch) for batch in task.eval_batches])
        return jnp.average(losses, weights=sizes)

    return jax.jit(jax.vmap(run, in_axes=(0, 0, None, None, None))), jax.jit(jax.vmap(evaluate))

"""Why no learning rate moved the loss at all: told from one training on the host, where every loss was the same."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from .._types import Float, PyTree
from ._devices import plain_keys
from ._host_loop import evaluate_on_host, run_on_host
from ._trial import init_trial
from ._trial_data import EvalData, SeedData, TrialSpec, TrialState

_SAME = 1e-6
"""Relative difference up to which losses count as one."""


class Unmoved(NamedTuple):
    """Why nothing moved.

    Attributes:
      message: what was seen, in a sentence.
      remedy: what to do about it.
    """

    message: str
    remedy: str


NO_UPDATE = Unmoved(
    "No parameter changed, though the gradient is not 0: every update was 0.",
    "Look at the optimizer: a schedule that is 0 in these steps, set_to_zero, a mask; or use more steps (num_steps), "
    "or raise max_lr.",
)
NO_GRADIENT = Unmoved(
    "No parameter changed: the gradient was 0 in every step.",
    "Is the model trained already? Otherwise look at loss_fn and at what trains (trainable), or use more steps "
    "(num_steps), if the loss depends on the parameters later only.",
)
NOT_READ = Unmoved(
    "The parameters change, but the validation loss does not depend on what changes.",
    "Let the evaluation (eval_fn, evaluate) read what training changes.",
)
NO_LR = Unmoved(
    "The learning rate makes no difference to what the step computes.",
    "Let step read the learning rate where set_lr puts it, and evaluate what it changes.",
)


def all_the_same(losses: Float[np.ndarray, "seeds trials"], initial_loss: Float[np.ndarray, " seeds"]) -> bool:
    """Whether no learning rate of any seed has another loss than the rest, or than the initial one."""
    every = np.concatenate([losses, np.asarray(initial_loss)[:, None]], axis=1)
    return bool(np.isfinite(every).all() and (np.ptp(every, axis=1) <= _SAME * np.abs(every).max(axis=1)).all())


def why_unmoved(spec: TrialSpec, data: SeedData, evaluation: EvalData, lr: Any) -> Unmoved | None:
    """Train once more and look at the parameters."""
    _, state = run_on_host(spec, lr, data, evaluation)
    if spec.step_fn is None:
        before: PyTree = data.params
        moved = [True] * len(jax.tree.leaves(before))
    else:
        zero = jnp.zeros_like(lr)
        before = run_on_host(spec, zero, data, evaluation)[1].params
        starts = [jax.tree.leaves(init_trial(spec, rate, data).params) for rate in (zero, lr)]
        moved = [_equal(one, other) for one, other in zip(*starts, strict=True)]  # not what set_lr itself changes
    pairs = zip(jax.tree.leaves(before), jax.tree.leaves(state.params), moved, strict=True)
    moved = [counts and not _equal(one, other) for one, other, counts in pairs]
    if not any(moved):
        return why_no_update(spec, data, evaluation) if spec.step_fn is None else NO_LR
    losses = [evaluate_on_host(spec, one, data, evaluation)["loss"] for one in (state, _shifted(state, moved))]
    return NOT_READ if _equal(*losses) else None


def why_no_update(spec: TrialSpec, data: SeedData, evaluation: EvalData) -> Unmoved:
    """Whether it is the optimizer or the gradient, where no parameter changes."""
    plain = dataclasses.replace(spec, make_optimizer=optax.sgd, eval_params=None, lr_leaves=())
    _, state = run_on_host(plain, jnp.ones(()), data._replace(opt_state=None), evaluation)
    pairs = zip(jax.tree.leaves(data.params), jax.tree.leaves(state.params), strict=True)
    return NO_GRADIENT if all(_equal(one, other) for one, other in pairs) else NO_UPDATE


def _shifted(state: TrialState, moved: list[bool]) -> TrialState:
    """The state with other numbers in what moved, and in the optimizer's averages of it."""
    leaves, treedef = jax.tree.flatten(state.params)
    params = treedef.unflatten([_other(leaf) if counts else leaf for leaf, counts in zip(leaves, moved, strict=True)])
    return state._replace(params=params, opt_state=jax.tree.map(_other, state.opt_state))


def _other(leaf: Any) -> Any:
    return leaf + 1 if jnp.issubdtype(leaf.dtype, jnp.number) else leaf


def _equal(one: Any, other: Any) -> bool:
    one, other = plain_keys((one, other))
    return np.array_equal(np.asarray(one), np.asarray(other))

"""The losses of given learning rates as a curve."""

from collections.abc import Sequence

import numpy as np
from jax.sharding import Mesh

from .._checks import MAX_SEEDS, check_count, check_key
from .._curve import LossCurve
from .._engine import Executor, LaneRunner, Task
from .._lrs import check_lrs
from .._settings import on_host
from .._types import Array, Float, Key, OptimizerFactory
from ._live import curve_of
from ._strategy import check_horizons


@on_host
def sample_losses(
    task: Task,
    make_optimizer: OptimizerFactory,
    lrs: Float[Array, " trials"] | Float[np.ndarray, " trials"] | Sequence[float],
    *,
    key: Key,
    num_steps: int = 20,
    num_seeds: int | None = 1,
    horizons: Sequence[int] = (),
    executor: Executor = "auto",
    mesh: Mesh | None = None,
) -> LossCurve:
    """Train one independent copy per learning rate and seed, and evaluate each.

    All copies of a seed start from identical parameters and see identical batches and dropout keys. Adding a
    learning rate never changes another one's losses.

    Args:
      task: what is trained.
      make_optimizer: `make_optimizer(lr) -> optax optimizer`, for example `optax.adam`. It is called with a traced
        lr, so it must not branch on it in Python.
      lrs: learning rates, > 0 and all different, in any order. Shape (trials,).
      key: PRNG key. Seed s uses fold_in(key, s).
      num_steps: training batches of every copy: optimizer updates, or k for each under `optax.MultiSteps(..., k)`.
      num_seeds: seeds, >= 1; None: 3, or as many as the data allow.
      horizons: further numbers of batches, below num_steps, after which to evaluate as well.
      executor: "auto", "vmap", "map", "loop" or `lrjax.Chunked(k)`; they give the same curve.
      mesh: devices over whose first axis the copies are spread; None: all local devices.

    Returns:
      The curve, with the lrs in increasing order. Its horizons count updates.

    Raises:
      TypeError, ValueError: bad learning rates, key, task or optimizer; the message says which and what to do.

    Source: "Learning rate optimization through step sampling", section 3.

    Examples:
      >>> import jax, jax.numpy as jnp, optax, lrjax
      >>> task = lrjax.Task(
      ...     init=jnp.array([1.0]), loss_fn=lambda w, batch, key: jnp.sum(w**2) / 2,
      ...     sample_batches=lambda key, n: jnp.zeros((n, 1)), eval_batches=[jnp.zeros(1)],
      ... )
      >>> curve = lrjax.sample_losses(task, optax.sgd, [0.5, 0.1], key=jax.random.key(0), num_steps=1)
      >>> [round(float(loss), 3) for loss in curve.final[0]]
      [0.405, 0.125]
    """
    values = check_lrs("sample_losses(lrs=...)", lrs)
    if num_seeds is not None:
        num_seeds = check_count("sample_losses(num_seeds=...)", num_seeds, maximum=MAX_SEEDS, unit="seeds")
    runner = LaneRunner(
        "sample_losses",
        task,
        make_optimizer,
        key=check_key("sample_losses(key=...)", key),
        num_seeds=num_seeds,
        executor=executor,
        mesh=mesh,
    )
    values, steps = np.sort(values), check_horizons("sample_losses", num_steps, horizons)
    return curve_of(values, runner.sample(values, steps, in_batches=True), runner.experiment.dtype)

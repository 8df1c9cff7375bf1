"""A coordinate check: whether what training moves depends on the width."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._checks import check_callable, check_count, check_key, check_number, check_type, show_with_type
from .._engine import (
    Task,
    TrialState,
    check_factory,
    check_task,
    draw_seeds,
    init_trial,
    join_params,
    make_spec,
    to_arrays,
)
from .._engine import train_step as one_update
from .._types import Array, Key, OptimizerFactory, Params
from ._coordinate_result import CoordinateCheck, When, fit_slope
from ._leaves import initial_ratio, name_of_path, read_leaves

Sizes = dict[str, Array]

RETURNS = "make_model(width) -> (task, make_optimizer) or (task, make_optimizer, activations)"


class _Model(NamedTuple):
    """What is made at a width."""

    task: Task
    make_optimizer: OptimizerFactory
    activations: Callable[..., Any] | None
    params: Params  # of the first seed
    seeds: Any
    trainable: tuple[bool, ...]


def coordinate_check(
    make_model: Callable[[int], tuple[Any, ...]],
    widths: Sequence[int],
    *,
    lr: float,
    key: Key,
    num_steps: int = 4,
    num_seeds: int = 8,
) -> CoordinateCheck:
    """Train models of several widths for a few updates, and say whether what moves depends on the width.

    Under muP the activations of a hidden layer and the logits move as far at every width, whatever the learning rate;
    in other parametrisations some blow up or vanish, as a power of the width. So the slope of log size against log
    width is fitted, and compared with 0.

    Args:
      make_model: `make_model(width) -> (task, make_optimizer, activations)`: a `lrjax.Task`, a function of the learning
        rate (`mup(...)` with a base that is the same for all widths) and `activations(params, batch) -> {name: array}`,
        of any shapes (`activations(params, model_state, batch)` of a task with a state). Without the third the
        parameters are looked at: how far they move, and how large they are, relative to what muP says of their kind.
      widths: at least three, each at least 1; the smallest one's parameters are the base where parameters are
        looked at. Finite widths bend the lines: 4 times and more between the smallest and the largest tells most.
      lr: learning rate at the base's width, best near the found one. > 0.
      key: of initial parameters, batches and dropout.
      num_steps: updates, >= 1. More than a few tell less: what has learned the target moves as far at every width.
      num_seeds: >= 1; all seeds of a width train in one program.

    Returns:
      The sizes, slopes, a verdict ("muP", "not muP", "unclear"), `summary()` and `plot()`.

    Raises:
      TypeError: `make_model` returns something else, or activations that are no mapping from names to arrays.
      ValueError: fewer than three widths, equal ones, a model whose parameters do not grow with the width or do not
        move, or a learning rate at which the smallest diverges.

    Source: Yang et al. 2022, Tensor Programs V, appendix D.1.

    Examples:
      >>> import jax, jax.numpy as jnp, optax, lrjax
      >>> from lrjax.scaling import coordinate_check, mup, rescale_init
      >>> x = jax.random.normal(jax.random.key(1), (64, 8))
      >>> def init(key, width):
      ...     keys = zip(jax.random.split(key, 3), [(8, width), (width, width), (width, 1)])
      ...     return [jax.random.normal(key, size) / size[0] ** 0.5 for key, size in keys]
      >>> def activations(params, batch):
      ...     first = jnp.tanh(batch[0] @ params[0])
      ...     second = jnp.tanh(first @ params[1])
      ...     return {"first": first, "second": second, "output": second @ params[2]}
      >>> def loss_fn(params, batch, key):
      ...     return jnp.mean((activations(params, batch)["output"][:, 0] - batch[1]) ** 2)
      >>> base = init(jax.random.key(0), 32)
      >>> def make_model(width):
      ...     task = lrjax.Task.from_arrays(
      ...         lambda key: rescale_init(init(key, width), base), loss_fn,
      ...         train=(x, x[:, 0]), validation=(x, x[:, 0]), batch_size=64,
      ...     )
      ...     return task, mup(optax.adam, base=base, params=init(key, width)), activations
      >>> key = jax.random.key(2)
      >>> coordinate_check(make_model, [64, 128, 256], lr=0.01, key=key).verdict
      'muP'
    """
    check_callable("coordinate_check(make_model)", make_model, signature=RETURNS)
    widths = _check_widths(widths)
    lr = check_number("coordinate_check(lr=...)", lr, rule="a learning rate > 0", accept=lambda x: 0 < x < np.inf)
    key = check_key("coordinate_check(key=...)", key)
    num_steps = check_count("coordinate_check(num_steps=...)", num_steps, unit="optimizer updates")
    num_seeds = check_count("coordinate_check(num_seeds=...)", num_seeds, maximum=1000, unit="seeds")
    models = [_make(make_model, width, key, num_seeds) for width in widths]
    _check_growing(widths, models)
    measured = [_sizes(model, models[0].params, lr, num_steps) for model in models]
    names = list(measured[0])
    if other := next((width for width, one in zip(widths, measured, strict=True) if list(one) != names), None):
        raise ValueError(
            f"`coordinate_check(make_model)` must give activations of the same names at every width, but those at "
            f"{other} differ from those at {widths[0]}."
        )
    sizes = {name: np.stack([np.asarray(one[name], np.float32) for one in measured]) for name in names}
    if not all(np.isfinite(each[0]).all() for each in sizes.values()):
        raise ValueError(
            f"`coordinate_check(lr=...)` must be one that trains at the smallest width, {widths[0]}, where lr={lr:g} "
            "diverges. Give a smaller one."
        )
    when: dict[When, int] = {"at the start": 0, "in the first update": 1, "in all updates": num_steps}
    slopes = [fit_slope(name, then, widths, sizes[name][:, :, step]) for then, step in when.items() for name in names]
    if not any(each[:, :, 1:].any() for each in sizes.values()):
        raise ValueError(f"`coordinate_check(make_model)` must make models that train, but nothing moves at lr={lr:g}.")
    return CoordinateCheck(widths=widths, sizes=sizes, slopes=tuple(filter(None, slopes)), lr=lr)


def _check_widths(widths: Any) -> tuple[int, ...]:
    where = "coordinate_check(widths=...)"
    if isinstance(widths, (str, bytes)) or not hasattr(widths, "__iter__"):
        raise TypeError(
            f"`{where}` must be at least three widths, such as [64, 128, 256], got {show_with_type(widths)}."
        )
    counts = sorted(check_count(where, width, unit="a width") for width in widths)
    if twice := next((one for one, other in itertools.pairwise(counts) if one == other), None):
        raise ValueError(f"`{where}` must be different widths, got {twice} twice.")
    if len(counts) < 3:
        raise ValueError(f"`{where}` must be at least three widths, or a slope has no error, got {counts}.")
    return tuple(counts)


def _make(make_model: Callable[[int], Any], width: int, key: Key, num_seeds: int) -> _Model:
    """The model at a width, checked, and its seeds."""
    made = make_model(width)
    if not (isinstance(made, tuple) and len(made) in (2, 3)):
        raise TypeError(f"`coordinate_check(make_model)` must be {RETURNS}, got {show_with_type(made)}.")
    task, make_optimizer, *rest = made
    activations = rest[0] if rest else None
    check_task("coordinate_check(make_model(width)[0])", task)
    if task._step_fn is not None:
        raise TypeError("`coordinate_check(make_model(width)[0])` must be a task with a loss_fn, not a `step_task`.")
    check_factory("coordinate_check(make_model(width)[1])", make_optimizer)
    if activations is not None:
        signature = "activations(params, batch) -> {name: array}"
        check_callable("coordinate_check(make_model(width)[2])", activations, signature=signature)
    seeds, trainable = draw_seeds(task, key, num_seeds)
    return _Model(task, make_optimizer, activations, join_params(seeds[0].params, seeds[0].frozen), seeds, trainable)


def _check_growing(widths: tuple[int, ...], models: list[_Model]) -> None:
    """Raise unless a wider model has more parameters than a narrower one."""
    counts = [sum(leaf.size for leaf in jax.tree.leaves(model.params)) for model in models]
    for width, fewer, more in zip(widths[1:], counts, counts[1:], strict=False):
        if more <= fewer:
            raise ValueError(
                f"`coordinate_check(make_model)` must make larger models for larger widths, but the one of width "
                f"{width} has {more:,} parameters, the narrower one {fewer:,}. Does it use its argument?"
            )


def _sizes(model: _Model, base: Params, lr: float, num_steps: int) -> dict[str, Any]:
    """Of every name the size at the start and how far it has moved after each update: shape (seeds, steps + 1)."""
    task, seeds = model.task, model.seeds
    batches = [task.training_batches(index, seed.data_key, 0, num_steps) for index, seed in enumerate(seeds)]
    probe = to_arrays("Task(eval_batches=...)", _first_batch(task))
    spec = make_spec(task, model.make_optimizer, model.trainable, (num_steps,))

    def look(params: Params, model_state: Any, probe: Any) -> Sizes:
        if model.activations is None:
            leaves = jax.tree_util.tree_leaves_with_path(params)
            return {name_of_path(path): leaf for path, leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.floating)}
        before = (params, model_state) if task.has_state else (params,)
        return _check_activations(model.activations(*before, probe))

    def one(seed: Any, lr: Array, probe: Any) -> Sizes:
        state = init_trial(spec, lr, seed)
        start = look(join_params(state.params, seed.frozen), state.model_state, probe)

        def update(state: TrialState, index: Array) -> tuple[TrialState, Sizes]:
            state, _ = one_update(spec, lr, state, seed, index)
            now = look(join_params(state.params, seed.frozen), state.model_state, probe)
            return state, jax.tree.map(lambda after, before: _rms(after - before), now, start)

        _, moves = jax.lax.scan(update, state, jnp.arange(num_steps))
        return jax.tree.map(lambda first, rest: jnp.concatenate([_rms(first)[None], rest]), start, moves)

    stacked = [seed._replace(batches=batch, data_key=None) for seed, batch in zip(seeds, batches, strict=True)]
    together = jax.tree.map(lambda *each: jnp.stack(each), *stacked)
    sizes = jax.jit(jax.vmap(one, (0, None, None)))(together, jnp.float32(lr), probe)
    return sizes if model.activations else _relative(sizes, base, model.params)


def _first_batch(task: Task) -> Any:
    """The batch on which activations are looked at."""
    batches = task.eval_batches
    return batches[0] if isinstance(batches, Sequence) else jax.tree.map(lambda leaf: leaf[0], batches)


def _relative(sizes: Sizes, base: Params, params: Params) -> Sizes:
    """Sizes of parameters, and of how far they moved, divided by what muP has both shrink by."""
    relative = {}
    for leaf in read_leaves("coordinate_check", base, params, None, None):
        if leaf.trains:
            moves = 1 / leaf.growth if leaf.kind in ("hidden", "output") else 1.0
            start, rest = sizes[leaf.path][:, :1], sizes[leaf.path][:, 1:]
            relative[leaf.path] = np.concatenate([start / initial_ratio(leaf), rest / moves], axis=1)
    return relative


def _check_activations(made: Any) -> Sizes:
    check_type("coordinate_check(activations)", made, dict, "a function that returns {name: array}")
    return {str(name): jnp.asarray(value) for name, value in made.items()}


def _rms(leaf: Array) -> Array:
    return jnp.sqrt(jnp.mean(jnp.square(leaf.astype(jnp.float32))))

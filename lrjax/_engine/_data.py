"""Where the batches of a trial come from: arrays, iterables, and evaluation sets."""

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from .._checks import attribute, describe, describe_tree, path_of, show, to_numpy
from .._trees import first_difference
from .._types import Array, Batch, Bool, Float, Key, PyTree
from ._block import copied


def to_arrays(where: str, tree: PyTree) -> PyTree:
    """Turn every leaf into a JAX array (torch and tf tensors too); raises as `check_arrays`."""
    return on_device(check_arrays(where, tree))


def on_device(tree: PyTree) -> PyTree:
    """NumPy's arrays as those of JAX; unlike `jnp.asarray` this compiles nothing for every new shape.

    Of copies, since `device_put` may keep the very memory, which the user may write to again.
    """
    return jax.tree.map(lambda leaf: leaf if isinstance(leaf, jax.Array) else jax.device_put(copied(leaf)), tree)


def check_arrays(where: str, tree: PyTree) -> PyTree:
    """Turn every leaf into an array, of NumPy unless it is one of JAX, refusing what no program can hold."""
    if inspect.isgenerator(tree):
        raise TypeError(f"`{where}` must hold arrays, got a generator. Collect it: list(...), or np.stack(list(...)).")
    leaves, treedef = jax.tree_util.tree_flatten_with_path(tree)
    return treedef.unflatten([_check_array(where, path, leaf) for path, leaf in leaves])


def _check_array(where: str, path: tuple, leaf: object) -> Array | np.ndarray:
    if isinstance(leaf, jax.Array):
        return leaf
    array = to_numpy(leaf)
    if array is None or array.dtype.kind not in "biufcV" or (array.dtype.kind == "V" and array.dtype.names):
        raise TypeError(
            f"`{where}` must hold arrays of numbers, got {show(leaf)} ({type(leaf).__name__}) at "
            f"{path_of(path)}. Encode it as numbers, or leave it out."
        )
    array = array.astype(array.dtype.newbyteorder("="), copy=False)  # JAX knows no other order of bytes
    if array.dtype in (np.int64, np.uint64) and array.size and not jax.config.jax_enable_x64:  # pyright: ignore[reportAttributeAccessIssue]
        wide = np.iinfo(np.int32 if array.dtype == np.int64 else np.uint32)
        low, high = array.min(), array.max()
        if low < wide.min or high > wide.max:
            raise ValueError(
                f"`{where}` holds {high if high > wide.max else low} at {path_of(path)}, which JAX would cut to "
                "32 bits. Reduce the values, or enable jax_enable_x64."
            )
    if array.dtype == np.longdouble:
        raise TypeError(
            f"`{where}` holds {array.dtype} at {path_of(path)}, which JAX does not know. Cast it to float64."
        )
    if array.dtype == np.float64 and not jax.config.jax_enable_x64:  # pyright: ignore[reportAttributeAccessIssue]
        largest = np.max(np.abs(array), where=np.isfinite(array), initial=0.0)
        if largest > np.finfo(np.float32).max:
            raise ValueError(
                f"`{where}` holds {largest:g} at {path_of(path)}, which JAX would make infinite in 32 bits. Scale the "
                "values, or enable jax_enable_x64."
            )
    return array


def stack_batches(where: str, batches: Sequence[Batch]) -> Batch:
    """Stack batches of one structure and shape along a new leading axis."""
    first = batches[0]
    for index, batch in enumerate(batches):
        check_like_first(where, first, index, batch)
    return stack_leaves(batches)


def check_like_first(where: str, first: Batch, index: int, batch: Batch) -> None:
    """Raise a ValueError unless a batch has the structure, shapes and dtypes of the first one."""
    difference = first_difference(first, batch)
    if not difference:
        return
    raise ValueError(
        f"`{where}` must all have one structure, shape and dtype, but batch {index} differs from batch 0: "
        f"{difference}. {_how_to_make_equal(first, batch)}"
    )


def _how_to_make_equal(first: Batch, batch: Batch) -> str:
    """Advice for the first thing in which two batches differ: structure, dtype, examples or another axis."""
    if jax.tree.structure(first) != jax.tree.structure(batch):
        return "Give every batch the same parts."
    if _shapes_of(first) == _shapes_of(batch):
        return "Cast them all to one dtype."
    if _shapes_of(first, of_example=True) == _shapes_of(batch, of_example=True):
        return "Drop or pad a smaller last batch (`drop_last=True`, `drop_remainder=True`)."
    return "Pad all of them to one length, and mask what is padding in the loss."


def stack_leaves(trees: Sequence[PyTree]) -> PyTree:
    """Stack equal trees along a new leading axis, on the host where they are there: that compiles nothing."""
    if all(isinstance(leaf, np.ndarray) for tree in trees for leaf in jax.tree.leaves(tree)):
        return jax.tree.map(lambda *leaves: jax.device_put(np.stack(leaves)), *trees)
    return _stack(*trees)


@jax.jit
def _stack(*trees: PyTree) -> PyTree:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def read_eval_batches(where: str, eval_batches: PyTree) -> list[Batch]:
    """The evaluation batches as arrays."""
    if isinstance(eval_batches, list):
        batches = [check_arrays(f"{where}[{index}]", batch) for index, batch in enumerate(eval_batches)]
    else:
        batches = unstack(where, check_arrays(where, eval_batches))
    if not batches:
        raise ValueError(f"`{where}` is empty. Step sampling reads a validation loss: give at least one batch.")
    for index, batch in enumerate(batches):
        leaves = jax.tree.leaves(batch)
        if not leaves or any(leaf.shape[:1] == (0,) for leaf in leaves):
            raise ValueError(f"`{where}` must hold batches of examples, but batch {index} is empty. Remove it.")
    return batches


def group_by_shape(
    batches: Sequence[Batch], weights: Sequence[float] | None
) -> tuple[tuple[Batch, ...], tuple[Float[Array, " batches"], ...] | None]:
    """Evaluation batches stacked where their shapes agree, with their shares; without those of weight 0."""
    groups: dict[Any, list[int]] = {}
    for index, batch in enumerate(batches):
        if weights is None or weights[index] > 0:
            dtypes = tuple(str(leaf.dtype) for leaf in jax.tree.leaves(batch))
            groups.setdefault((_shapes_of(batch), dtypes), []).append(index)
    stacked = tuple(stack_leaves([batches[index] for index in group]) for group in groups.values())
    if weights is None:
        return stacked, None
    shares = np.asarray(weights) / np.sum(weights)
    return stacked, tuple(on_device(shares[group].astype(np.float32)) for group in groups.values())


def count_examples(where: str, batches: Sequence[Batch]) -> list[float]:
    """How much each batch counts in a mean over all of them, as far as their shapes say.

    Batches of equal shapes count equally. Others count by their examples: the length of the leading axis that all
    their leaves but scalars share, if nothing else about their shapes differs.
    """
    if len({_shapes_of(batch) for batch in batches}) == 1:
        return [1.0] * len(batches)
    for index, batch in enumerate(batches):
        leaves = [(path, leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(batch) if leaf.ndim]
        for path, leaf in leaves:
            first_path, first = leaves[0]
            if leaf.shape[0] != first.shape[0]:
                raise _unknown_weights(
                    where,
                    f"batch {index} has {describe(first)} at {path_of(first_path)} and {describe(leaf)} at "
                    f"{path_of(path)}, of different lengths",
                )
        if _shapes_of(batch, of_example=True) != _shapes_of(batches[0], of_example=True):
            first, other = describe_tree(batches[0]), describe_tree(batch)
            raise _unknown_weights(
                where, f"batch 0, {first}, and batch {index}, {other}, differ in more than their first axis"
            )
    return [float(next(leaf.shape[0] for leaf in jax.tree.leaves(batch) if leaf.ndim)) for batch in batches]


def _shapes_of(batch: Batch, *, of_example: bool = False) -> tuple[Any, ...]:
    """Structure and shapes of a batch, or of what its leaves hold for one example."""
    shapes = [leaf.shape for leaf in jax.tree.leaves(batch)]
    return jax.tree.structure(batch), *((len(shape), shape[1:]) if of_example else shape for shape in shapes)


def _unknown_weights(where: str, why: str) -> ValueError:
    return ValueError(
        f"`{where}` does not say how many examples each of its batches holds: {why}. Give the task "
        "eval_weight=lambda batch: ..., the number of examples (or of valid tokens) in a batch."
    )


def weigh(function: Callable[[Batch], Any], batches: Sequence[Batch]) -> list[float]:
    """What `Task(eval_weight=...)` says of every batch, checked."""
    where, weights = "Task(eval_weight=...)", []
    for index, batch in enumerate(batches):
        value = np.asarray(function(on_device(batch)))
        if value.dtype.kind not in "biuf" and not jnp.issubdtype(value.dtype, np.floating):
            raise TypeError(f"`{where}` must return a number, got {show(value)} ({value.dtype}) for batch {index}.")
        if value.shape != ():
            raise ValueError(
                f"`{where}` must return one number for a batch, got {describe(value)} for batch {index}. Take the sum, "
                "`jnp.sum(...)`."
            )
        weights.append(float(value))
    check_weights(where, weights)
    return weights


def check_weights(where: str, weights: Sequence[float]) -> None:
    """Raise unless batches of these weights have a weighted mean."""
    for index, weight in enumerate(weights):
        if not (np.isfinite(weight) and weight >= 0):
            raise ValueError(
                f"`{where}` must be >= 0 and finite, got {weight:g} for evaluation batch {index}. It is the number of "
                "examples (or valid tokens) in the batch."
            )
    if not sum(weights) > 0:
        raise ValueError(
            f"`{where}` must be above 0 for a batch at least, got 0 for all {len(weights)} evaluation batches, so that "
            "there is nothing to take a mean of. Is the mask inverted?"
        )


def unstack(where: str, stacked: Batch) -> list[Batch]:
    """Split a pytree along the leading axis of its leaves."""
    count = leading_length(where, stacked, axis="batch")
    return [jax.tree.map(lambda leaf, i=index: leaf[i], stacked) for index in range(count)]


def leading_length(where: str, tree: PyTree, *, axis: str) -> int:
    """The common length of the leaves' leading axis; `axis` says in words what it counts."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    if not leaves:
        raise ValueError(f"`{where}` holds no arrays. Give a pytree of arrays with a leading {axis} axis.")
    first_path, first = leaves[0]
    for path, leaf in leaves:
        if leaf.ndim == 0:
            raise ValueError(
                f"`{where}` must have a leading {axis} axis, got a scalar at {path_of(path)}. "
                "Make lists of numbers into one array: np.asarray(...)."
            )
        if leaf.shape[0] != first.shape[0]:
            raise ValueError(
                f"`{where}` must have one leading {axis} axis for all leaves, got {first.shape[0]} at "
                f"{path_of(first_path)} and {leaf.shape[0]} at {path_of(path)}. Make them equally long."
            )
    return int(first.shape[0])


def check_prefix(sample_batches: Callable[[Key, int], Batch], key: Key, batches: Batch, num_steps: int) -> None:
    """Raise unless asking for fewer steps gives the first of the same batches."""
    if num_steps < 2:
        return
    fewer = num_steps // 2
    prefix = to_arrays("sample_batches(...)", sample_batches(key, fewer))
    same = jax.tree.structure(prefix) == jax.tree.structure(batches) and all(
        np.array_equal(np.asarray(one), np.asarray(many)[:fewer], equal_nan=jnp.issubdtype(one.dtype, jnp.floating))
        for one, many in zip(jax.tree.leaves(prefix), jax.tree.leaves(batches), strict=True)
    )
    if not same:
        raise ValueError(
            f"`sample_batches(key, num_steps)` must be prefix-consistent: sample_batches(key, {fewer}) is not the "
            f"first {fewer} steps of sample_batches(key, {num_steps}). Draw the batch of step t from "
            "jax.random.fold_in(key, t), or use Task.from_arrays."
        )


def as_list(where: str, batches: Iterable[Batch]) -> list[Batch]:
    """Every batch of an iterable, refusing a pytree of arrays given by mistake."""
    if isinstance(batches, dict) or attribute(batches, "shape") is not None:
        raise TypeError(
            f"`{where}` must be an iterable of batches, got {type(batches).__name__} (one batch?). "
            "Put a single batch into a list, or use Task.from_arrays for whole arrays."
        )
    try:
        return list(cast(Iterable[Batch], batches))
    except TypeError:
        raise TypeError(
            f"`{where}` must be an iterable of batches, got {show(batches)} ({type(batches).__name__})."
        ) from None


def check_batches_finite(batches: Batch, first_step: int = 0) -> None:
    """Raise where a floating leaf of batches with a leading step axis, from `first_step` on, is not finite."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(batches):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            continue
        finite = np.isfinite(np.asarray(leaf, np.float32)).reshape(leaf.shape[0], -1).all(axis=1)
        if not finite.all():
            raise not_finite(path, first_step + int(np.flatnonzero(~finite)[0]))


def not_finite(path: tuple, step: int) -> ValueError:
    """What to raise where the batch of a step holds nan or inf."""
    return ValueError(
        f"Training batches must be finite, got nan or inf in step {step} at {path_of(path)}. "
        "Clean the data: every learning rate would diverge there."
    )


def examples_not_finite(arrays: PyTree) -> list[tuple[tuple, Bool[np.ndarray, " examples"]]]:
    """The floating leaves that hold nan or inf: path, and in which examples."""
    found = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(arrays):
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            host = np.asarray(leaf)
            parts = np.array_split(host, max(1, host.nbytes // 2**24))  # what NumPy makes of them stays small
            bad = [
                ~np.isfinite(part.astype(np.float32, copy=False)).reshape(len(part), -1).all(axis=1) for part in parts
            ]
            if np.any(bad := np.concatenate(bad)):
                found.append((path, bad))
    return found

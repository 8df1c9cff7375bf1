"""Loaders of other libraries as batches, where plain iteration is not enough.

`lrjax.Task.from_batches` iterates over torch's DataLoader, tf.data, Grain and generators as they are. `epochs` is for
the rest: columns of dicts, Hugging Face datasets (whose iteration gives single rows), tensors that NumPy cannot read.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from .. import _checks
from .._types import Array, Batch

_WHERE = "data.epochs"


def epochs(
    loader: Any,
    *,
    columns: Sequence[str] | None = None,
    batch_size: int | None = None,
    shuffle: bool = True,
) -> Callable[[int], Iterator[Batch]]:
    """A loader as a function of the epoch, for `Task.from_batches(train_batches=...)` and the like.

    `list(epochs(loader, ...)(0))` is a list for `eval_batches`. Batches of one shape are up to the loader: training
    refuses a smaller last one and says so (`drop_last=True`, `drop_remainder=True`); of a Hugging Face dataset it is
    left out here.

    Args:
      loader: any iterable of batches that can be read again: torch's DataLoader (also with tensors on a GPU, in
        bfloat16 or with gradients), tf.data, Grain; or a Hugging Face dataset.
      columns: names of the parts of batches that are dicts: the batch becomes a tuple of them, in this order. None:
        batches stay as they are, but a list becomes a tuple.
      batch_size: examples in a batch, for a Hugging Face dataset; None for all others.
      shuffle: of a Hugging Face dataset, whether every epoch has its own order.

    Returns:
      A function of the epoch that returns an iterator of batches of NumPy arrays. A sampler with `set_epoch` is told.

    Raises:
      TypeError: a `loader` that is no iterable or can be read only once, a missing or needless `batch_size`.
      ValueError: a batch without one of the columns.

    Examples:
      >>> import numpy as np
      >>> from lrjax.integrations.data import epochs
      >>> loader = [{"image": np.ones((4, 2)), "label": np.zeros(4), "name": "a"}]
      >>> image, label = next(epochs(loader, columns=("image", "label"))(0))
      >>> image.shape
      (4, 2)
    """
    own = [_checks.attribute(loader, name) for name in ("with_format", "iter")]
    rows = None not in own and not isinstance(loader, type)
    if rows:
        if batch_size is None:
            raise TypeError(f"`{_WHERE}(batch_size=...)` is needed for a Hugging Face dataset, whose items are rows.")
        size = _checks.check_count(f"{_WHERE}(batch_size=...)", batch_size, unit="examples")
    elif batch_size is not None:
        raise TypeError(
            f"`{_WHERE}(batch_size=...)` must be None for {type(loader).__name__}, which makes batches itself. "
            "Set the size there."
        )
    elif not _can_be_read_again(loader):
        raise TypeError(
            f"`{_WHERE}(loader=...)` must be an iterable that can be read again, got {_checks.show(loader)} "
            f"({type(loader).__name__}). Give the loader itself, not an iterator of it."
        )
    shuffle = _checks.check_flag(f"{_WHERE}(shuffle=...)", shuffle)
    if columns is not None and not (
        isinstance(columns, (list, tuple)) and all(isinstance(name, str) for name in columns)
    ):
        advice = f" Write ({_checks.show(columns)},)." if isinstance(columns, str) else ""
        raise TypeError(
            f"`{_WHERE}(columns=...)` must be a sequence of names, got {_checks.show_with_type(columns)}.{advice}"
        )

    def epoch_batches(epoch: int) -> Iterator[Batch]:
        batches: Iterable[Any] = _rows(loader, size, epoch if shuffle else None) if rows else _told(loader, epoch)
        for batch in batches:
            if columns is not None:
                batch = _pick(batch, columns)
            elif isinstance(batch, list):
                batch = tuple(batch)  # as torch's loader gives them; (x, y) for evaluation must be of one structure
            yield jax.tree.map(_to_numpy, batch)

    return epoch_batches


def _can_be_read_again(loader: Any) -> bool:
    try:
        return iter(loader) is not loader
    except Exception:  # an object's own __iter__ may raise anything
        return False


def _rows(dataset: Any, batch_size: int, seed: int | None) -> Iterable[Any]:
    ordered = dataset if seed is None else dataset.shuffle(seed=seed)
    return ordered.with_format("numpy").iter(batch_size, drop_last_batch=True)


def _told(loader: Any, epoch: int) -> Iterable[Any]:
    for owner in (loader, getattr(loader, "sampler", None)):
        tell = getattr(owner, "set_epoch", None)
        if tell is not None:
            tell(epoch)
    return loader


def _pick(batch: Any, columns: Sequence[str]) -> tuple[Any, ...]:
    missing = [name for name in columns if name not in batch] if hasattr(batch, "keys") else list(columns)
    if missing:
        there = list(batch) if hasattr(batch, "keys") else type(batch).__name__
        raise ValueError(f"`{_WHERE}(columns=...)` names {missing[0]!r}, but a batch has {there}.")
    return tuple(batch[name] for name in columns)


def _to_numpy(leaf: Any) -> np.ndarray | Array:
    """An array of any tensor; torch's bfloat16, which NumPy lacks, goes through DLPack."""
    if hasattr(leaf, "detach"):
        leaf = leaf.detach().cpu().contiguous()
        if "bfloat16" in str(leaf.dtype):
            return np.asarray(jax.dlpack.from_dlpack(leaf))
    return np.asarray(leaf)

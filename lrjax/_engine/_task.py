"""What is trained: the one description of a problem that every part of lrjax takes."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import jax

from .._checks import check_count, check_flag, check_key, check_loss, check_signature, name_of, show
from .._repr import line_repr
from .._types import Batch, Key, Params, PyTree
from ._data import as_list, check_arrays, leading_length, on_device
from ._streams import BatchStream, EpochSampler

_STATELESS = {
    "loss_fn": "loss_fn(params, batch, key) -> loss",
    "sample_batches": "sample_batches(key, num_steps) -> batches",
    "eval_fn": 'eval_fn(params, batch) -> {"loss": ...}',
    "eval_params": "eval_params(opt_state, params) -> params",
    "eval_weight": "eval_weight(batch) -> weight",
    "batches_between": "batches_between(key, start, stop) -> batches",
    "init": "init(key) -> params",
}
_STATEFUL = _STATELESS | {
    "init": "init(key) -> (params, model_state)",
    "loss_fn": "loss_fn(params, model_state, batch, key) -> (loss, model_state)",
    "eval_fn": 'eval_fn(params, model_state, batch) -> {"loss": ...}',
}
"""The signature of every function of a task."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """A training problem: parameters, loss, training batches and evaluation batches.

    Attributes:
      init: `init(key) -> params`, or the parameters themselves (then all seeds start from them). Any pytree of
        arrays; what is not floating (integer tables, PRNG keys) passes through training untouched.
      loss_fn: `loss_fn(params, batch, key) -> scalar`. The key is for dropout and the like; it differs from step
        to step and from seed to seed, never from one learning rate to another. `Task.stateful` takes the form
        for models with a state (BatchNorm).
      sample_batches: `sample_batches(key, num_steps) -> batches`, a pytree with a leading step axis. Asking for
        more steps must give the same first ones. Called outside the training program.
      eval_batches: validation batches: a list of pytrees, the last of which may be smaller, or one pytree with a
        leading batch axis. 64 to 256 examples are enough; more costs time for every learning rate. Batches of one
        shape count equally in the means over them, others by their examples, the leading axis of all their leaves
        but scalars.
      eval_fn: `eval_fn(params, batch) -> {"loss": ..., "accuracy": ...}` or a scalar loss, the mean over the
        batch. None: `loss_fn` with one fixed key. A "weight" in the dict is no metric: it is how much the batch counts
        in the means, for example the sum of its mask.
      trainable: which parameters train: a pytree of bools like params, where one bool may stand for a whole part
        (`{"body": False, "head": True}`), or a function of params that returns one. None: every floating one.
      baseline_loss: the validation loss of the best constant predictor (ln C for C balanced classes), in the units
        of `loss_fn`; lets the finder see that a model has only learned the mean. None: unknown.
      eval_params: `eval_params(opt_state, params) -> params` for optimizers that evaluate other weights than
        they train. `optax.contrib.schedule_free` is recognised without it.
      eval_weight: `eval_weight(batch) -> weight`, how much an evaluation batch counts, >= 0: its valid examples or
        tokens, where neither the shapes (padding, time-major arrays) nor `eval_fn` say it. Called once for each batch.
        None: see `eval_batches`.
      batches_between: `batches_between(key, start, stop)`: random access to the stream of `sample_batches`.
      max_seeds: the most seeds the data allow, or None for no bound.

    Raises:
      TypeError: a function is not callable or takes other arguments; the message shows both signatures.

    Examples:
      >>> import jax, jax.numpy as jnp, lrjax
      >>> task = lrjax.Task(
      ...     init=lambda key: jnp.zeros(2),
      ...     loss_fn=lambda w, batch, key: jnp.mean((batch @ w - 1.0) ** 2),
      ...     sample_batches=lambda key, num_steps: jnp.ones((num_steps, 8, 2)),
      ...     eval_batches=[jnp.ones((8, 2))],
      ... )
      >>> task.has_state
      False
    """

    init: Callable[[Key], Any] | PyTree
    loss_fn: Callable[..., Any]
    sample_batches: Callable[[Key, int], Batch]
    eval_batches: PyTree
    eval_fn: Callable[..., Any] | None = None
    trainable: PyTree | Callable[[Params], PyTree] | None = None
    baseline_loss: float | None = None
    eval_params: Callable[[Any, Params], Params] | None = None
    eval_weight: Callable[[Batch], Any] | None = None
    batches_between: Callable[[Key, int, int], Batch] | None = None
    max_seeds: int | None = None
    has_state: bool = False
    # what `from_batches` reads; the data, so that a resumed run notices that they changed; the step of `step_task`
    _stream: BatchStream | None = dataclasses.field(default=None, repr=False)
    _arrays: PyTree = dataclasses.field(default=None, repr=False)
    _step_fn: Callable[[PyTree, Batch], tuple[PyTree, Any]] | None = dataclasses.field(default=None, repr=False)

    __repr__ = line_repr

    def __post_init__(self) -> None:
        where = "Task.stateful" if self.has_state else "Task"
        for name, wanted in (_STATEFUL if self.has_state else _STATELESS).items():
            function = getattr(self, name)
            given = callable(function) if name == "init" else function is not None
            if given or name in ("loss_fn", "sample_batches"):
                _check_signature(f"{where}({name}=...)", function, wanted)
        if self.eval_batches is None:
            raise TypeError(
                f"`{where}(eval_batches=...)` must be validation batches, got None: give a list of batches."
            )
        check_loss(f"{where}(baseline_loss=...)", self.baseline_loss)
        if self.max_seeds is not None:
            check_count(f"{where}(max_seeds=...)", self.max_seeds, unit="seeds, or None for no bound")

    @classmethod
    def stateful(
        cls,
        *,
        init: Callable[[Key], Any] | PyTree,
        loss_fn: Callable[..., Any],
        sample_batches: Callable[[Key, int], Batch],
        eval_batches: PyTree,
        **options: Any,
    ) -> "Task":
        """A task whose model has a state that training moves, such as BatchNorm's running statistics.

        Args:
          init: `init(key) -> (params, model_state)`, or that pair itself.
          loss_fn: `loss_fn(params, model_state, batch, key) -> (loss, model_state)`.
          sample_batches, eval_batches: as for `Task`.
          **options: the other fields of `Task`; `eval_fn(params, model_state, batch)` evaluates with the running
            statistics. Without it `loss_fn` is used and the state it returns is discarded.

        Returns:
          A `Task` with `has_state=True`.

        Raises:
          TypeError: as for `Task`.

        Examples:
          >>> import jax.numpy as jnp, lrjax
          >>> def loss_fn(w, running_mean, batch, key):
          ...     running_mean = 0.9 * running_mean + 0.1 * batch.mean(0)
          ...     return jnp.mean(((batch - batch.mean(0)) @ w - 1.0) ** 2), running_mean
          >>> task = lrjax.Task.stateful(
          ...     init=(jnp.zeros(2), jnp.zeros(2)),
          ...     loss_fn=loss_fn,
          ...     sample_batches=lambda key, num_steps: jnp.ones((num_steps, 8, 2)),
          ...     eval_batches=[jnp.ones((8, 2))],
          ...     eval_fn=lambda w, running_mean, batch: jnp.mean(((batch - running_mean) @ w - 1.0) ** 2),
          ... )
        """
        batches = {"sample_batches": sample_batches, "eval_batches": eval_batches}
        return cls(init=init, loss_fn=loss_fn, has_state=True, **batches, **options)

    @classmethod
    def from_arrays(
        cls,
        init: Callable[[Key], Any] | PyTree,
        loss_fn: Callable[..., Any],
        *,
        train: PyTree,
        validation: PyTree,
        batch_size: int,
        eval_batch_size: int | None = None,
        shuffle: bool = True,
        stateful: bool = False,
        **options: Any,
    ) -> "Task":
        """A task on arrays in memory, shuffled anew every epoch.

        Args:
          init, loss_fn: as for `Task` (`Task.stateful` with `stateful=True`).
          train: pytree of arrays, leading axis = examples; `(x, y)` gives batches `(x[rows], y[rows])`.
          validation: the same structure, other examples.
          batch_size: examples in a training batch; an incomplete last batch of an epoch is left out.
          eval_batch_size: examples in an evaluation batch, by default `batch_size`; the last may be smaller.
          shuffle: False gives the examples in their order.
          stateful: whether `loss_fn` has the form with `model_state`.
          **options: further fields of `Task` (`eval_fn`, `trainable`, ...).

        Returns:
          A `Task` with random access to its batches.

        Raises:
          ValueError: leaves of different lengths, no examples, or fewer examples than `batch_size`.

        Examples:
          >>> import numpy as np, jax.numpy as jnp, lrjax
          >>> x, y = np.ones((100, 3)), np.ones(100)
          >>> task = lrjax.Task.from_arrays(
          ...     lambda key: jnp.zeros(3),
          ...     lambda w, batch, key: jnp.mean((batch[0] @ w - batch[1]) ** 2),
          ...     train=(x[:80], y[:80]), validation=(x[80:], y[80:]), batch_size=16,
          ... )
          >>> task.sample_batches(jax.random.key(0), 5)[0].shape
          (5, 16, 3)
        """
        train = check_arrays("Task.from_arrays(train=...)", train)
        validation = check_arrays("Task.from_arrays(validation=...)", validation)
        num_train = leading_length("Task.from_arrays(train=...)", train, axis="example")
        num_validation = leading_length("Task.from_arrays(validation=...)", validation, axis="example")
        batch_size = check_count("Task.from_arrays(batch_size=...)", batch_size, unit="examples")
        if num_train < batch_size:
            raise ValueError(
                f"`Task.from_arrays(train=...)` must hold at least one batch of {batch_size} examples, got "
                f"{num_train}. Lower batch_size."
            )
        if num_validation == 0:
            raise ValueError("`Task.from_arrays(validation=...)` is empty. Hold back at least 64 examples.")
        size = batch_size if eval_batch_size is None else eval_batch_size
        size = check_count("Task.from_arrays(eval_batch_size=...)", size, unit="examples")
        shuffle = check_flag("Task.from_arrays(shuffle=...)", shuffle)
        sampler = EpochSampler(train, num_train, batch_size, shuffle=shuffle)
        parts = [slice(start, start + size) for start in range(0, num_validation, size)]
        return cls(
            init=init,
            loss_fn=loss_fn,
            sample_batches=sampler.first,
            batches_between=sampler.between,
            eval_batches=[jax.tree.map(lambda leaf, part=part: leaf[part], validation) for part in parts],
            has_state=check_flag("Task.from_arrays(stateful=...)", stateful),
            _arrays=train,
            **options,
        )

    @classmethod
    def from_batches(
        cls,
        init: Callable[[Key], Any] | PyTree,
        loss_fn: Callable[..., Any],
        *,
        train_batches: Iterable[Batch] | Callable[[int], Iterable[Batch]],
        eval_batches: Iterable[Batch],
        stateful: bool = False,
        **options: Any,
    ) -> "Task":
        """A task on batches from any iterable: a list, a generator, a torch, tf.data or Grain loader.

        In a search, seed s trains on the batches s * num_steps to (s + 1) * num_steps - 1, so it takes as many seeds
        (at most 3) as there are batches, unless told otherwise; batches are read once and kept. `lrjax.sweep` streams
        them instead, keeping none: there all seeds see the same ones.

        Args:
          init: function of a key, or the parameters (`(params, model_state)` with `stateful=True`).
          loss_fn: as for `Task`.
          train_batches: an iterable of pytrees of one shape, or a function of the epoch (0 first) that returns one
            and is called again when an epoch ends. Tensors of other libraries become JAX arrays.
          eval_batches: a finite iterable of pytrees; the last may be smaller. See `Task` for what each counts.
          stateful: whether `loss_fn` has the form with `model_state`.
          **options: further fields of `Task`.

        Returns:
          A `Task`.

        Raises:
          TypeError: not an iterable of batches.
          ValueError: later, when batches are read: too few, or of different shapes.

        Examples:
          >>> import jax.numpy as jnp, lrjax
          >>> batches = [jnp.full((8, 2), i) for i in range(40)]
          >>> task = lrjax.Task.from_batches(
          ...     jnp.zeros(2),
          ...     lambda w, batch, key: jnp.mean((batch @ w - 1.0) ** 2),
          ...     train_batches=batches, eval_batches=batches[:2],
          ... )
        """
        stream = BatchStream("Task.from_batches(train_batches=...)", train_batches)
        return cls(
            init=init,
            loss_fn=loss_fn,
            sample_batches=lambda key, num_steps: stream.between(0, num_steps),
            eval_batches=as_list("Task.from_batches(eval_batches=...)", eval_batches),
            has_state=check_flag("Task.from_batches(stateful=...)", stateful),
            _stream=stream,
            _arrays=train_batches if isinstance(train_batches, (list, tuple)) else None,
            **options,
        )

    def training_batches(self, seed: int, key: Key, start: int, stop: int) -> Batch:
        """Batches of steps start..stop-1 of one seed, with a leading step axis.

        Args:
          seed: index of the seed, 0 first; matters for `from_batches` only.
          key: the seed's data key.
          start: first step.
          stop: one past the last step.

        Returns:
          A pytree of JAX arrays with leading axis stop - start.

        Raises:
          ValueError: too few batches, a wrong leading axis, or `start` > 0 without `batches_between`.
        """
        seed = check_count("training_batches(seed)", seed, minimum=0, unit="a seed's index")
        start = check_count("training_batches(start)", start, minimum=0, unit="the first step")
        stop = check_count("training_batches(stop)", stop, minimum=start + 1, unit="one past the last step")
        key = check_key("training_batches(key)", key)
        return on_device(self._host_batches(seed, key, start, stop))

    def _host_batches(self, seed: int, key: Key, start: int, stop: int) -> Batch:
        """`training_batches`, but left on the host where they are made there."""
        if self._stream is not None:
            if start > 0:
                raise ValueError(
                    f"Batches from step {start} on need random access, and `Task.from_batches` reads an iterable once. "
                    "Use Task.from_arrays, or Task(batches_between=...)."
                )
            return self._stream.between(seed * stop, (seed + 1) * stop)
        between = self.batches_between if start > 0 else None
        where = "sample_batches(key, num_steps)" if between is None else "batches_between(key, start, stop)"
        batches = check_arrays(where, self.sample_batches(key, stop) if between is None else between(key, start, stop))
        if between is None and start > 0:
            batches = jax.tree.map(lambda leaf: leaf[start:], batches)
        length = leading_length(where, batches, axis="step")
        if length != stop - start:
            raise ValueError(
                f"`{where}` must have a leading step axis of length {stop - start}, got {length}. "
                "Stack one batch for each step: shape (num_steps, batch, ...)."
            )
        return batches

    def _seeds_available(self, num_steps: int, at_most: int) -> int:
        """How many seeds of `num_steps` steps the data allow, no more than `at_most`."""
        if self._stream is not None:
            at_most = self._stream.available(num_steps * at_most) // num_steps
        return at_most if self.max_seeds is None else min(at_most, self.max_seeds)


def check_task(where: str, task: object) -> None:
    """Raise unless `task` is a Task."""
    if not isinstance(task, Task):
        raise TypeError(
            f"`{where}` must be a lrjax.Task, got {show(task)} ({type(task).__name__}). Build one with "
            "lrjax.Task(...), Task.from_arrays(...) or Task.from_batches(...)."
        )


def _check_signature(where: str, function: object, wanted: str) -> None:
    """Raise unless `function` can be called with the positional arguments that `wanted` shows."""
    signature = check_signature(where, function, wanted)
    if signature is None:
        return
    hint, one_short = "", len(signature.parameters) == wanted.split(")")[0].count(",")
    if "model_state" in str(signature) and "model_state" not in wanted:
        hint = " A model with a state is described by `Task.stateful`."
    elif "model_state" in wanted and one_short:
        hint = " A model without a state is described by `Task`."
    elif wanted == _STATELESS["loss_fn"] and one_short:
        hint = " Add the argument `key`; ignore it if there is no randomness."
    raise TypeError(f"`{where}` must be `{wanted}`, got `{name_of(function)}{signature}`.{hint}")

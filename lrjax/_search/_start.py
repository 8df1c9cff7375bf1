"""Where a search begins, if not at the task's own parameters: a checkpoint of a training under way."""

import dataclasses

from .._repr import line_repr
from .._types import ModelState, Params, PyTree


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """A training under way, for `lrjax.find_lr(start=...)`.

    Attributes:
      params: the parameters, as `Task(init=...)` gives them.
      opt_state: of `make_optimizer`, for these parameters or for those of them that train. All of it is kept, except
        the learning rate itself where the state holds one (`optax.inject_hyperparams`, `lrjax.schedules.scheduled`):
        each copy has its own. That of an `nnx.Optimizer` is its `opt_state`, with params=nnx.state(model, nnx.Param).
      step: optimizer updates that the checkpoint has behind it.
      model_state: of a stateful task, as `Task.stateful(init=...)` gives it; None for others.
    """

    params: Params
    opt_state: PyTree
    step: int
    model_state: ModelState | None = None

    __repr__ = line_repr

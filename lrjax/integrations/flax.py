"""Flax, linen and nnx: a task from a model, and the found learning rate back into the training state."""

try:
    import flax as _flax  # noqa: F401
except ImportError as error:
    raise ImportError("`lrjax.integrations.flax` needs Flax. Install it: pip install 'lrjax[flax]'") from error

from ._linen import linen_task as linen_task
from ._linen import train_state_with_lr as train_state_with_lr
from ._nnx import nnx_task as nnx_task
from ._nnx import optimizer_with_lr as optimizer_with_lr

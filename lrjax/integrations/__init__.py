"""From the objects of other libraries to a `lrjax.Task` and back: one module for each, imported only where it is used."""

from ._step import find_lr_for_step as find_lr_for_step

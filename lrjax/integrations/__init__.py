"""From the objects of other libraries to a `lrjax.Task` and back: a module for each, imported where it is used."""

from ._step import find_lr_for_step as find_lr_for_step

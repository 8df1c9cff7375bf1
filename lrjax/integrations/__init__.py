"""From the objects of other libraries to a `lrjax.Task` and back: a module for each, imported where it is used."""

from ._function import function_task as function_task
from ._step import StepTask as StepTask
from ._step import step_task as step_task

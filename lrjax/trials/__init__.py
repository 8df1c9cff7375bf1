"""The trial engine: one trial as pure functions, lifted over lanes, devices and memory limits."""

from ._executors import Chunked as Chunked
from ._executors import Executor as Executor
from ._executors import Program as Program
from ._executors import check_executor as check_executor
from ._executors import compile_program as compile_program
from ._executors import evaluate_on_host as evaluate_on_host
from ._executors import follow_on_host as follow_on_host
from ._executors import lower_program as lower_program
from ._memory import MemoryModel as MemoryModel
from ._memory import show_bytes as show_bytes
from ._optimizer import check_factory as check_factory
from ._prepare import prepare as prepare
from ._rounds import Round as Round
from ._runner import Execution as Execution
from ._runner import TrialRunner as TrialRunner
from ._task import Task as Task
from ._task import check_task as check_task
from ._trial import EvalData as EvalData
from ._trial import SeedData as SeedData
from ._trial import TrialSpec as TrialSpec
from ._trial import TrialState as TrialState
from ._trial import evaluate as evaluate
from ._trial import init_trial as init_trial
from ._trial import train_steps as train_steps

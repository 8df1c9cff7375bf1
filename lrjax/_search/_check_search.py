"""The arguments of a search that its preview shares: which strategy, and what it may know."""

from .._checks import check_count, check_type, name_of, show
from .._engine import Task, check_factory, check_task, optimizer_timing
from .._types import OptimizerFactory
from ._budget import Budget
from ._start import Checkpoint
from ._step_sampling import StepSampling
from ._strategy import Context, Strategy


def check_search(
    task: Task, make_optimizer: OptimizerFactory, strategy: object, train_steps: int | None, start: object
) -> tuple[Strategy, Context]:
    """The strategy, and what it may know. Raises `TypeError` or `ValueError`: a bad argument."""
    check_task("find_lr(task=...)", task)
    check_factory("find_lr(make_optimizer=...)", make_optimizer)
    unit = "optimizer updates of the whole training"
    if train_steps is not None:
        train_steps = check_count("find_lr(train_steps=...)", train_steps, unit=unit)
    step = None
    if start is not None:
        check_type("find_lr(start=...)", start, Checkpoint, "a lrjax.Checkpoint(params=, opt_state=, step=)")
        assert isinstance(start, Checkpoint)
        step = _check_place(start.step, train_steps)
    if strategy is None:
        strategy = StepSampling() if train_steps is None else Budget() if start is None else StepSampling(num_seeds=1)
    if isinstance(strategy, type) or not isinstance(strategy, Strategy):
        raise TypeError(
            "`find_lr(strategy)` must be lrjax.StepSampling(...), lrjax.Budget(...) or an object with "
            f"propose(stages, context) and choose(stages, context), got {show(strategy)}."
        )
    memory = check_constant("find_lr", task, make_optimizer, may_change=start is not None)
    known = {"max_seeds": task.max_seeds, "baseline_loss": task.baseline_loss, "memory": memory}
    return strategy, Context(train_steps=train_steps, start=step, **known)


def check_constant(
    where: str, task: Task, make_optimizer: OptimizerFactory, *, may_change: bool = False
) -> float | None:
    """The optimizer's memory, if known; raises where the learning rate is known to change with the step."""
    timing = optimizer_timing(task, make_optimizer)
    if timing is not None and timing.scheduled and not may_change:
        subject = f"{where}(make_optimizer=...)", f"that of {name_of(make_optimizer)}"
        raise ValueError(_SCHEDULED.format(*(subject if task._step_fn is None else ("step_task(step=...)", "step"))))
    return None if timing is None else timing.memory


_SCHEDULED = (
    "`{}` must keep the learning rate constant, but {} changes it with the step: the "
    "lr that is found would be that of a schedule's first steps. Find a constant one, lambda lr: optax.adamw(lr, "
    "weight_decay=0.1), and let lrjax.peak_for(result, schedule, steps) say how high a schedule's peak is. "
    "lrjax.sweep trains schedules to their end."
)


def _check_place(step: object, train_steps: int | None) -> int:
    if train_steps is None:
        raise ValueError(
            "`find_lr(train_steps=...)` is needed with start=: the updates of the whole training, of which every "
            "learning rate is trained for 5 %."
        )
    done = check_count("Checkpoint(step=...)", step, minimum=0, unit="optimizer updates before the checkpoint")
    if done >= train_steps:
        raise ValueError(
            f"`Checkpoint(step=...)` must be below train_steps={train_steps}, got {done}: nothing is left to train. "
            "train_steps counts the updates of the whole training, not those that are left."
        )
    return done

"""Every public callable with good arguments, of which a fuzz replaces one or two, and what a result must fulfil.

Everything is tiny and shared, so that most calls end in the checks and the others find their programs compiled.
"""

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from doors import budgeted, resumed, sampled
from found import found
from tiny import BATCHES, KEY, ONES, ZEROS, X, Y, loss, stateful, task

import lrjax
import lrjax.demos
import lrjax.integrations.data
import lrjax.integrations.plain
import lrjax.plots
from lrjax import range_rules, schedules

TASK, STATEFUL = task(), stateful()
MANY = task(batches_between=lambda key, start, stop: jnp.ones((stop - start, 4, 2)))
FLAT = schedules.constant(0.1)
FOUND = found()


def anything(result: Any, arguments: Mapping[str, Any]) -> bool:
    """Nothing is known of the result but that it is shown in a line or a few."""
    return len(repr(result)) < 5_000


class Call(NamedTuple):
    """A callable, good arguments, and whether a result is right; `slow` where most accepted values train something."""

    function: Callable[..., Any]
    arguments: Mapping[str, Any]
    holds: Callable[[Any, Mapping[str, Any]], bool] = anything
    slow: bool = False

    def __call__(self, **changed: Any) -> bool:
        """Whether the result with these arguments is right."""
        arguments = {**self.arguments, **changed}
        spread = arguments.get("*", ())
        spread = spread if isinstance(spread, (list, tuple)) else (spread,)
        named = {name: value for name, value in arguments.items() if name != "*"}
        return bool(self.holds(self.function(*spread, **named), arguments))


# what results must fulfil


def a_schedule(result: Any, arguments: Mapping[str, Any]) -> bool:
    """Finite and not negative, but of a constant that is, in a float of the step's shape."""
    values = result(np.array([0, 1, 5]))
    lowest = -np.inf if "value" in arguments else 0
    known = bool((np.isfinite(values) & (values >= lowest)).all())
    return values.shape == (3,) and values.dtype in (np.float32, np.float64) and known


def a_momentum(result: Any, arguments: Mapping[str, Any]) -> bool:
    """From 0 to 1."""
    return a_schedule(result, arguments) and bool((np.asarray(result(np.arange(9))) <= 1).all())


def a_float(result: Any, arguments: Mapping[str, Any]) -> bool:
    """A number > 0 and finite."""
    return 0 < float(result) < math.inf


def within_range(result: Any, arguments: Mapping[str, Any]) -> bool:
    """The learning rate lies within the widest range that a search may try; its counts fit."""
    inside = math.isnan(result.lr) or 1e-12 <= result.lr <= max(1e3, float(arguments.get("max_lr", 1.0)))
    return anything(result, arguments) and inside and result.cost.updates >= 1 and bool(result.summary())


def a_curve(result: Any, arguments: Mapping[str, Any]) -> bool:
    """One loss for each learning rate, seed and horizon."""
    horizons = {int(n) for n in arguments["horizons"]} | {int(arguments["num_steps"])}
    return result.losses.shape == (len(horizons), result.initial_loss.size, np.size(arguments["lrs"]))


def a_sweep(result: Any, arguments: Mapping[str, Any]) -> bool:
    """As many seeds and updates as asked for."""
    counts = (result.num_seeds, result.train_steps) == (int(arguments["num_seeds"]), int(arguments["train_steps"]))
    return counts and anything(result, arguments)


def a_point(result: Any, arguments: Mapping[str, Any]) -> bool:
    """A suggestion inside the history."""
    return 0 <= result.index < np.size(arguments["lrs"]) and 0 < result.lr < math.inf


def of_its_metric(result: Any, arguments: Mapping[str, Any]) -> bool:
    """The loss is minimised, other metrics as asked for."""
    return (result.metric, result.mode) == (arguments["metric"], arguments["mode"] or "min")


def a_task(result: Any, arguments: Mapping[str, Any]) -> bool:
    """A task with a short repr."""
    return isinstance(result, lrjax.Task)


def axes(result: Any, arguments: Mapping[str, Any]) -> bool:
    """A picture that can be drawn."""
    result.figure.canvas.draw()
    return True


# good arguments

OPTIMIZER = {"make_optimizer": optax.sgd, "key": KEY}
RANGE = {"min_lr": 1e-3, "max_lr": 1.0}
QUICK = {"executor": "loop", "mesh": None}
SEARCH = {
    "task": TASK,
    **OPTIMIZER,
    "train_steps": None,
    "start": None,
    "metric": "loss",
    "mode": "min",
    **QUICK,
    "directory": None,
}
SEARCH |= {"strategy": lrjax.StepSampling(num_steps=2, num_seeds=1, refine=None, **RANGE)}
PREVIEWED = {name: value for name, value in SEARCH.items() if name != "directory"}
SWEEP = {"task": MANY, **OPTIMIZER, "grid": {"learning_rate": [0.1, 0.2]}, "train_steps": 2, "num_seeds": 1}
CHECKPOINT = {"params": ZEROS, "opt_state": optax.sgd(0.1).init(ZEROS), "step": 4, "model_state": None}
TOLD = {"progress": None, "throw": False}
HISTORY = {"lrs": np.geomspace(1e-4, 1, 30), "losses": np.r_[np.linspace(2, 1, 25), [1.2, 1.5, 2, 3, 4]]}
TESTED = lrjax.RangeTest(
    lrs=HISTORY["lrs"],
    losses=HISTORY["losses"],
    smoothed=HISTORY["losses"],
    metrics={"accuracy": np.linspace(0.1, 0.9, 30)},
    metric_steps=np.arange(30),
    smoothing=0.9,
    num_steps=30,
    mode="exponential",
    stopped=None,
)
SWEPT = lrjax.SweepResult(
    names=(("learning_rate",),),
    shape=(2,),
    columns={"learning_rate": np.array([0.1, 0.2])},
    steps=np.array([1, 2]),
    metrics={"loss": np.ones((2, 1, 2)), "accuracy": np.ones((2, 1, 2))},
    diverged_at=np.full((2, 1), -1),
    stopped_at=np.full((2, 1), -1),
    train_steps=2,
    execution=lrjax.Execution(requested="map", used="map"),
)
RUNG = FOUND.stages[0]
SCHEDULED = lrjax.schedules.scheduled(optax.sgd, learning_rate=FLAT)
PLATEAU = lrjax.schedules.reduce_on_plateau()
DURATIONS = schedules.Durations(batch_size=4, dataset_size=40, sequence_length=8, total_steps=100)
DATA = {"train": (X[:32], Y[:32]), "validation": (X[32:], Y[32:]), "batch_size": 4}
FUNCTIONS = {"init": ZEROS, "loss_fn": loss}


def pair_loss(w: Any, batch: Any, key: Any) -> Any:
    return loss(w, batch[0], key)


def plain_loss(w: Any, batch: Any) -> Any:
    return loss(w, batch[0], None)


def step(state: Any, batch: Any) -> Any:
    return state | {"w": state["w"] - state["lr"] * jax.grad(loss)(state["w"], batch, None)}


CALLS: dict[str, Call] = {
    # searches
    "find_lr": Call(lrjax.find_lr, {**SEARCH, **TOLD}, within_range, slow=True),
    "preview of find_lr": Call(
        functools.partial(lrjax.preview, lrjax.find_lr),
        {name: value for name, value in SEARCH.items() if name != "directory"},
        slow=True,
    ),
    "StepSampling": Call(
        functools.partial(sampled, TASK, **OPTIMIZER, executor="loop", throw=False),
        {"num_steps": 2, "num_seeds": 1, **RANGE, "rule": lrjax.midpoint, "refine": None, "horizons": ()}
        | {"extend_range": False, "literal": False, "threshold": 0.125},
        within_range,
        slow=True,
    ),
    "Budget": Call(
        functools.partial(budgeted, MANY, **OPTIMIZER, train_steps=20, executor="loop", throw=False),
        {"trainings": 0.05, "num_seeds": 1, **RANGE},
        within_range,
        slow=True,
    ),
    "Checkpoint": Call(
        functools.partial(resumed, TASK, **OPTIMIZER, train_steps=10, **RANGE, executor="loop", throw=False),
        CHECKPOINT,
        slow=True,
    ),
    "Request": Call(lrjax.Request, {"log10_lrs": [-3.0, -2.0], "num_steps": 2, "num_seeds": 1, "carry": False}),
    "sample_losses": Call(
        lrjax.sample_losses,
        {"task": TASK, **OPTIMIZER, "lrs": [0.1, 0.2], "num_steps": 2, "num_seeds": 1, "horizons": (), **QUICK},
        a_curve,
        slow=True,
    ),
    "range_test": Call(
        lrjax.range_test,
        {"task": TASK, **OPTIMIZER, **RANGE, "num_steps": 4, "mode": "linear"}
        | {"smoothing": 0.5, "stop_factor": None, "eval_every": None},
        slow=True,
    ),
    "sweep": Call(
        lrjax.sweep,
        {**SWEEP, "eval_every": 1, **QUICK, "directory": None, "progress": None, "stop": None}
        | {"checkpoint_seconds": 60.0},
        a_sweep,
        slow=True,
    ),
    "preview": Call(
        functools.partial(lrjax.preview, lrjax.sweep),
        {**SWEEP, "eval_every": 1, "executor": "map", "devices": 1, "device_bytes": 1e9, "update_seconds": 1e-3},
        slow=True,
    ),
    "integrations.function_task": Call(
        lrjax.integrations.function_task,
        {"train": lambda lr, key: (lr - 0.1) ** 2},
        a_task,
        slow=True,
    ),
    "integrations.step_task": Call(
        lrjax.integrations.step_task,
        {"step": step, "state": {"w": ZEROS, "lr": 0.0}, "batches": BATCHES}
        | {"evaluate": lambda state: loss(state["w"], ONES, None), "set_lr": lambda state, lr: state | {"lr": lr}},
        a_task,
        slow=True,
    ),
    # what searches are made of
    "Task": Call(
        lrjax.Task,
        {**FUNCTIONS, "sample_batches": TASK.sample_batches, "eval_batches": [ONES], "eval_fn": None}
        | {
            "trainable": None,
            "eval_weight": None,
            "baseline_loss": 1.0,
            "eval_params": None,
            "batches_between": None,
            "max_seeds": 2,
        },
        a_task,
    ),
    "Task.stateful": Call(
        lrjax.Task.stateful,
        {"init": (ZEROS, ZEROS), "loss_fn": STATEFUL.loss_fn, "sample_batches": TASK.sample_batches}
        | {"eval_batches": [ONES]},
        a_task,
    ),
    "Task.from_arrays": Call(
        lrjax.Task.from_arrays,
        {"init": ZEROS, "loss_fn": pair_loss, **DATA, "eval_batch_size": 8, "shuffle": True, "stateful": False},
        a_task,
    ),
    "Task.from_batches": Call(
        lrjax.Task.from_batches,
        {**FUNCTIONS, "train_batches": BATCHES, "eval_batches": BATCHES[:1], "stateful": False},
        a_task,
    ),
    "Task.training_batches": Call(TASK.training_batches, {"seed": 0, "key": KEY, "start": 0, "stop": 2}),
    "Chunked": Call(lrjax.Chunked, {"size": 2}),
    "StopDiverged.rungs": Call(lrjax.StopDiverged().rungs, {"train_steps": 100}),
    "SuccessiveHalving": Call(
        lrjax.SuccessiveHalving, {"first": 1, "factor": 2, "metric": "accuracy", "mode": "max"}, of_its_metric
    ),
    "SuccessiveHalving.rungs": Call(lrjax.SuccessiveHalving(first=1).rungs, {"train_steps": 100}),
    "zipped": Call(lrjax.zipped, {"learning_rate": [0.1, 0.2], "momentum": [0.1, 0.2]}),
    "find_window": Call(
        lrjax.find_window,
        {"curve": FOUND.curve, "literal": False},
        lambda result, arguments: result.outcome is lrjax.Outcome.found,
    ),
    "find_warnings": Call(
        lrjax.find_warnings,
        {"curve": FOUND.curve, "window": FOUND.window, "baseline_loss": None}
        | {"untouched_loss": None, "stochastic": False, "longest": 100},
    ),
    "crossing": Call(lrjax.crossing, {"window": FOUND.window, "level": 0.5}),
    "lowest_for": Call(lrjax.lowest_for, {"train_steps": 100}),
    **{
        name: Call(getattr(lrjax, name), {"curve": FOUND.curve, "window": FOUND.window}, a_float)
        for name in ("half_loss", "lowest_loss", "midpoint", "steepest")
    },
    # results
    "LossCurve.at": Call(FOUND.curve.at, {"horizon": 0}),
    "LossCurve.seed": Call(FOUND.curve.seed, {"index": 0}),
    "LossCurve.merge": Call(FOUND.curve.merge, {"other": FOUND.curve}),
    "RangeTest.bounds": Call(
        TESTED.bounds, {"metric": "accuracy", "mode": "max", "start": 0.1, "stop": 0.9, "setback": 0.1, "window": 5}
    ),
    "RangeTest.suggest": Call(TESTED.suggest, {"rule": range_rules.steepest_log}),
    "Stage.progress": Call(RUNG.progress, {"baseline_loss": 1.0}),
    "Stage.seed": Call(RUNG.seed, {"index": 0}),
    "SweepResult.best": Call(SWEPT.best, {"metric": "accuracy", "mode": "max", "at": "last"}),
    "SweepResult.final": Call(SWEPT.final, {"metric": "loss"}),
    "SweepResult.settings": Call(SWEPT.settings, {"trial": 0}),
    "SweepResult.to_parquet": Call(SWEPT.to_parquet, {"path": "a.parquet"}),
    "SweepResult.plot": Call(SWEPT.plot, {"kind": "curves", "metric": "loss", "mode": "min", "ax": None}, axes),
    **{f"{type(result).__name__}.plot": Call(result.plot, {"ax": None}, axes) for result in (FOUND, TESTED)},
    **{
        f"{type(result).__name__}.to_json": Call(result.to_json, {"path": "a.json"})
        for result in (FOUND, TESTED, SWEPT)
    },
    **{
        f"{type(result).__name__}.from_json": Call(type(result).from_json, {"path": "a.json"})
        for result in (FOUND, TESTED, SWEPT)
    },
    "plots.plot_curvature": Call(lrjax.plots.plot_curvature, {"result": FOUND, "ax": None}, axes),
    "plots.plot_lr": Call(lrjax.plots.plot_lr, {"result": FOUND, "ax": None}, axes),
    "plots.plot_range_test": Call(lrjax.plots.plot_range_test, {"test": TESTED, "ax": None}, axes),
    "plots.plot_schedules": Call(
        lrjax.plots.plot_schedules,
        {"schedules": FLAT, "total_steps": 10, "momentum": None, "log": False, "ax": None},
        axes,
    ),
    "plots.plot_sweep": Call(
        lrjax.plots.plot_sweep, {"result": SWEPT, "kind": "curves", "metric": "loss", "mode": "min", "ax": None}, axes
    ),
    # from a learning rate to a schedule
    "peak_for": Call(lrjax.peak_for, {"result_or_lr": FOUND, "schedule": FLAT, "train_steps": 100}, a_float),
    "recommend": Call(lrjax.recommend, {"result_or_lr": FOUND, "train_steps": 100}),
    "schedules.scheduled": Call(
        lrjax.schedules.scheduled, {"make_optimizer": optax.sgd, "learning_rate": FLAT, "momentum": 0.9}
    ),
    "schedules.scheduled().init": Call(SCHEDULED.init, {"params": ZEROS}),
    "schedules.at_step": Call(lrjax.schedules.at_step, {"opt_state": SCHEDULED.init(ZEROS), "step": 5}),
    "schedules.check_resume": Call(
        schedules.check_resume, {"before": SCHEDULED.init(ZEROS), "after": SCHEDULED.init(ZEROS), "step": 0}
    ),
    "schedules.current_hyperparams": Call(
        lrjax.schedules.current_hyperparams, {"opt_state": SCHEDULED.init(ZEROS), "schedule": FLAT}
    ),
    "schedules.reduce_on_plateau": Call(
        lrjax.schedules.reduce_on_plateau,
        {"factor": 0.5, "patience": 1, "mode": "min", "threshold": 1e-4, "threshold_mode": "rel", "cooldown": 0}
        | {"min_lr": 1e-3, "base_lr": 0.1, "accumulation_size": 1, "convention": "torch"},
    ),
    "schedules.reduce_on_plateau().update": Call(
        functools.partial(PLATEAU.update, ZEROS), {"state": PLATEAU.init(ZEROS), "params": ZEROS, "value": 1.0}
    ),
    # integrations and demos
    "integrations.plain.loss_task": Call(
        lrjax.integrations.plain.loss_task, {"params": ZEROS, "loss_fn": plain_loss, **DATA}, a_task
    ),
    "integrations.plain.pair_task": Call(
        lrjax.integrations.plain.pair_task,
        {"pair": (lambda rng, x: jnp.zeros(2), lambda params, x: x @ params), "params": None}
        | {"loss": lambda out, batch: jnp.mean((out - batch[1]) ** 2), "inputs": lambda batch: batch[0]}
        | {"train_arguments": {}, "eval_arguments": {}, **DATA},
        a_task,
    ),
    "integrations.data.epochs": Call(
        lrjax.integrations.data.epochs, {"loader": BATCHES, "columns": None, "batch_size": None, "shuffle": True}
    ),
    "demos.digits": Call(lrjax.demos.digits, {"hidden": 2, "batch_size": 64}, a_task),
}

RESULTS = (
    "Execution",
    "LRResult",
    "LRResult.in_terms",
    "LRWarning",
    "LossCurve",
    "Preview",
    "RangeTest",
    "Recommendation",
    "Progress",
    "Stage",
    "Strategy",
    "SweepResult",
    "Window",
    "range_rules.SmithBounds",
    "range_rules.Suggestion",
    "range_rules.Trimmed",
    "schedules.PlateauState",
    "schedules.ScheduledState",
    "schedules.Description",
    "schedules.Phase",
    "schedules.Problem",
    *(
        f"integrations.StepTask{name}"
        for name in ("", ".from_arrays", ".from_batches", ".stateful", ".training_batches")
    ),
)
"""Classes whose objects the package makes, not its users."""

OF_THE_ENGINE = (
    "SuccessiveHalving.keep",
    *(f"{one}.{method}" for one in ("Budget", "StepSampling", "Strategy") for method in ("choose", "propose")),
)
"""What a sweep or a search calls with its own values."""

STEPS = {"decay_steps": 10, "transition_steps": 10, "total_steps": 20, "transition_begin": 0, "warmup_steps": 2}
"""Arguments of schedules that mean the same everywhere."""

NUMBERS = {"init_value": 0.5, "peak_value": 0.5, "end_value": 0.1, "decay_rate": 0.5, "power": 2.0}

SCHEDULES: dict[str, Mapping[str, Any]] = {
    "clip": {"schedule": FLAT, "min_value": 0.0, "max_value": 1.0},
    "constant": {"value": 0.1},
    "cooldown_from": {"schedule": FLAT, "begin_step": 5, "decay_steps": 5, "end_value": 0.0, "cooldown": "sqrt"},
    "cosine_decay": {"exponent": 1.0},
    "cosine_restarts": {"first_cycle_steps": 5, "cycle_mult": 2, "peak_decay": 0.5, "convention": "optax"},
    "cyclic_exponential_decay": {"cycle_steps": 5, "floor_fraction": 0.1},
    "exp_range": {"base_value": 0.1, "up_steps": 5, "gamma": 0.9, "down_steps": 5},
    "exponential_decay": {"staircase": False},
    "extend": {"schedule": schedules.warmup_stable_decay(1.0, warmup_steps=1, stable_steps=1, decay_steps=1)}
    | {"more_steps": 5},
    "inverse_sqrt_decay": {"timescale": 10},
    "inverse_time_decay": {"staircase": False},
    "join": {"schedules": [FLAT, FLAT], "boundaries": [5], "clock": "local"},
    "k_decay": {"k": 2.0, "shape": "cosine", "power": 1.0},
    "linear_decay": {},
    "multiply": {"*": (FLAT, FLAT)},
    "add": {"*": (FLAT, FLAT)},
    "one_cycle": {"pct_start": 0.3, "div_factor": 25.0, "final_div_factor": 1e4, "shape": "cosine"}
    | {"three_phase": False, "convention": "optax"},
    "one_cycle_momentum": {"max_momentum": 0.95, "min_momentum": 0.85, "pct_start": 0.3, "shape": "cosine"}
    | {"three_phase": False, "convention": "optax"},
    "piecewise_constant": {"values": [0.1, 0.2], "boundaries": [5], "convention": "optax"},
    "piecewise_interpolate": {"values": [0.1, 0.2], "boundaries": [5], "kind": "linear"},
    "polynomial_decay": {"cycle": False},
    "power_decay": {"max_value": 0.1, "batch_size": 128, "tokens_per_step": 1000, "amplitude": 4.6, "exponent": -0.5},
    "range_test_ramp": {"min_lr": 1e-3, "max_lr": 1.0, "num_steps": 10, "mode": "linear"},
    "repeat": {"schedule": FLAT, "cycle_steps": 5, "times": 2},
    "shift": {"schedule": FLAT, "steps": 5, "earlier": False},
    "step_decay": {"factor": 0.5, "every": 5},
    "stretch": {"schedule": FLAT, "old_steps": 5, "new_steps": 10},
    "tanh_decay": {"lower": -7.0, "upper": 3.0},
    "triangular": {"base_value": 0.1, "up_steps": 5, "down_steps": 5},
    "triangular2": {"base_value": 0.1, "up_steps": 5, "down_steps": 5},
    "triangular_momentum": {"up_steps": 5, "max_momentum": 0.9, "min_momentum": 0.8, "down_steps": 5},
    "warmup": {"schedule": FLAT, "init_value": 0.0, "shape": "linear", "skip_zero": False},
    "warmup_cosine": {"convention": "optax", "init_value": 0.0},
    "warmup_stable_decay": {"stable_steps": 5, "cooldown": "sqrt", "convention": "optax"},
}


def _schedule(name: str, given: Mapping[str, Any]) -> Call:
    function = getattr(schedules, name)
    common = {key: value for key, value in (STEPS | NUMBERS).items() if key in inspect.signature(function).parameters}
    return Call(function, {**common, **given}, a_momentum if "momentum" in name else a_schedule)


CALLS |= {f"schedules.{name}": _schedule(name, given) for name, given in SCHEDULES.items()}
CALLS |= {
    "schedule()": Call(lambda step: schedules.cosine_decay(0.5, 10)(step), {"step": 3}),
    "schedules.stack": Call(schedules.stack, {"schedules": [FLAT, schedules.constant(0.2)]}),
    "schedules.describe": Call(schedules.describe, {"schedule": FLAT, "total_steps": 10}),
    "schedules.validate": Call(schedules.validate, {"schedule": FLAT, "total_steps": 10}),
    "schedules.to_spec": Call(schedules.to_spec, {"schedule": FLAT}),
    "schedules.from_spec": Call(schedules.from_spec, {"spec": {"name": "constant", "value": 0.1}}, a_schedule),
    "schedules.Durations": Call(
        schedules.Durations,
        {"batch_size": 4, "dataset_size": 40, "sequence_length": 8, "accumulation_steps": 1, "total_steps": 100}
        | {"drop_last": True},
    ),
    "schedules.Durations.steps": Call(DURATIONS.steps, {"duration": "3 epochs"}),
}

RULES = {
    "curve_shape": {},
    "debiased_ema": {"beta": 0.9},
    "fastai_minimum": {"num_steps": 30},
    "fastai_slide": {"lr_diff": 5, "threshold": 0.005, "adjust": 1.0, "num_steps": 30},
    "fastai_steep": {"num_steps": 30},
    "fastai_trim": {"num_steps": 30},
    "fastai_valley": {"num_steps": 30},
    "ignite": {},
    "lightning": {"skip_begin": 1, "skip_end": 1},
    "lightning_index": {"skip_begin": 1, "skip_end": 1},
    "steepest_log": {"sigma_decades": 0.3, "skip_begin": 0},
    "symmetric_smooth": {"sigma_decades": 0.3},
    "torch_lr_finder": {"skip_start": 1, "skip_end": 1},
}


def _rule(name: str, options: Mapping[str, Any]) -> Call:
    recorded = HISTORY if name not in ("curve_shape", "debiased_ema") else {"losses": HISTORY["losses"]}
    returns = a_point if name not in ("curve_shape", "debiased_ema", "symmetric_smooth", "fastai_trim") else anything
    return Call(getattr(range_rules, name), {**recorded, **options}, returns)


CALLS |= {f"range_rules.{name}": _rule(name, options) for name, options in RULES.items()}
CALLS["range_rules.smith_bounds"] = Call(
    range_rules.smith_bounds,
    {"lrs": HISTORY["lrs"], "values": HISTORY["losses"], "mode": "min"}
    | {"start": 0.1, "stop": 0.9, "setback": 0.1, "window": 5},
    lambda result, arguments: 0 < result.base_lr < result.max_lr,
)

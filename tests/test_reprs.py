"""Every public value is a line when it is printed, whatever arrays it holds."""

import dataclasses
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from found import stage
from problems import curve_from

import lrjax
from lrjax import Task

MANY = 3000
CURVE = curve_from(np.linspace(-9, 3, MANY), np.ones((2, MANY)) - 0.5 * (np.arange(MANY) == 2000))
ROWS = np.arange(MANY)


def nothing(*_):
    return jnp.zeros(())


def task(**fields):
    params = {f"layer_{i}": {"kernel": np.ones((50, 50)), "bias": np.ones(50)} for i in range(40)}
    good = {"init": params, "loss_fn": nothing, "sample_batches": nothing, "eval_batches": [np.ones((64, 64))] * 200}
    return Task(**good | fields)


VALUES = {
    "task": task(),
    "stacked batches": task(eval_batches={"x": np.ones((200, 64, 64))}, trainable={"a": [True] * 500}),
    "functions": task(init=lambda key: jnp.zeros(3), eval_fn=nothing, eval_weight=len),
    "from_arrays": Task.from_arrays(
        np.ones(MANY), nothing, train=np.ones((MANY, 3)), validation=np.ones((MANY, 3)), batch_size=2
    ),
    "from_batches": Task.from_batches(
        np.ones(MANY), nothing, train_batches=[np.ones(MANY)] * 9, eval_batches=[np.ones(MANY)] * 9
    ),
    "curve": CURVE,
    "window": lrjax.find_window(CURVE),
    "range test": lrjax.RangeTest(
        lrs=ROWS + 1.0,
        losses=ROWS + 1.0,
        smoothed=ROWS + 1.0,
        metrics={f"metric_{i}": ROWS * 1.0 for i in range(20)},
        metric_steps=ROWS,
        smoothing=0.98,
        num_steps=MANY,
        mode="linear",
        stopped=None,
    ),
    "stage": stage(curve_from(np.linspace(-4, 0, MANY), np.ones((4, MANY)))),
    "progress of a sweep": lrjax.Progress(
        stage="training", rows=({f"name_{i}": 0.1 for i in range(90)},) * MANY, metrics=("loss",) * MANY
    ),
    "zipped": lrjax.zipped(learning_rate=np.linspace(1, 2, MANY), weight_decay=np.linspace(1, 2, MANY)),
    "description": lrjax.schedules.describe(lrjax.schedules.one_cycle(peak_value=0.1, total_steps=MANY), MANY),
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES.keys())
def test_a_value_is_a_line(value):
    words = repr(value)
    assert words.startswith(type(value).__name__) or words.startswith("zipped")
    assert "\n" not in words
    assert len(words) < 600, words


def test_a_line_has_numbers_shapes_and_names():
    words = repr(task(baseline_loss=np.log(10), eval_fn=nothing))
    assert "eval_batches=[float64[64,64], float64[64,64], float64[64,64], ... 200 in all]" in words
    assert "eval_fn=nothing" in words
    assert "baseline_loss=2.30259" in words
    assert "trainable" not in words
    assert repr(CURVE).startswith("LossCurve(lrs=float32[3000], losses=float32[1,2,3000], initial_loss=float32[2]")
    assert "min_lr=0.1" in repr(VALUES["window"]._replace(min_lr=jnp.float32(0.1)))


def test_a_line_is_there_inside_a_program_too():
    words = []
    jax.jit(lambda curve: words.append(repr(lrjax.find_window(curve))))(CURVE)
    assert "min_lr=float32[]" in words[0]


def test_no_public_class_prints_its_arrays():
    for name, kind in [*vars(lrjax.schedules).items(), *((name, getattr(lrjax, name)) for name in dir(lrjax))]:
        if not inspect.isclass(kind) or not (dataclasses.is_dataclass(kind) or hasattr(kind, "_fields")):
            continue
        holds = any(
            word in str(hint) for hint in kind.__annotations__.values() for word in ("ndarray", "jaxlib", "PyTree")
        )
        automatic = inspect.unwrap(kind.__repr__).__code__.co_filename == "<string>"
        made = automatic or kind.__repr__.__module__ == "collections"
        assert not (holds and made) or name in STATES, name


STATES = ("PlateauState", "ScheduledState")
"""States of optimizers, which print as all of Optax's do."""

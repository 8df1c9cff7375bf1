"""What the means over evaluation batches are: those over examples, or over what a weight counts.

The training has a closed form, w = 1 - (1 - lr)**steps, and every example's loss is |x - w|.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from marks import slow
from tiny import check_message

import lrjax
from lrjax import Chunked

KEY = jax.random.key(0)
X = np.arange(10.0, dtype=np.float32)
LRS, STEPS = [0.1, 0.5], 4


def task(eval_batches: Any, values: Any, *, stateful: bool = False, batch_size: int = 1, **options: Any) -> lrjax.Task:
    """A task whose `values(batch, w)` are an evaluation batch's losses, and its metrics and weight where a dict."""

    def loss_fn(w, batch, key):
        return 0.5 * jnp.sum((w - batch[0]) ** 2)

    def as_dict(w, batch):
        made = values(batch, w)
        return made if isinstance(made, dict) else {"loss": jnp.mean(made), "square": jnp.mean(made**2)}

    return lrjax.Task(
        init=(jnp.zeros(()), jnp.zeros(())) if stateful else jnp.zeros(()),
        loss_fn=(lambda w, state, batch, key: (loss_fn(w, batch, key), state + 1)) if stateful else loss_fn,
        sample_batches=lambda key, num_steps: jnp.ones((num_steps, batch_size)),
        batches_between=lambda key, start, stop: jnp.ones((stop - start, batch_size)),
        eval_batches=eval_batches,
        eval_fn=(lambda w, state, batch: as_dict(w, batch)) if stateful else as_dict,
        has_state=stateful,
        **options,
    )


def expected(lr: Any, steps: Any = STEPS, power: int = 1) -> np.ndarray:
    """The mean over all ten examples after some steps."""
    w = 1 - (1 - np.asarray(lr, np.float64)) ** steps
    return np.mean(np.abs(X - w[..., None]) ** power, axis=-1)


def distance(batch, w):
    return jnp.abs(batch["x"] - w)


def masked(batch, w):
    """As one writes it for padded batches: the means over the valid ones, nan where there is none."""
    valid, losses = batch["mask"].sum(), jnp.abs(batch["x"] - w) * batch["mask"]
    return {"loss": losses.sum() / valid, "square": (losses**2).sum() / valid}


def masked_and_weight(batch, w):
    return masked(batch, w) | {"weight": batch["mask"].sum()}


def padded(*parts: tuple[int, int, int]) -> list[dict[str, np.ndarray]]:
    """Batches of the examples from the first number to the second, padded to the length that is the third."""
    batches = []
    for start, stop, length in parts:
        mask = np.arange(length) < stop - start
        batches.append({"mask": mask.astype(np.int32), "x": np.r_[X[start:stop], np.full(length - stop + start, 99)]})
    return batches


def split(at: int, **others: Any) -> list[dict[str, Any]]:
    """Two batches that differ in size, beside leaves that are the same in both."""
    return [{**others, "x": X[:at]}, {**others, "x": X[at:]}]


def time_major(at: int) -> list[dict[str, np.ndarray]]:
    """Arrays (steps, examples) of 3 equal steps."""
    return [{"x": np.tile(part, (3, 1))} for part in (X[:at], X[at:])]


SCALAR, TABLE = np.float32(3), np.ones(5, np.float32)
CASES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "a smaller last batch": (split(8), distance, {}),
    "a scalar that comes first": (split(8, n=SCALAR), distance, {}),
    "one batch and a table": ([{"table": TABLE, "x": X}], distance, {}),
    "equal shapes and a table": (split(5, table=TABLE), distance, {}),
    "a table, and a weight": (split(8, table=TABLE), distance, {"eval_weight": lambda batch: len(batch["x"])}),
    "a tuple": (
        [(TABLE, X[:8]), (TABLE, X[8:])],
        lambda batch, w: jnp.abs(batch[1] - w),
        {"eval_weight": lambda batch: batch[1].size},
    ),
    "time-major": (time_major(8), distance, {"eval_weight": lambda batch: batch["x"].shape[1]}),
    "padding": (padded((0, 8, 8), (8, 10, 8)), masked_and_weight, {}),
    "padding, stacked": (
        {"mask": np.arange(8) < [[8], [2]], "x": np.stack([X[:8], np.r_[X[8:], X[:6]]])},
        masked_and_weight,
        {},
    ),
    "padding to several lengths": (padded((0, 3, 3), (3, 8, 6), (8, 8, 4), (8, 10, 4)), masked_and_weight, {}),
    "padding, and a task's weight": (
        padded((0, 7, 8), (7, 7, 8), (7, 10, 8)),
        masked,
        {"eval_weight": lambda batch: batch["mask"].sum()},
    ),
    "several shapes": ([{"x": X[a:b]} for a, b in ((0, 3), (3, 4), (4, 7), (7, 8), (8, 10))], distance, {}),
}


@pytest.mark.parametrize(("eval_batches", "values", "options"), CASES.values(), ids=CASES.keys())
def test_means_are_those_over_all_examples(eval_batches, values, options):
    """In a curve (its reference too), for every metric of a sweep, and so in what is best."""
    problem = task(eval_batches, values, **options)
    sampling = {"key": KEY, "num_seeds": 1, "executor": "loop"}
    curve = lrjax.sample_losses(problem, optax.sgd, LRS, num_steps=STEPS, **sampling)
    np.testing.assert_allclose(curve.final[0], expected(LRS), rtol=1e-6)
    np.testing.assert_allclose(curve.initial_loss, 4.5, rtol=1e-6)
    result = lrjax.sweep(problem, optax.sgd, {"learning_rate": LRS}, eval_every=2, train_steps=STEPS, **sampling)
    assert set(result.metrics) == {"loss", "square", "train_loss"}
    for name, power in (("loss", 1), ("square", 2)):
        for place, steps in enumerate((2, 4)):
            np.testing.assert_allclose(result.metrics[name][:, 0, place], expected(LRS, steps, power), rtol=1e-6)
    assert result.best("square", mode="max").value == pytest.approx(expected(LRS, power=2).max(), rel=1e-6)


@pytest.mark.parametrize(
    ("executor", "stateful"),
    [("map", True), ("vmap", False), slow("map", False), slow("vmap", True), slow(Chunked(2), True)],
    ids=str,
)
def test_means_are_those_in_every_executor(executor, stateful):
    problem = task(CASES["padding to several lengths"][0], masked_and_weight, stateful=stateful)
    options = {"key": KEY, "num_seeds": 2, "executor": executor}
    curve = lrjax.sample_losses(problem, optax.sgd, LRS, num_steps=STEPS, **options)
    np.testing.assert_allclose(curve.final, np.tile(expected(LRS), (2, 1)), rtol=1e-6)
    result = lrjax.sweep(problem, optax.sgd, {"learning_rate": LRS}, train_steps=STEPS, **options)
    np.testing.assert_allclose(result.final("square"), np.tile(expected(LRS, power=2)[:, None], 2), rtol=1e-6)


def test_means_are_those_in_a_range_test():
    problem = task(CASES["padding to several lengths"][0], masked_and_weight)
    test = lrjax.range_test(problem, optax.sgd, key=KEY, num_steps=6, eval_every=3, min_lr=0.1, max_lr=0.5)
    w = 1 - np.cumprod(1 - test.lrs)[test.metric_steps]
    assert set(test.metrics) == {"loss", "square"}
    np.testing.assert_allclose(test.metrics["loss"], np.abs(X - w[:, None]).mean(axis=1), rtol=1e-6)


def test_means_are_those_in_a_search_with_a_budget():
    problem = task(CASES["padding to several lengths"][0], masked_and_weight)
    result = lrjax.find_lr(
        problem, optax.sgd, lrjax.Budget(trainings=1), key=KEY, train_steps=40, executor="map", throw=False
    )
    for rung in result.stages:
        sane = rung.log10_lrs < 0
        got = np.asarray(rung.losses)[:, sane]
        np.testing.assert_allclose(
            got, np.tile(expected(10 ** rung.log10_lrs[sane], rung.num_steps), (len(got), 1)), rtol=1e-5
        )


def test_without_eval_fn_the_loss_is_weighted_too():
    """Of the form that integrations make: the loss function is the library's."""
    batches = [(x["x"], x["mask"]) for x in padded((0, 8, 8), (8, 10, 8))]
    problem = lrjax.Task.from_batches(
        jnp.zeros(()),
        lambda w, batch, key: jnp.sum(jnp.abs(batch[0] - w) * batch[1]) / batch[1].sum(),
        train_batches=batches * 4,
        eval_batches=batches,
        eval_weight=lambda batch: batch[1].sum(),
    )
    curve = lrjax.sample_losses(problem, optax.sgd, [1e-6], key=KEY, num_steps=1, num_seeds=1, executor="loop")
    np.testing.assert_allclose(curve.initial_loss, 4.5, rtol=1e-6)


def test_a_weight_that_depends_on_the_parameters_is_that_of_each_evaluation():
    def near(batch, w):
        return {"loss": jnp.abs(batch["x"] - w).mean(), "weight": jnp.exp(-jnp.abs(batch["x"] - w)).sum()}

    result = lrjax.sweep(
        task(split(8), near), optax.sgd, {"learning_rate": LRS}, key=KEY, train_steps=STEPS, executor="map"
    )
    away = np.abs(X - (1 - (1 - np.asarray(LRS)) ** STEPS)[:, None])
    parts, weights = zip(
        *((part.mean(axis=1), np.exp(-part).sum(axis=1)) for part in (away[:, :8], away[:, 8:])), strict=True
    )
    np.testing.assert_allclose(result.final()[:, 0], np.average(parts, axis=0, weights=weights), rtol=1e-6)


def test_another_weight_is_another_call(tmp_path):
    options = {"key": KEY, "train_steps": 2, "executor": "loop", "directory": tmp_path}
    batches = padded((0, 7, 8), (7, 10, 8))

    def run(values, **weight):
        return lrjax.sweep(task(batches, values, **weight), optax.sgd, {"learning_rate": LRS}, **options)

    run(masked, eval_weight=lambda batch: batch["mask"].sum())
    check_message(
        lambda: run(masked), ValueError, ["holds another sweep", "how much each evaluation batch counts changed"]
    )
    check_message(lambda: run(masked_and_weight), ValueError, ["how much each evaluation batch counts changed"])


def weighing(values: Any = masked, parts: Any = ((0, 8, 8), (8, 10, 8)), **weight: Any) -> Any:
    problem = lambda: task(padded(*parts), values, **weight)  # noqa: E731
    return lambda: lrjax.sweep(problem(), optax.sgd, {"learning_rate": LRS}, key=KEY, train_steps=2)


def returning(weight: Any) -> Any:
    return lambda batch, w: {"loss": jnp.mean(batch["x"]), "weight": weight(batch)}


def shaped(*batches: Any) -> Any:
    return lambda: lrjax.sample_losses(
        task(list(batches), lambda batch, w: jnp.ones(2)), optax.sgd, LRS, key=KEY, num_steps=2
    )


def weight_at_times(batch, w):
    return {"loss": jnp.mean(batch["x"])} | ({"weight": 1.0} if len(batch["x"]) == 8 else {})


ASK, FIELD, RETURNED = "eval_weight=lambda batch: ...", "`Task(eval_weight=...)`", '`eval_fn(...)["weight"]`'
BAD: dict[str, tuple[Any, type[Exception], list[str]]] = {
    "a table": (shaped(*split(8, table=TABLE)), ValueError, ["float32[5]", "['table']", "float32[8]", ASK]),
    "a table in the second batch": (
        shaped({"a": np.ones(8), "x": X[:8]}, {"a": np.ones(8), "x": X[8:]}),
        ValueError,
        ["batch 1 has float64[8] at ['a'] and float32[2] at ['x']", ASK],
    ),
    "time-major": (shaped(*time_major(8)), ValueError, ["float32[3,8]", "float32[3,2]", "more than their first", ASK]),
    "several lengths": (shaped(np.ones((4, 6)), np.ones((2, 9))), ValueError, ["float64[4,6]", "float64[2,9]", ASK]),
    "several structures": (shaped({"x": X}, {"x": X, "y": X}), ValueError, ["batch 1, {['x']", ASK]),
    "a scalar and a vector": (shaped(np.float32(1), X), ValueError, ["batch 1", ASK]),
    "an empty leaf": (shaped({"x": X}, {"x": X[:0]}), ValueError, ["batch 1 is empty", "Remove it"]),
    "both": (weighing(masked_and_weight, eval_weight=len), ValueError, [FIELD, '"weight"', "Leave one out"]),
    "no function": (weighing(eval_weight=3), TypeError, [FIELD, "eval_weight(batch) -> weight", "got 3"]),
    "two arguments": (weighing(eval_weight=lambda w, batch: 1), TypeError, [FIELD, "eval_weight(batch) -> weight"]),
    "a vector": (weighing(eval_weight=lambda batch: batch["mask"]), ValueError, [FIELD, "int32[8]", "jnp.sum"]),
    "a word": (weighing(eval_weight=lambda batch: "8"), TypeError, [FIELD, "must return a number", "'8'"]),
    "nothing": (weighing(eval_weight=lambda batch: None), TypeError, [FIELD, "must return a number", "None"]),
    "negative": (weighing(eval_weight=lambda batch: -1), ValueError, [FIELD, ">= 0", "got -1 for evaluation batch 0"]),
    "nan": (weighing(eval_weight=lambda batch: np.nan), ValueError, [FIELD, "finite", "got nan"]),
    "all zero": (weighing(eval_weight=lambda batch: 0), ValueError, [FIELD, "got 0 for all 2", "mask inverted"]),
    "a returned vector": (weighing(returning(lambda b: b["mask"])), ValueError, [RETURNED, "int32[8]", "jnp.sum"]),
    "a returned word": (weighing(returning(lambda b: "8")), TypeError, [RETURNED, "got str"]),
    "returned and negative": (weighing(returning(lambda b: b["mask"].sum() - 5)), ValueError, [RETURNED, "got -3"]),
    "returned and infinite": (weighing(returning(lambda b: 1 / b["mask"].min())), ValueError, [RETURNED, "got inf"]),
    "returned and all zero": (weighing(returning(lambda b: 0)), ValueError, [RETURNED, "got 0 for all 2"]),
    "returned at times": (
        weighing(weight_at_times, ((0, 8, 8), (8, 10, 2))),
        ValueError,
        ['`eval_fn` must return a "weight" for every batch or for none', "got none for batch 1"],
    ),
    "returned at other times": (
        weighing(weight_at_times, ((8, 10, 2), (0, 8, 8))),
        ValueError,
        ["`eval_fn` must return the same names for every batch, got ['loss'] and ['loss', 'weight']"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("call", "error", "parts"), BAD.values(), ids=BAD.keys())
def test_what_a_batch_counts_is_asked_and_checked(call, error, parts):
    check_message(call, error, parts)

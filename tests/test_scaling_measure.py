"""`measure`: a task whose law is known is measured exactly, within the budget, resumed, and refused with a reason."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from inside import first_quarters, make_design, next_quarters
from tiny import KEY, check_message

import lrjax

BATCHES = [np.ones((4, 1), np.float32)] * 64
AXES = {"width": [4, 8, 16], "train_steps": [8, 16, 32]}
measure = functools.partial(lrjax.scaling.measure, key=KEY, executor="loop")


def make_task(width, *, power=0.5, limit=np.inf, batches=BATCHES):
    """After n updates of lr the loss is 2 + log10(lr n width^power)^2, and a number of each seed's own."""

    def eval_fn(params, batch):
        distance = jnp.log10(params["way"] * width**power)
        return {"loss": jnp.where(width > limit, jnp.inf, 2.0 + params["seed"] + distance**2)}

    def init(key):
        return {"way": jnp.zeros(()), "seed": 1e-3 * jax.random.normal(key), "rest": jnp.zeros(int(width))}

    return lrjax.Task.from_batches(
        init,
        lambda params, batch, key: -params["way"] * batch.mean(),
        train_batches=batches,
        eval_batches=BATCHES[:1],
        eval_fn=eval_fn,
        trainable={"way": True, "seed": False, "rest": False},
    )


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A law, its folder and the events of the call that made it."""
    folder, events = tmp_path_factory.mktemp("measured"), []
    return measure(make_task, optax.sgd, AXES, budget=300, directory=folder, progress=events.append), folder, events


# the measurement


def test_a_known_law_is_measured(measured):
    law, *_ = measured
    assert {axis: round(power.value, 3) for axis, power in law.exponents.items()} == {
        "width": -0.5,
        "train_steps": -1.0,
    }
    np.testing.assert_allclose(law.lr(width=32, train_steps=32).lr, 1 / (32 * 32**0.5), rtol=0.01)


def test_every_trial_is_in_the_table(measured):
    table = measured[0].table
    assert set(table) == {"width", "train_steps", "lr", "seed", "loss"}
    steps = np.log10(table["lr"]) * 4
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-5)
    expected = 2 + np.log10(table["lr"] * table["train_steps"] * table["width"] ** 0.5) ** 2
    np.testing.assert_allclose(table["loss"], expected, atol=5e-3)


def test_every_size_has_the_minimum_and_two_learning_rates_on_both_sides(measured):
    table = measured[0].table
    for sizes in {*zip(table["width"], table["train_steps"], strict=True)}:
        rows = (table["width"] == sizes[0]) & (table["train_steps"] == sizes[1]) & (table["seed"] == 0)
        order = np.argsort(table["lr"][rows])
        assert 2 <= np.argmin(table["loss"][rows][order]) <= rows.sum() - 3


def test_the_budget_and_the_preview_are_kept(measured):
    law, _, events = measured
    plan = lrjax.preview(lrjax.scaling.measure, make_task, optax.sgd, AXES, key=KEY, budget=300)
    assert [event.planned for event in events] == [plan.updates] * len(events)
    assert events[-1].updates <= plan.updates
    assert plan.trainings <= 300
    assert "width=16, train_steps=32" in plan.summary()
    assert {(16, 32), (4, 16)} <= {*zip(law.table["width"], law.table["train_steps"], strict=True)}


def test_without_a_budget_there_are_no_corners():
    plan = lrjax.preview(lrjax.scaling.measure, make_task, optax.sgd, AXES, key=KEY)
    assert "width=16, train_steps=16" in plan.summary()
    assert "width=16, train_steps=32" not in plan.summary()


def test_the_same_call_trains_nothing_again(measured):
    law, folder, events = measured
    again = []
    same = measure(make_task, optax.sgd, AXES, budget=300, directory=folder, progress=again.append)
    assert rows_of(same.table) == rows_of(law.table)
    assert any(event.rows for event in events)
    assert not any(event.rows for event in again)


def test_a_folder_that_cannot_be_used_is_that_of_measure(measured, tmp_path):
    folder = measured[1]
    call = functools.partial(measure, make_task, optax.sgd, AXES, num_seeds=3)
    check_message(
        lambda: call(directory=folder), ValueError, ["`measure(directory='", "num_seeds", "another directory"]
    )
    (tmp_path / "lrjax-measure").write_text("")
    check_message(
        lambda: call(directory=tmp_path), NotADirectoryError, ["`measure(directory='", "folder that can be written"]
    )


def test_a_length_read_on_the_way_is_that_of_a_training_by_itself():
    alone = lambda lr, train_steps: optax.sgd(lr)  # noqa: E731
    axes = {"width": [4, 8], "train_steps": [8, 16, 32]}
    shared, own = (rows_of(measure(make_task, make, axes).table) for make in (optax.sgd, alone))
    both = shared.keys() & own.keys()
    assert len(both) > 30
    assert all(shared[row] == own[row] for row in both)


def rows_of(table):
    names = ("width", "train_steps", "lr", "seed")
    return {row[:4]: row[4] for row in zip(*(table[name].tolist() for name in (*names, "loss")), strict=True)}


def test_an_axis_may_be_the_optimizers():
    make_optimizer = lambda lr, width: optax.sgd(lr / width)  # noqa: E731
    law = measure(make_task, make_optimizer, AXES)
    assert round(law.exponents["width"].value, 3) == 0.5


def test_it_is_interrupted_and_goes_on(tmp_path):
    def stop(event):
        if "width=16" in event.stage:
            raise KeyboardInterrupt

    call = functools.partial(measure, make_task, optax.sgd, AXES, directory=tmp_path)
    with pytest.raises(lrjax.SearchInterrupted, match="Run the same call again") as caught:
        call(progress=stop)
    assert set(caught.value.result["width"]) == {8}
    assert rows_of(call().table) == rows_of(measure(make_task, optax.sgd, AXES).table)


def test_a_size_that_diverges_is_left_out_and_named():
    axes = {"width": [4, 8, 16, 32], "train_steps": [8, 16, 32]}
    law = measure(functools.partial(make_task, limit=16), optax.sgd, axes)
    assert round(law.exponents["width"].value, 3) == -0.5
    assert "width=32" in law.summary().split("Not used")[1]
    assert np.isinf(law.table["loss"][law.table["width"] == 32]).all()


# the design


def test_the_base_is_in_the_middle_and_corners_come_as_the_budget_allows():
    axes = {"width": (1, 2, 4), "batch": (1, 2, 4)}
    design = functools.partial(make_design, axes, 10, shared=True, update_cost=lambda sizes: sizes[0], num_seeds=1)
    lines = [(2, 2), (4, 2), (1, 2), (2, 4), (2, 1)]
    assert [run.sizes for run in design(budget=None)] == lines
    assert [run.sizes for run in design(budget=1000)] == [*lines, (4, 4)]
    assert sum(run.cost for run in design(budget=56)) <= 56


@pytest.mark.parametrize(
    ("losses", "wanted"),
    [
        ({-8: 3, -4: 1, 0: 2}, [-6, -5, -3, -2]),
        ({-2: 1, 0: 2, 2: 3}, [-6, -4]),
        ({-2: 3, 0: 2, 2: 1}, [4, 6]),
        ({-2: np.inf, 0: np.inf}, [-6, -4]),
        ({-3: 3, -2: 3, -1: 2, 0: 1, 1: 2, 2: np.inf}, []),
    ],
)
def test_learning_rates_are_added_where_the_minimum_is(losses, wanted):
    assert next_quarters({quarter: (loss,) for quarter, loss in losses.items()}, 20) == wanted
    assert len(next_quarters({quarter: (loss,) for quarter, loss in losses.items()}, len(losses) + 1)) <= 1


def test_a_new_size_starts_where_the_axes_lead():
    best = {(2, 2): -8, (4, 2): -9, (2, 4): -6}
    assert first_quarters((8, 2), best, (2, 2)) == [-11, -9, -7]
    assert first_quarters((4, 4), best, (2, 2)) == [-9, -7, -5]


# bad input


@pytest.mark.parametrize(
    ("change", "error", "parts"),
    [
        ({"axes": {}}, TypeError, ["measure(axes)", '{"width": [64, 128, 256]}']),
        ({"axes": [4, 8]}, TypeError, ["measure(axes)", "[4, 8]"]),
        ({"axes": {"width": [4]}}, ValueError, ["at least two values", "[4]", "make_task"]),
        ({"axes": {"width": [4, 4]}}, ValueError, ["no two equal", "[4, 4]"]),
        ({"axes": {"width": [4, 8, 8.0]}}, ValueError, ["no two equal"]),
        ({"axes": {"width": [0, 8]}}, ValueError, ["measure(axes)['width']", "> 0", "got 0"]),
        ({"axes": {"width": [-4, 8]}}, ValueError, ["> 0", "got -4"]),
        ({"axes": {"width": [4, np.nan]}}, ValueError, ["finite", "nan"]),
        ({"axes": {"width": ["4", 8]}}, TypeError, ["measure(axes)['width']", "'4'"]),
        ({"axes": {"width": 8}}, TypeError, ["a list of sizes", "got 8"]),
        ({"axes": {"width": "48"}}, TypeError, ["a list of sizes", "'48'"]),
        ({"axes": {"depth": [1, 2]}}, TypeError, ["make_task(width", "takes 'depth'"]),
        ({"axes": {"lr": [1, 2]}}, ValueError, ["lr, loss or seed", "'lr'"]),
        ({"axes": {"a b": [1, 2]}}, ValueError, ["arguments of make_task", "'a b'"]),
        (
            {"axes": {"train_steps": [8, 16.5], "width": [4, 8]}, "train_steps": None},
            TypeError,
            ["train_steps", "16.5"],
        ),
        ({"axes": {"width": [4, 8]}}, ValueError, ["3 sizes at least for 1 exponents", "got 2", "Add values"]),
        ({"train_steps": None}, ValueError, ["measure(train_steps=...)", "neither", "train_steps=1000"]),
        ({"axes": AXES}, ValueError, ["measure(train_steps=...)", "both"]),
        ({"train_steps": 0}, ValueError, ["measure(train_steps=...)", ">= 1", "got 0"]),
        ({"budget": 0}, ValueError, ["measure(budget=...)", "> 0", "got 0"]),
        (
            {"budget": 5},
            ValueError,
            ["at least 74 trainings of the base, width=8", "got 5", "Leave out values or seeds"],
        ),
        ({"num_seeds": 0}, ValueError, ["measure(num_seeds=...)", "got 0"]),
        ({"make_task": 3}, TypeError, ["measure(make_task)", "make_task(**sizes)"]),
        ({"make_task": lambda width: None}, TypeError, ["make_task(width=8)", "None"]),
        ({"make_optimizer": optax.sgd(0.1)}, TypeError, ["make_optimizer"]),
        ({"executor": "fast"}, ValueError, ["measure(executor=...)"]),
        ({"key": 0}, TypeError, ["measure(key=...)", "jax.random.key(0)"]),
        ({"directory": 3}, TypeError, ["measure(directory=...)"]),
        ({"progress": 3}, TypeError, ["measure(progress=...)"]),
    ],
)
def test_bad_arguments_are_named(change, error, parts):
    given = {
        "make_task": make_task,
        "make_optimizer": optax.sgd,
        "axes": {"width": [4, 8, 16]},
        "train_steps": 8,
    } | change
    arguments = [given.pop(name) for name in ("make_task", "make_optimizer", "axes")]
    check_message(lambda: measure(*arguments, **given), error, parts)


def test_an_axis_that_changes_nothing_is_noticed():
    call = lambda: measure(lambda width: make_task(4), optax.sgd, {"width": [4, 8, 16]}, train_steps=8)  # noqa: E731
    check_message(call, ValueError, ["width=16 and width=8", "to the last bit", "all of its arguments"])


def test_a_base_that_diverges_everywhere_is_an_answer_with_the_table():
    with pytest.raises(lrjax.LRNotFound, match=r"At the base, width=8, every learning rate") as caught:
        measure(functools.partial(make_task, limit=1), optax.sgd, {"width": [4, 8, 16]}, train_steps=8)
    assert np.isinf(caught.value.result["loss"]).all()


def test_what_fit_refuses_keeps_the_table():
    with pytest.raises(lrjax.LRNotFound, match=r"`\.result`") as caught:
        measure(functools.partial(make_task, limit=8), optax.sgd, {"width": [4, 8, 16]}, train_steps=8)
    assert len(caught.value.result["lr"]) > 20

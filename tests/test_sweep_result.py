"""What a sweep tells: its table in every form, the best trial, pictures, progress, and what Ctrl-C leaves."""

import dataclasses
import functools
import itertools
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas
import pytest
from inside import sweeps_read_grid
from matplotlib.axes import Axes
from sweep_oracle import KEY, REGRESSION, THREE, momentum, regress

import lrjax
from lrjax import SweepResult, schedules, zipped


def eval_fn(params: Any, batch: Any) -> dict[str, jax.Array]:
    loss = REGRESSION.loss_fn(params, batch, KEY)
    return {"loss": loss, "fit": -jnp.sqrt(loss)}


TASK = dataclasses.replace(REGRESSION, eval_fn=eval_fn)


def make_optimizer(learning_rate: Any, momentum_rate: Any, level: Any = 0) -> Any:
    return momentum(learning_rate, momentum_rate)


GRIDS: dict[str, Any] = {
    "product": [{"momentum_rate": [0.5, 0.9]}, zipped(learning_rate=[0.03, 1e30, 0.001], level=[1, 0, 1])],
    "schedules": {
        "learning_rate": [schedules.cosine_decay(0.1, 24), schedules.constant(0.03)],
        "momentum_rate": [0.5, 0.7],
    },
}


@functools.cache
def swept(name: str) -> SweepResult:
    options = {"key": KEY, "train_steps": 24, "num_seeds": 2, "eval_every": 6, "executor": "loop"}
    return lrjax.sweep(TASK, make_optimizer, GRIDS[name], stop=lrjax.StopDiverged(), **options)


def assert_equal(one: SweepResult, other: SweepResult) -> None:
    """Field by field, to the dtypes of the arrays."""

    def check(got: Any, expected: Any) -> None:
        assert type(got) is type(expected)
        if isinstance(expected, np.ndarray):
            assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got, expected)

    for field in dataclasses.fields(SweepResult):
        got, expected = getattr(one, field.name), getattr(other, field.name)
        if isinstance(expected, dict):
            assert list(got) == list(expected)
            for name, value in expected.items():
                check(got[name], value)
        elif isinstance(expected, np.ndarray):
            check(got, expected)
        else:
            assert got == expected


@pytest.mark.parametrize("name", GRIDS)
def test_rows_have_every_measurement_of_every_lane_in_order(name):
    result = swept(name)
    rows = iter(result.to_rows())
    for trial in range(result.num_trials):
        for seed in range(2):
            for place, step in enumerate(result.steps):
                loss = result.metrics["loss"][trial, seed, place]
                if 0 <= result.stopped_at[trial, seed] < step:
                    assert np.isnan(loss)
                    continue
                row = next(rows)
                assert next(iter(row)) == "trial"
                assert (row["trial"], row["seed"], row["step"]) == (trial, seed, step)
                np.testing.assert_array_equal(row["loss"], loss)
                columns = {name: column[trial] for name, column in result.columns.items()}
                assert {key: row[key] for key in result.columns} == pytest.approx(columns, nan_ok=True)
                assert (row["diverged_at"], row["stopped_at"]) == (
                    result.diverged_at[trial, seed],
                    result.stopped_at[trial, seed],
                )
                assert all(type(value) in (int, float, str) for value in row.values())
    assert next(rows, None) is None


@pytest.mark.parametrize("name", GRIDS)
def test_all_forms_of_the_table_are_one_table(name, tmp_path):
    result = swept(name)
    frame = result.to_pandas()
    expected = pandas.DataFrame(result.to_rows())
    pandas.testing.assert_frame_equal(frame, expected, check_dtype=False)
    result.to_parquet(tmp_path / "table.parquet")
    pandas.testing.assert_frame_equal(pandas.read_parquet(tmp_path / "table.parquet"), frame, check_dtype=False)
    result.to_json(tmp_path / "sweep.json")
    assert_equal(SweepResult.from_json(tmp_path / "sweep.json"), result)
    text = (tmp_path / "sweep.json").read_text()
    json.loads(text, parse_constant=pytest.fail)  # strict: no NaN, no Infinity


def test_the_dimensions_of_xarray_are_the_axes_of_the_grid():
    result, data = swept("product"), swept("product").to_xarray()
    assert dict(data.sizes) == {"momentum_rate": 2, "learning_rate+level": 3, "seed": 2, "step": 4}
    assert data["learning_rate"].dims == data["level"].dims == ("learning_rate+level",)
    assert data.attrs == {"train_steps": 24}
    for row in result.to_rows():
        place = {"momentum_rate": row["momentum_rate"], "seed": row["seed"]}
        lane = data.sel(place).where(data["learning_rate"] == row["learning_rate"], drop=True).squeeze()
        for name in result.metrics:
            np.testing.assert_array_equal(lane[name].sel(step=row["step"]), row[name])
        assert int(lane["stopped_at"]) == row["stopped_at"]
        assert int(lane["diverged_at"]) == row["diverged_at"]
    assert np.isnan(data["loss"]).sum(["seed", "step"]).values.tolist() == [[0, 8, 0], [0, 8, 0]]


def test_xarray_names_schedules_by_place_kind_and_numbers():
    data = swept("schedules").to_xarray()
    assert data["learning_rate"].values.tolist() == [0, 1]
    assert data["learning_rate.kind"].values.tolist() == ["cosine_decay", "constant"]
    assert data["learning_rate.kind"].dims == ("learning_rate",)
    assert np.isnan(data["learning_rate.decay_steps"].values).tolist() == [False, True]


def test_settings_are_what_the_optimizer_was_made_from(tmp_path):
    """Of schedules themselves, read back from a file too, inside others and beside numbers."""
    result = swept("schedules")
    result.to_json(tmp_path / "sweep.json")
    for read in (result, SweepResult.from_json(tmp_path / "sweep.json")):
        for trial, (schedule, rate) in enumerate(itertools.product(*GRIDS["schedules"].values())):
            settings = read.settings(trial)
            assert list(settings) == ["learning_rate", "momentum_rate"]
            assert schedules.to_spec(settings["learning_rate"]) == schedules.to_spec(schedule)
            assert settings["momentum_rate"] == rate
    best = result.best()
    assert "learning_rate=cosine_decay(init_value=0.1, decay_steps=24" in result.summary()
    options = {"key": KEY, "train_steps": 24, "num_seeds": 2, "eval_every": 24, "executor": "loop"}
    again = lrjax.sweep(TASK, lambda level: make_optimizer(**best.settings, level=level), {"level": [0]}, **options)
    np.testing.assert_allclose(again.final()[0], result.final()[best.trial], rtol=1e-6)


@pytest.mark.parametrize(
    ("values", "first"),
    [
        ([schedules.constant(0.1), 0.2], "constant(value=0.1)"),
        ([schedules.warmup(schedules.cosine_decay(0.1, 10), 5)], "warmup("),
        ([schedules.join([schedules.constant(0.1), optax.constant_schedule(0.2)], [5])], "("),
    ],
    ids=["beside a number", "inside another", "beside one of Optax"],
)
def test_settings_of_any_schedule_can_be_shown(values, first):
    grid = sweeps_read_grid.make_grid("sweep", {"learning_rate": values}, optax.sgd, np.dtype(np.float32))
    result = dataclasses.replace(made(np.ones((len(values), 1, 1))), columns=grid.columns, specs=grid.specs)
    result._check()
    assert f"learning_rate={first}" in result.summary()
    assert json.dumps(result.specs)
    if len(values) == 2:
        assert result.settings(1) == {"learning_rate": 0.2}


@pytest.mark.parametrize("change", [{"learning_rate": []}, {"learning_rate": [{"name": "cosine"}] * 2}, {"lr": [1.0]}])
def test_settings_that_cannot_be_made_are_damage(change, tmp_path):
    dataclasses.replace(swept("schedules"), specs=change).to_json(tmp_path / "sweep.json")
    with pytest.raises(ValueError, match="is damaged"):
        SweepResult.from_json(tmp_path / "sweep.json")


NAN, INF = float("nan"), float("inf")


def made(values: Any, *, diverged_at: Any = None, metric: str = "loss", stopped_at: Any = None) -> SweepResult:
    """A result with these values of one metric, (trials, seeds, evaluations)."""
    values = np.asarray(values, np.float64)
    nowhere = np.full(values.shape[:2], -1)
    return SweepResult(
        names=(("learning_rate",),),
        shape=(len(values),),
        columns={"learning_rate": 10.0 ** -np.arange(len(values))},
        steps=10 * (np.arange(values.shape[2]) + 1),
        metrics={metric: values},
        diverged_at=nowhere if diverged_at is None else np.asarray(diverged_at),
        stopped_at=nowhere if stopped_at is None else np.asarray(stopped_at),
        train_steps=10 * values.shape[2],
        execution=lrjax.Execution(requested="map", used="map"),
    )


def test_the_best_trial_has_the_lowest_mean_over_its_seeds_at_the_end():
    best = made([[[9, 3], [9, 5]], [[9, 2], [9, 9]], [[0, 4.5], [0, 4.5]]]).best()
    assert best == (0, {"learning_rate": 1.0}, 4.0, pytest.approx(2**0.5), 20)


def test_the_best_trial_at_any_time_says_when():
    result = made([[[3, 5, 4]], [[6, 2, 7]], [[NAN, NAN, 1.5]]])
    assert result.best()[:3] == (2, {"learning_rate": 0.01}, 1.5)
    assert (result.best(at="any").trial, result.best(at="any").step) == (2, 30)
    result = made([[[3, 5, 4]], [[6, 2, 7]], [[NAN, NAN, 3.9]]])
    best = result.best(at="any")
    assert (best.trial, best.value, best.step) == (1, 2.0, 20)
    assert np.isnan(best.std)


def test_a_result_with_many_long_names_prints_as_a_line():
    result = dataclasses.replace(
        made([[[1.0]]]), metrics={f"{place}{'x' * 500}": np.ones((1, 1, 1)) for place in range(99)}
    )
    assert len(repr(result)) < 400
    assert "99 in all" in repr(result)


def test_the_first_of_equal_trials_is_the_best():
    result = made([[[7, 7]], [[1, 1]], [[1, 1]]])
    assert (result.best().trial, result.best(at="any").step) == (1, 10)


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_a_trial_without_a_finite_value_in_every_seed_is_not_the_best(bad):
    assert made([[[bad], [0]], [[5], [6]]]).best().trial == 1
    with pytest.raises(ValueError, match="and there is none"):
        made([[[bad], [0]]]).best()


def test_a_trial_that_diverged_in_a_seed_is_not_the_best_whatever_its_values():
    assert made([[[1], [1]], [[5], [6]]], diverged_at=[[-1, 3], [-1, -1]]).best().trial == 1


@pytest.mark.parametrize("metric", ["accuracy", "perplexity", "error", "lossless", "train_loss", "neg_loss"])
@pytest.mark.parametrize(("mode", "best"), [("max", 1), ("min", 0)])
def test_only_the_mode_says_which_end_of_a_metric_is_good(metric, mode, best):
    """The best trial, the title and the marks of every picture; trial 2 diverged, whatever its last value."""
    result = made([[[0.5]], [[0.75]], [[0.1]], [[0.9]]], diverged_at=[[-1], [-1], [3], [3]], metric=metric)
    value = {0: 0.5, 1: 0.75}[best]
    assert result.best(metric, mode=mode)[:3] == (best, {"learning_rate": 10.0**-best}, value)
    for kind in ("curves", "axis"):
        ax = result.plot(kind, metric=metric, mode=mode)
        assert f" {value:.4g}: learning_rate {10.0**-best:.3g}" in ax.get_title(loc="left") + ax.get_title()
    legend = result.plot("curves", metric=metric, mode=mode).get_legend().get_texts()
    assert legend[0].get_text() == f"learning_rate {10.0**-best:.3g}"
    square = dataclasses.replace(
        result, names=(("learning_rate",), ("b",)), shape=(2, 2), columns=result.columns | {"b": np.zeros(4)}
    )
    (frame,) = [patch for patch in square.plot("heat", metric=metric, mode=mode).patches if not patch.get_fill()]
    assert (frame.get_x(), frame.get_y()) == (best // 2 - 0.5, best % 2 - 0.5)
    for call in (result.best, lambda name: result.plot(metric=name)):
        with pytest.raises(ValueError, match=r"\(mode=...\)` must say which end of the metric"):
            call(metric)


def test_metrics_and_evaluations_are_named():
    result = made([[[0.5]], [[0.75]]], metric="accuracy")
    with pytest.raises(ValueError, match="no metric 'loss' in this sweep"):
        result.best()
    with pytest.raises(ValueError, match=r'best\(at=...\)` must be "last" or "any", got .first.'):
        result.best("accuracy", mode="max", at="first")


def test_the_summary_says_what_ran_and_what_came_of_it():
    result = swept("product")
    best = result.best()
    lines = result.summary().splitlines()
    assert lines[0] == "6 trials x 2 seeds, 24 updates each; 4 of 12 lanes diverged, 4 were stopped early."
    settings = f"momentum_rate={best.settings['momentum_rate']:.4g}, learning_rate=0.03, level=1"
    assert lines[1].startswith(f"Best: {settings} with loss {best.value:.5g}")
    assert lines[1].endswith(f"+- {best.std:.2g}.")
    assert "1 trials x 1 seed, 10 updates each; 0 of 1" in made([[[2.0]]]).summary()


def test_final_is_the_last_evaluation_and_nan_where_a_lane_was_stopped():
    result = swept("product")
    np.testing.assert_array_equal(result.final("fit"), result.metrics["fit"][..., -1])
    np.testing.assert_array_equal(np.isnan(result.final()), result.stopped_at >= 0)
    with pytest.raises(ValueError, match=r"settings\(trial\)` must be from 0 to 5, got 6"):
        result.settings(6)


def test_curves_are_the_means_over_the_seeds_at_every_evaluation():
    result = swept("product")
    ax = result.plot("curves", metric="fit", mode="max")
    lines = [np.asarray(line.get_ydata(), float) for line in ax.get_lines()]
    assert len(lines) == 6
    for trial in range(6):
        mean = result.metrics["fit"][trial].mean(axis=0)
        mean[~np.isfinite(mean)] = np.nan
        assert any(np.allclose(line, mean, equal_nan=True) for line in lines)
    assert ax.get_lines()[0].get_xdata().tolist() == [6, 12, 18, 24]


def test_the_axis_picture_has_the_first_hyperparameter_and_a_line_for_each_setting_of_the_rest():
    result = swept("product")
    ax = result.plot("axis")
    assert isinstance(ax, Axes)
    assert ax.get_xlabel() == "momentum_rate"
    expected = result.final().mean(axis=1).reshape(2, 3).T
    drawn = np.asarray([line.get_ydata() for line in ax.get_lines()], float)
    np.testing.assert_allclose(drawn, np.where(np.isfinite(expected), expected, np.nan))


def test_the_heat_map_has_a_cell_for_each_setting_and_a_cross_where_nothing_is():
    result = swept("product")
    ax = result.plot("heat")
    (image,) = ax.get_images()
    np.testing.assert_allclose(
        np.ma.filled(image.get_array().astype(float), np.nan), result.final().mean(axis=1).reshape(2, 3).T
    )
    crosses = {(float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in ax.get_lines()}
    assert crosses == {(0.0, 1.0), (1.0, 1.0)}
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("momentum_rate", "learning_rate")
    one = made([[[1.0]], [[2.0]]])
    with pytest.raises(ValueError, match=r'plot\("heat"\)` draws two axes, and this sweep has 1'):
        one.plot("heat")
    with pytest.raises(ValueError, match="or None, got 'pie'"):
        one.plot("pie")


def test_without_a_kind_the_picture_fits_the_grid():
    assert made([[[1.0, 0.5]], [[2.0, 0.4]]]).plot().get_xlabel() == "learning_rate"
    assert swept("schedules").plot().get_xlabel() == "optimizer updates"
    assert swept("product").plot(metric="fit", mode="max").get_ylabel() == "fit after 24 updates"
    nowhere = made([[[NAN, NAN]], [[NAN, NAN]]], diverged_at=[[0], [0]])
    for kind in ("axis", "curves"):
        assert (
            "No trial with a finite value" in nowhere.plot(kind).get_title(loc="left") + nowhere.plot(kind).get_title()
        )


class Writer:
    """What tensorboardX and its like have."""

    def __init__(self) -> None:
        self.scalars: dict[tuple[str, int], float] = {}

    def add_scalar(self, tag: str, value: float, global_step: int) -> None:
        assert isinstance(value, float)
        self.scalars[tag, global_step] = value


@pytest.mark.parametrize("executor", ["map", "loop"])
def test_evaluations_in_the_progress_are_the_rows_of_the_table(executor):
    writer, rows = Writer(), []

    def log(event: lrjax.Progress) -> None:
        assert {row["step"] for row in event.rows} <= {event.step}
        for row in event.rows:
            rows.append(row)
            for name in ("loss", "train_loss"):
                writer.add_scalar(f"{name}/{row['trial']}/{row['seed']}", row[name], row["step"])

    grid = {"learning_rate": [0.01, 1e30, 0.1]}
    result = regress(executor, grid, stop=lrjax.SuccessiveHalving(first=6, factor=2), progress=log)
    table = result.to_rows()
    logged = pandas.DataFrame(rows).sort_values(["trial", "seed", "step"], ignore_index=True)
    pandas.testing.assert_frame_equal(logged, result.to_pandas()[list(logged.columns)])
    assert set(result.to_pandas().columns) - set(logged.columns) == {"diverged_at", "stopped_at"}  # known at the end
    assert len(writer.scalars) == 2 * len(table)
    for row in table:
        logged = writer.scalars[f"loss/{row['trial']}/{row['seed']}", row["step"]]
        np.testing.assert_array_equal(logged, row["loss"])


@pytest.mark.parametrize("stop", [None, lrjax.SuccessiveHalving(first=6, factor=2)], ids=["to the end", "halving"])
def test_progress_goes_forward_and_ends_where_it_said_it_would(stop):
    events: list[lrjax.Progress] = []
    result = regress("map", stop=stop, progress=[events.append, events.append])
    assert events[0::2] == events[1::2]  # every listener
    events = events[0::2]
    assert (events[0].step, events[0].updates, events[0].rows) == (0, 0, ())
    updates, steps, seconds = ([getattr(event, name) for event in events] for name in ("updates", "step", "seconds"))
    assert updates == sorted(updates)
    assert steps == sorted(steps)
    assert seconds == sorted(seconds)
    assert updates[-1] == result.execution.updates == {event.planned for event in events[1:]}.pop()
    assert {event.train_steps for event in events} == {24}
    assert [event.step for event in events if event.rows] == result.steps.tolist()
    assert events[-1].lanes == int((result.stopped_at < 0).sum())
    assert events[-1].seconds_left == 0
    assert all(event.bytes > 0 for event in events[1:])
    assert {event.stage for event in events[1:]} == (
        {"training"} if stop is None else {f"training, rung {n}/3" for n in (1, 2, 3)}
    )


def test_true_shows_a_line_and_functions_may_stand_beside_it(capsys):
    seen = []
    regress("loop", progress=[True, seen.append])
    captured = capsys.readouterr()
    assert captured.out == ""
    assert seen
    with pytest.raises(TypeError, match=r"sweep\(progress=...\)` must be True, None or a function"):
        regress("loop", progress="yes")


class Interrupt:
    """Presses Ctrl-C at the n-th event that has (or has not) rows of an evaluation."""

    def __init__(self, at: int, *, evaluations: bool = True):
        self.left, self.evaluations = at, evaluations

    def __call__(self, event: lrjax.Progress) -> None:
        self.left -= bool(event.rows) == self.evaluations
        if self.left == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("executor", ["map", "loop"])
def test_ctrl_c_carries_what_was_measured(executor, tmp_path):
    whole = regress(executor)
    with pytest.raises(lrjax.SearchInterrupted, match="holds what was measured until then") as caught:
        regress(executor, progress=Interrupt(2))
    result = caught.value.result
    assert isinstance(caught.value, KeyboardInterrupt)
    for name, values in result.metrics.items():
        np.testing.assert_array_equal(values[..., :2], whole.metrics[name][..., :2])
        assert np.isnan(values[..., 2:]).all()
    assert (result.stopped_at == 12).all()
    assert result.to_rows() == [row | {"stopped_at": 12} for row in whole.to_rows() if row["step"] <= 12]
    assert result.best(at="any").step in (6, 12)
    result.to_json(tmp_path / "partial.json")
    assert_equal(SweepResult.from_json(tmp_path / "partial.json"), result)
    assert regress(executor).final().tolist() == whole.final().tolist()  # and the next sweep is as ever


def test_an_interruption_saves_no_updates():
    with pytest.raises(lrjax.SearchInterrupted) as caught:
        regress("map", progress=Interrupt(2))
    assert caught.value.result.execution.updates_saved == 0


def test_ctrl_c_at_the_first_event_is_an_interruption_too():
    with pytest.raises(KeyboardInterrupt) as caught:
        regress("map", progress=Interrupt(1, evaluations=False))
    assert isinstance(caught.value, lrjax.SearchInterrupted)


def test_an_interruption_before_the_first_evaluation_leaves_an_empty_table():
    with pytest.raises(lrjax.SearchInterrupted) as caught:
        regress("map", progress=Interrupt(2, evaluations=False))
    result = caught.value.result
    assert result.to_rows() == []
    assert len(result.to_pandas()) == 0
    assert (result.stopped_at == 0).all()
    assert result.columns["learning_rate"].tolist() == THREE["learning_rate"]


def test_an_interruption_before_the_first_evaluation_has_a_summary():
    with pytest.raises(lrjax.SearchInterrupted) as caught:
        regress("map", progress=Interrupt(2, evaluations=False))
    assert "It has ." not in caught.value.result.summary()


def test_by_default_there_are_at_most_ten_evaluations():
    assert regress("loop", eval_every=None).steps.tolist() == [3, 6, 9, 12, 15, 18, 21, 24]


def test_evaluations_at_given_steps_are_those_of_regular_ones():
    every, some = regress("map", eval_every=1), regress("map", eval_every=[1, 2, 5, 20])
    assert some.steps.tolist() == [1, 2, 5, 20, 24]
    np.testing.assert_array_equal(some.metrics["loss"], every.metrics["loss"][:, :, some.steps - 1])


def test_what_a_listener_raises_ends_the_sweep():
    def fail(event: lrjax.Progress) -> None:
        if event.step:
            raise RuntimeError("my logger")

    with pytest.raises(RuntimeError, match="my logger"):
        regress("map", progress=fail)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:-40], "must be a JSON file"),
        (lambda text: text.replace("lrjax-sweep-result", "other"), "must be a file of format"),
        (lambda text: text.replace('"shape": [\n  3', '"shape": [\n  4'), "is damaged"),
        (lambda text: text.replace('"loss"', '"lost"').replace('"train_steps"', '"steps_train"'), "is damaged"),
    ],
    ids=["cut", "format", "shape", "field"],
)
def test_a_damaged_file_is_refused(change, message, tmp_path):
    path = tmp_path / "sweep.json"
    regress("map").to_json(path)
    text = path.read_text()
    assert change(text) != text
    path.write_text(change(text))
    with pytest.raises(ValueError, match=message):
        SweepResult.from_json(path)

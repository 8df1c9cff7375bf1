"""The pictures: what is drawn is what was measured, nothing global is touched, and labels can be read."""

import dataclasses
import itertools
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import matplotlib
import numpy as np
import problems
import pytest
from found import result_of, stage
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Text

import lrjax
from lrjax import plots

X = np.arange(-6.0, 1.01, 0.5)


def basin(x, low=-3.0, best=-1.5):
    """A curve as the finder sees it: 1 on the plateau, near 0 at its best, and far above 1 beyond."""
    falling = 1 / (1 + 10 ** (2 * (np.asarray(x) - (low + best) / 2)))
    return falling + 10 ** (3 * (np.asarray(x) - best - 0.8))


def make_result(x, losses, *, initial_loss=1.0, rule="midpoint", literal=False, **curve_fields):
    """A result without training anything."""
    curve = problems.curve_from(x, losses, initial_loss)._replace(**curve_fields)
    window = lrjax.find_window(curve, literal=literal)
    methods = (lrjax.midpoint, lrjax.half_loss, lrjax.steepest)
    selections = {method.__name__: float(method(curve, window)) for method in methods}
    found = window.outcome is lrjax.Outcome.found
    lr = float(getattr(lrjax, rule)(curve, window))
    return result_of(
        stage(curve, window),
        lr=lr,
        interval=(lr / 1.5, lr * 1.5) if found and curve.final.shape[0] > 1 else None,
        rule=rule,
        selections=selections,
        drift={20: lr},
    )


def seeds(losses, count=3):
    return np.asarray(losses) + 0.05 * np.arange(count)[:, None]


ROUNDS = jnp.asarray(np.arange(len(X)) % 3)
RESULTS = {
    "three seeds, three rounds": make_result(X, seeds(basin(X)), rounds=ROUNDS),
    "one seed": make_result(X, basin(X)),
    "diverged": make_result(X, np.where(X > -0.7, np.inf, basin(X)), rule="steepest"),
    "one seed of three diverged": make_result(X, np.where((X > -1.2) & (seeds(X) > X), np.inf, seeds(basin(X)))),
    "ends too soon": make_result(X[X < -2], basin(X[X < -2])),
    "no plateau": make_result(X[X > -2.6], basin(X[X > -2.6])),
    "narrow": make_result(X, np.where(X == -2, 0.0, 1.0) + np.where(X > -2, 2.0, 0.0)),
    "literal": make_result(X, basin(X), literal=True),
    "a rule beyond the three": make_result(X, basin(X), rule="lowest_loss"),
    "no learning": make_result(X, seeds(1.0 + 10**X)),
    "all diverged": make_result(X, np.full(len(X), np.inf)),
    "one trial": make_result([-2.0], [0.5]),
    "eight rounds": make_result(X, basin(X), rounds=jnp.asarray(np.arange(len(X)) % 8)),
}
FOUND = {name: result for name, result in RESULTS.items() if result.outcome is lrjax.Outcome.found}
every_result = pytest.mark.parametrize("result", RESULTS.values(), ids=RESULTS.keys())
every_found = pytest.mark.parametrize("result", FOUND.values(), ids=FOUND.keys())


@pytest.mark.parametrize("size", [(3.2, 3), (4, 3), (7.6, 4.6)])
def test_the_title_and_the_small_print_are_apart_on_any_figure(size):
    ax = Figure(figsize=size, layout="constrained").subplots()
    names = [lrjax.WarningName.flat_basin, lrjax.WarningName.stochastic_eval, lrjax.WarningName.stale_statistics]
    warnings = tuple(lrjax.LRWarning(name=name, message="", remedy="") for name in names)
    dataclasses.replace(RESULTS["one seed"], warnings=warnings).plot(ax)
    ax.figure.draw_without_rendering()
    texts = [text for text in ax.findobj(Text) if text.get_text().startswith(("warnings", "learning rate "))]
    heading, small = [text.get_window_extent() for text in texts]
    assert not heading.overlaps(small)
    assert max(heading.x1, small.x1) <= ax.figure.bbox.x1


def dots(ax):
    """The scatter collections of the rounds, by label."""
    return {c.get_label(): c for c in ax.collections if c.get_label().startswith(("first grid", "round"))}


def line(ax, label):
    (found,) = [artist for artist in ax.get_lines() if artist.get_label().startswith(label)]
    return found


@every_result
def test_every_trial_is_a_dot_at_its_mean(result):
    ax = plots.plot_lr(result)
    means = np.asarray(result.curve.final, np.float64).mean(axis=0)
    drawn = [tuple(point) for collection in dots(ax).values() for point in collection.get_offsets()]
    finite = np.isfinite(means)
    wanted = zip(np.asarray(result.curve.lrs, np.float64)[finite], means[finite], strict=True)
    assert sorted(drawn) == sorted(wanted)


@pytest.mark.parametrize("name", ["three seeds, three rounds", "eight rounds"])
def test_rounds_differ_by_their_marker(name):
    result = RESULTS[name]
    collections = dots(plots.plot_lr(result))
    assert len(collections) == min(len(np.unique(result.curve.rounds)), 5)
    for one, other in itertools.combinations(collections.values(), 2):
        assert not np.array_equal(one.get_paths()[0].vertices, other.get_paths()[0].vertices)


def test_dots_of_a_round_are_its_trials():
    result = RESULTS["three seeds, three rounds"]
    collections = dots(plots.plot_lr(result))
    assert list(collections) == ["first grid", "round 2", "round 3"]
    for number, collection in enumerate(collections.values()):
        lrs = np.asarray(result.curve.lrs)[np.asarray(result.curve.rounds) == number]
        np.testing.assert_allclose(collection.get_offsets()[:, 0], lrs, rtol=1e-6)


@every_result
def test_diverged_trials_are_crosses_at_the_top(result):
    ax = plots.plot_lr(result)
    diverged = ~np.isfinite(np.asarray(result.curve.final)).all(axis=0)
    crosses = [artist for artist in ax.get_lines() if artist.get_marker() == "x"]
    assert len(crosses) == bool(diverged.any())
    for artist in crosses:
        np.testing.assert_allclose(artist.get_xdata(), np.asarray(result.curve.lrs)[diverged], rtol=1e-6)
        assert artist.get_transform() == ax.get_xaxis_transform()  # heights are shares of the axes
        assert set(artist.get_ydata()) == {0.97}


@pytest.mark.parametrize("explosion", [1e3, 1e30])
def test_the_axis_ends_at_the_estimators_ceiling(explosion):
    losses = np.where(X > 0, explosion, basin(X))
    result = make_result(X, 100 + losses, initial_loss=101.0)
    ax = plots.plot_lr(result)
    low, high = ax.get_ylim()
    effect = float(result.window.effect)
    np.testing.assert_allclose(high, 101 + 0.5 * effect, rtol=1e-6)
    assert 101 - 1.3 * effect < low < 101 - effect
    above = line(ax, "above the axis")
    assert above.get_marker() == "^"
    assert set(np.round(np.log10(above.get_xdata()), 3)) >= {0.5, 1.0}


@every_found
def test_window_and_methods(result):
    ax = plots.plot_lr(result)
    (shade,) = ax.patches
    ends = [shade.get_x(), shade.get_x() + shade.get_width()]
    np.testing.assert_allclose(ends, [float(result.window.min_lr), float(result.window.max_lr)], rtol=1e-6)
    picks = {name: line(ax, f"{name} {lr:.2e}") for name, lr in result.selections.items()}
    for name, artist in picks.items():
        np.testing.assert_allclose(artist.get_xdata(), result.selections[name], rtol=1e-6)
    assert len({str(artist._dash_pattern) for artist in picks.values()}) == 3  # no public getter of the dashes
    chosen = line(ax, f"{result.rule} {result.lr:.2e}")
    assert chosen.get_label().endswith("(chosen)")
    assert chosen.get_linewidth() > max(a.get_linewidth() for name, a in picks.items() if name != result.rule)
    assert f"{result.lr:.2e}" in ax.get_title("left")
    texts = " ".join(text.get_text() for text in ax.texts)
    assert f"min_lr {float(result.window.min_lr):.1e}" in texts
    for warning in result.warnings:
        assert warning.name.value in texts


def test_the_band_spans_the_seeds():
    result = RESULTS["three seeds, three rounds"]
    (band,) = [c for c in plots.plot_lr(result).collections if "3 seeds" in c.get_label()]
    vertices = band.get_paths()[0].vertices
    for lr, column in zip(np.asarray(result.curve.lrs, np.float64), np.asarray(result.curve.final).T, strict=True):
        heights = vertices[np.isclose(vertices[:, 0], lr, rtol=1e-9), 1]
        np.testing.assert_allclose([heights.min(), heights.max()], [column.min(), column.max()], rtol=1e-6)
    assert not [c for c in plots.plot_lr(RESULTS["one seed"]).collections if "seeds" in c.get_label()]


def test_initial_loss_is_a_dotted_line():
    artist = line(plots.plot_lr(RESULTS["three seeds, three rounds"]), "initial loss")
    assert set(artist.get_ydata()) == {1.0}
    assert artist.get_linestyle() == ":"


def test_earlier_horizons_are_fainter_lines():
    losses = jnp.asarray(np.stack([0.5 + 0.5 * basin(X), 0.2 + 0.8 * basin(X), basin(X)])[:, None], jnp.float32)
    result = RESULTS["one seed"]
    curve = result.curve._replace(losses=losses, horizons=jnp.asarray([5, 10, 20]))
    result = dataclasses.replace(result, stages=(dataclasses.replace(result.stages[0], curve=curve),))
    ax = plots.plot_lr(result)
    five, ten = line(ax, "after 5 updates"), line(ax, "after 10 updates")
    np.testing.assert_allclose(five.get_ydata(), losses[0, 0], rtol=1e-6)
    assert float(five.get_color()) > float(ten.get_color())


@pytest.mark.parametrize(("name", "words"), [("no learning", "no_learning"), ("all diverged", "all_diverged")])
@pytest.mark.parametrize("plot", [plots.plot_lr, plots.plot_curvature])
def test_without_a_learning_rate_the_title_says_so(plot, name, words):
    result = RESULTS[name]
    ax = plot(result)
    assert ax.get_title("left") == f"no learning rate: {words}"
    assert result.outcome.value in " ".join(text.get_text().replace("\n", " ") for text in ax.texts)
    assert not ax.patches


@every_found
def test_curvature_plot_draws_the_smoothed_curve_and_marks_the_knee(result):
    ax = plots.plot_curvature(result)
    window = result.window
    inside = np.isfinite(np.asarray(window.loss))
    (twin,) = [other for other in ax.figure.axes if other is not ax]
    np.testing.assert_array_equal(line(ax, "loss").get_ydata(), np.asarray(window.loss, np.float64)[inside])
    curvature = np.asarray(window.curvature, np.float64)[inside]
    np.testing.assert_array_equal(line(twin, "curvature").get_ydata(), curvature)
    np.testing.assert_allclose(line(ax, "min_lr").get_xdata(), float(window.min_lr), rtol=1e-6)
    if not window.narrow:
        (knee,) = [artist for artist in ax.get_lines() if artist.get_marker() == "o"]
        np.testing.assert_allclose(knee.get_xdata(), float(window.min_lr), rtol=1e-3)


# The classic range test.


def make_range_test(losses, *, mode="exponential", stopped=None):
    losses = np.asarray(losses, np.float64)
    spaced = np.geomspace if mode == "exponential" else np.linspace
    return lrjax.RangeTest(
        lrs=spaced(1e-6, 1.0, len(losses)),
        losses=losses,
        smoothed=lrjax.range_rules.debiased_ema(losses, 0.9),
        metrics={},
        metric_steps=np.zeros(0, np.int64),
        smoothing=0.9,
        num_steps=len(losses),
        mode=mode,
        stopped=stopped,
    )


HISTORY = basin(np.linspace(-6, -0.6, 80)) + 0.05 * np.sin(np.arange(80))
RANGE_TESTS = {
    "exponential": make_range_test(HISTORY),
    "linear": make_range_test(HISTORY, mode="linear"),
    "stopped": make_range_test([*HISTORY[:60], np.nan], stopped="The loss was nan at step 60."),
    "flat": make_range_test(np.ones(50)),
    "one step": make_range_test([2.0], stopped="The loss was nan at step 1."),
    "diverged at once": make_range_test([np.nan], stopped="The loss was nan at step 0."),
}
every_range_test = pytest.mark.parametrize("test", RANGE_TESTS.values(), ids=RANGE_TESTS.keys())


@every_range_test
def test_range_test_draws_the_history_and_every_suggestion(test):
    ax = plots.plot_range_test(test)
    np.testing.assert_array_equal(line(ax, "loss").get_ydata(), np.where(np.isfinite(test.losses), test.losses, np.nan))
    known = np.isfinite(test.smoothed)
    np.testing.assert_array_equal(np.asarray(line(ax, "smoothed").get_ydata())[known], test.smoothed[known])
    assert ax.get_xscale() == ("linear" if test.mode == "linear" else "log")
    marks = {c.get_label(): c.get_offsets()[0] for c in ax.collections}
    lrs, _ = test.suggestions()
    assert list(marks) == [f"{name} {lr:.1e}" for name, lr in lrs.items()]
    np.testing.assert_allclose([mark[0] for mark in marks.values()], list(lrs.values()))
    assert bool([a for a in ax.get_lines() if a.get_label().startswith("stopped")]) == (test.stopped is not None)


def test_range_test_markers_all_differ():
    collections = plots.plot_range_test(RANGE_TESTS["exponential"]).collections
    assert len(collections) >= 8
    for one, other in itertools.combinations(collections, 2):
        assert not np.array_equal(one.get_paths()[0].vertices, other.get_paths()[0].vertices)


# What holds for all of them.

PICTURES = {
    **{f"finder, {name}": (plots.plot_lr, result) for name, result in RESULTS.items()},
    **{f"curvature, {name}": (plots.plot_curvature, result) for name, result in RESULTS.items()},
    **{f"range test, {name}": (plots.plot_range_test, test) for name, test in RANGE_TESTS.items()},
}
ONE_OF_EACH = [PICTURES[name] for name in ("finder, one seed", "curvature, one seed", "range test, linear")]
every_picture = pytest.mark.parametrize(("plot", "value"), PICTURES.values(), ids=PICTURES.keys())


@every_picture
def test_titles_and_labels_do_not_overlap(plot, value):
    figure = plot(value).figure
    figure.canvas.draw()
    ax = figure.axes[0]
    titles = [text for text in (ax.title, ax._left_title, ax._right_title, *ax.texts) if text.get_text()]
    boxes = [text.get_window_extent() for text in [*titles, ax.xaxis.label, ax.yaxis.label]]
    whole = figure.bbox
    for box in boxes:
        assert whole.x0 <= box.x0 < box.x1 <= whole.x1 + 1
        assert whole.y0 <= box.y0 < box.y1 <= whole.y1 + 1
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)


@pytest.mark.parametrize(("plot", "value"), ONE_OF_EACH)
def test_draws_into_given_axes_and_returns_them(plot, value):
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert plot(value, ax=right) is right
    assert not left.lines


@pytest.mark.parametrize(("plot", "value"), ONE_OF_EACH)
def test_rc_params_stay(plot, value):
    before = dict(matplotlib.rcParams)
    plot(value)
    assert dict(matplotlib.rcParams) == before


def test_a_picture_is_written(tmp_path):
    result = RESULTS["three seeds, three rounds"]
    for number, ax in enumerate([result.plot(), RANGE_TESTS["linear"].plot()]):
        path = tmp_path / f"{number}.png"
        ax.figure.savefig(path)
        assert path.read_bytes().startswith(b"\x89PNG")


def test_methods_of_the_results_draw_the_same():
    ax = Figure().subplots()
    assert RESULTS["one seed"].plot(ax=ax) is ax
    ax = Figure().subplots()
    assert RANGE_TESTS["linear"].plot(ax=ax) is ax


def test_pyplot_is_never_imported(tmp_path):
    RESULTS["one seed"].to_json(tmp_path / "result.json")
    RANGE_TESTS["exponential"].to_json(tmp_path / "range.json")
    code = (
        "import sys, lrjax.plots as p\n"
        "assert 'matplotlib' not in sys.modules\n"
        "import lrjax\n"
        "result = lrjax.LRResult.from_json('result.json')\n"
        "p.plot_lr(result).figure.savefig('a.png')\n"
        "p.plot_curvature(result).figure.savefig('b.png')\n"
        "p.plot_range_test(lrjax.RangeTest.from_json('range.json')).figure.savefig('c.png')\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    root = str(Path(lrjax.__file__).parent.parent)
    subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {root!r})\n{code}"], check=True, cwd=tmp_path
    )


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(-5, 5) | st.just(np.inf) | st.just(1e30), min_size=2, max_size=20), st.integers(1, 3))
def test_any_curve_can_be_drawn(losses, count):
    x = np.linspace(-6, 1, len(losses))
    result = make_result(x, seeds(losses, count))
    assert plots.plot_lr(result).get_xlabel() == "learning rate"
    assert plots.plot_curvature(result).get_ylabel() == "normalised loss"


def test_many_warnings_fit():
    result = RESULTS["three seeds, three rounds"]
    doubts = tuple(lrjax.LRWarning(name=name, message="m", remedy="r") for name in lrjax.WarningName)
    figure = plots.plot_lr(dataclasses.replace(result, warnings=doubts)).figure
    figure.canvas.draw()
    ax = figure.axes[0]
    boxes = [text.get_window_extent() for text in (ax._left_title, *ax.texts)]
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)

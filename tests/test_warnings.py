"""Warnings: for each a curve that gives it and one just on the other side of the threshold."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from definition import HALVES
from problems import curve_from

import lrjax
from lrjax import WarningName, find_warnings, find_window

LONG = np.arange(-22, 9) / 2
V = np.interp(HALVES, [-3, -1, 1], [1, 0, 1])


def warnings_of(curve, **options):
    return {warning.name.value: warning for warning in find_warnings(curve, find_window(curve), **options)}


def lifted(effect):
    """V with an initial loss of 1 and a best one of 1 - effect."""
    return curve_from(HALVES, 1 - effect * (1 - V))


def line(x, points, values):
    """Trials at x and at those points of a broken line that lie between."""
    x = np.union1d(x, [point for point in points if x[0] < point < x[-1]])
    return curve_from(x, np.interp(x, points, values))


def alternating(amplitude):
    """On the plateau the losses go up and down; the residuals are 2 * amplitude / sqrt(1.5), all of one size."""
    losses = V.copy()
    losses[:9] += amplitude * (-1) ** np.arange(9)
    return curve_from(HALVES, losses)


# name, (a curve with it, what its message measures), a curve just without it
CASES = [
    ("tiny_effect", (lifted(0.019), "1.9%"), lifted(0.021)),
    ("small_progress", (lifted(0.24), "24%"), lifted(0.26)),
    ("no_plateau", (line(HALVES, [-7, -1, 0], [0.97, 0, 1]), "4%"), line(HALVES, [-7, -1, 0], [0.99, 0, 1])),
    (  # 0.97 is reached, but not at the first cell
        "no_plateau",
        (line(HALVES, [-7, -6, -4, -1, 0], [0.945, 1, 1, 0, 1]), "6%"),
        line(HALVES, [-7, -6, -4, -1, 0], [0.955, 1, 1, 0, 1]),
    ),
    ("edge_low", (line(HALVES, [-7, 1], [0, 1]), "1.0e-07"), line(HALVES, [-7, -6.5, 1], [0.2, 0, 1])),
    ("edge_high", (line(HALVES, [-3, -1, 1], [1, 0, 0.27]), "24%"), line(HALVES, [-3, -1, 1], [1, 0, 0.285])),
    ("edge_high", (line(HALVES, [-3, 1], [1, 0]), "0%"), line(HALVES, [-3, 0, 1], [1, 0, 1])),
    (
        "flat_basin",
        (line(HALVES, [-4, -3, -1.25, -0.25], [1, 0, 0, 1]), "1.7 decades"),
        line(HALVES, [-4, -3, -1.5, -0.5], [1, 0, 0, 1]),
    ),
    (
        "narrow_window",
        (line(HALVES, [-1.375, -1, -0.75], [1, 0, 1.5]), "0.48 decades"),
        line(HALVES, [-1.375, -1, -0.75], [1, 0, 1]),
    ),
    (  # to the right: above 1/2, then down by more than 1/4 to below 3/4
        "multi_basin",
        (line(LONG, [-6, -4, -2, 0, 2], [1, 0, 0.8, 0.4, 1]), "8.9e-01"),
        line(LONG, [-6, -4, -2, 0, 2], [1, 0, 0.6, 0.4, 1]),
    ),
    (  # to the left; 0.85 is no basin, however deep the fall before it
        "multi_basin",
        (line(LONG, [-10, -8, -6, -3, 0], [1, 0.6, 1, 0, 1]), "1.0e-08"),
        line(LONG, [-10, -8, -6, -3, 0], [1.4, 0.85, 1.4, 0, 1]),
    ),
    (  # never above 1/2
        "multi_basin",
        (line(LONG, [-6, -4, -2, 0, 2], [1, 0, 0.6, 0.1, 1]), "8.9e-01"),
        line(LONG, [-6, -4, -2, 0, 2], [1, 0, 0.45, 0.1, 1]),
    ),
    ("noisy", (alternating(0.0215), "5%"), alternating(0.0195)),
]


@pytest.mark.parametrize(("name", "given", "not_given"), CASES, ids=[case[0] for case in CASES])
def test_given_and_just_not_given(name, given, not_given):
    curve, measured = given
    warning = warnings_of(curve)[name]
    assert measured in warning.message
    assert warning.message.endswith(".")
    assert warning.remedy.endswith(".")
    assert str(warning) == f"{name}: {warning.message} {warning.remedy}"
    assert name not in warnings_of(not_given)


def test_every_warning_of_a_curve_has_a_case():
    others = {"nothing_moved", "no_learning", "all_diverged", "stochastic_eval", "stale_statistics"}
    others |= {
        "no_rung",
        "lost",
        "not_started",
        "unknown_start",
        "unsettled",
        "extrapolated",
        "short_horizon",
    }  # Budget's
    assert {case[0] for case in CASES} == {name.value for name in WarningName} - others


@pytest.mark.parametrize(
    ("effect", "longest", "told"),
    [
        (0.24, np.inf, "num_steps=50 to 100"),
        (0.24, 60, "num_steps=50 to 60"),
        (0.24, 30, "num_steps=30)"),
        (0.24, 20, "Trials can be no longer"),
        (0.01, 20, "Trials can be no longer"),
        (0.01, 80, "num_steps=80"),
        (0.0, 20, "Check that the loss can fall: a larger validation set"),
    ],
)
def test_more_steps_are_advised_as_far_as_there_are_any(effect, longest, told):
    curve = lifted(effect)
    assert int(curve.horizons[-1]) == 20
    (warning,) = warnings_of(curve, longest=longest).values()
    assert told in warning.remedy


def test_a_clean_curve_gives_none():
    assert warnings_of(curve_from(HALVES, V)) == {}


@pytest.mark.parametrize(
    ("losses", "name"),
    [
        (np.full(17, 1.0), "no_learning"),
        (np.linspace(1.2, 9, 17), "no_learning"),
        (np.full(17, np.inf), "all_diverged"),
    ],
)
def test_with_no_learning_and_all_diverged_no_other_is_given(losses, name):
    warnings = find_warnings(
        curve_from(HALVES, losses),
        find_window(curve_from(HALVES, losses)),
        baseline_loss=0.5,
        untouched_loss=np.array([99.0]),
        stochastic=True,
    )
    assert [warning.name.value for warning in warnings] == [name]
    assert warnings[0].remedy


def test_the_literal_window_is_warned_about_too():
    clean, edge = curve_from(HALVES, V), line(HALVES, [-3, 1], [1, 0])
    assert find_warnings(clean, find_window(clean, literal=True)) == ()
    assert [warning.name for warning in find_warnings(edge, find_window(edge, literal=True))] == ["edge_high"]


def test_tiny_effect_replaces_small_progress():
    assert set(warnings_of(lifted(0.01))) == {"tiny_effect"}


@pytest.mark.parametrize("initial", [0.0, -1.0, -50.0])
def test_progress_is_not_judged_against_a_loss_that_is_not_positive(initial):
    curve = curve_from(HALVES, initial + 1e-2 * (V - 1), initial)
    assert not {"tiny_effect", "small_progress"} & set(warnings_of(curve))
    positive = curve_from(HALVES, 1 + 1e-2 * (V - 1), 1.0)
    assert not {"small_progress"} & set(warnings_of(positive, baseline_loss=-3.0))


def test_progress_is_judged_against_the_best_constant_predictor():
    """From 1 to 0.61: 39 % below the start, but only 24 % below a constant predictor's 0.8."""
    warning = warnings_of(lifted(0.39), baseline_loss=0.8)["small_progress"]
    assert "24%" in warning.message
    assert "best constant predictor's 0.8" in warning.message
    assert "small_progress" not in warnings_of(lifted(0.41), baseline_loss=0.8)
    assert "is 2% above the best" in warnings_of(lifted(0.49), baseline_loss=0.5)["small_progress"].message
    assert "small_progress" not in warnings_of(lifted(0.39), baseline_loss=1.5)  # the start is below it


def test_progress_is_judged_against_a_start_that_is_better_than_a_constant_predictor():
    """From 1 to 0.8: 20 % below the start, though 47 % below a constant predictor's 1.5."""
    warning = warnings_of(lifted(0.2), baseline_loss=1.5)["small_progress"]
    assert "20%" in warning.message
    assert "untouched parameters' 1" in warning.message


def test_noise_is_measured_seed_by_seed():
    """Two seeds whose noise cancels in the mean."""
    noise = np.zeros(17)
    noise[:9] = 0.03 * (-1) ** np.arange(9)
    assert "noisy" in warnings_of(curve_from(HALVES, np.stack([V + noise, V - noise])))


@pytest.mark.parametrize("step", [0.5, 0.25, None])
def test_noise_is_measured_in_its_own_size_on_even_and_uneven_grids(step):
    """White noise of 3 and of 8 % of the effect, over a long plateau: below and above 5 % whatever the grid."""
    rng = np.random.default_rng(0)
    x = np.unique(rng.uniform(-7, 1, 32).round(2)) if step is None else np.arange(-7, 0.76, step)
    clean = np.interp(x, [-3, -1, 1], [1, 0, 1])
    for size, noisy in ((0.03, False), (0.08, True)):
        losses = clean + size * rng.normal(size=(40, len(x)))
        losses[:, np.abs(x + 1).argmin()] = 0  # the minimum's own noise is not asked about
        assert ("noisy" in warnings_of(curve_from(x, losses))) == noisy


def test_noise_needs_three_points_on_the_plateau():
    """With two, any kink would look like noise."""
    x = np.array([-4, -3.5, -3, -2, -1, 0])
    assert "noisy" not in warnings_of(curve_from(x, np.array([1, 0.9, 1, 0.5, 0, 1])))
    assert "noisy" not in warnings_of(curve_from(x[2:], np.array([1.0, 0.5, 0, 1])))


def test_narrow_basins_give_one_warning():
    x = np.sort([*HALVES, -3.02, -2.98])
    curve = curve_from(x, np.where(np.isclose(x, -3), 0.0, 1.0))
    assert set(warnings_of(curve)) == {"narrow_window"}
    assert "0.00 decades" in warnings_of(curve)["narrow_window"].message


def test_warnings_come_in_the_order_of_their_names():
    curve = curve_from(HALVES, 1 - 0.1 * (1 - np.asarray(alternating(0.03).final[0])))
    names = [warning.name for warning in find_warnings(curve, find_window(curve), stochastic=True)]
    assert names == [name for name in WarningName if name in names]
    assert [name.value for name in names] == ["small_progress", "noisy", "stochastic_eval"]


def find(task):
    return lrjax.find_lr(
        task,
        optax.sgd,
        lrjax.StepSampling(num_steps=4, num_seeds=1, refine=None, min_lr=1e-3, max_lr=1.0, extend_range=False),
        key=jax.random.key(0),
        executor="map",
        throw=False,
    )


def given(result):
    return {warning.name.value: warning for warning in result.warnings}


def test_stochastic_eval_through_find_lr():
    def loss_fn(w, batch, key):
        kept = jax.random.bernoulli(key, 0.5, batch.shape)
        return jnp.mean(((batch * kept) @ w - 1.0) ** 2)

    task = dict(
        init=jnp.zeros(2) + 0.1,
        loss_fn=loss_fn,
        sample_batches=lambda key, num_steps: jnp.ones((num_steps, 8, 2)),
        eval_batches=[jnp.ones((8, 2))],
    )
    warning = given(find(lrjax.Task(**task)))["stochastic_eval"]
    assert "random key" in warning.message
    assert "eval_fn" in warning.remedy
    quiet = lrjax.Task(**task, eval_fn=lambda w, batch: jnp.mean((batch @ w - 1.0) ** 2))
    assert "stochastic_eval" not in given(find(quiet))


@pytest.mark.parametrize(("drift", "stale"), [(0.0, False), (0.1, False), (3.0, True)])
def test_stale_statistics_through_find_lr(drift, stale):
    """The state alone adds 4 * drift to the loss in 4 steps; half of the effect of learning is about 0.5."""

    def loss_fn(w, shift, batch, key):
        return jnp.mean((batch @ w - 1.0) ** 2) + jnp.sum(shift), shift + drift

    task = lrjax.Task.stateful(
        init=(jnp.zeros(2), jnp.zeros(1)),
        loss_fn=loss_fn,
        sample_batches=lambda key, num_steps: jnp.ones((num_steps, 8, 2)),
        eval_batches=[jnp.ones((8, 2))],
    )
    result = find(task)
    assert float(result.curve.initial_loss[0]) == pytest.approx(1 + 4 * drift)  # measured at learning rate 0
    assert ("stale_statistics" in given(result)) == stale
    if stale:
        assert "from 1 to 13" in given(result)["stale_statistics"].message

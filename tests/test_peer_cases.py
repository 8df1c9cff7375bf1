"""What other finders test, and what broke them, asked of ours. Those of the range test are in test_range_rules.py."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from definition import HALVES, close
from problems import curve_from

import lrjax
from lrjax import Outcome, find_warnings, find_window, half_loss, lowest_loss, midpoint, steepest
from lrjax.demos import digits

NAN, INF = float("nan"), float("inf")
RULES = [midpoint, half_loss, steepest, lowest_loss]
KEY = jax.random.key(0)
U = np.interp(HALVES, [-4, -3.5, -2.5, -2, -1], [1, 0.85, 0.15, 0, 1.2])


def window_of(losses, x=HALVES, initial=1.0):
    return find_window(curve_from(x, np.asarray(losses, float), initial))


def picks(losses, x=HALVES, initial=1.0):
    curve = curve_from(x, np.asarray(losses, float), initial)
    return [math.log10(float(rule(curve, find_window(curve)))) for rule in RULES]


def names(losses, x=HALVES, initial=1.0):
    curve = curve_from(x, np.asarray(losses, float), initial)
    return {warning.name.value for warning in find_warnings(curve, find_window(curve))}


# torch-lr-finder


@pytest.mark.parametrize(
    ("losses", "lowest", "warning"),
    [
        ([10, 8, 4, 1, 4, 16], 3, None),
        ([1, 0, 1, 2, 3, 4], 1, None),
        ([0, 1, 2, 3, 4, 3], 0, "edge_low"),
        ([5, 4, 3, 2, 1, 0], 5, "edge_high"),
    ],
)
def test_torch_lr_finder_shapes(losses, lowest, warning):
    """torch-lr-finder, test_suggest_lr: learning rates 0..5, here 1e-5..1; the curve is told, not only answered."""
    x = np.arange(-5.0, 1)
    window = window_of(losses, x, max(losses[0], 1))
    assert close(window.max_lr, x[lowest], 0.2)
    assert float(window.min_lr) <= float(window.max_lr)
    assert warning is None or warning in names(losses, x, max(losses[0], 1))


def test_torch_lr_finder_extra_items_in_a_batch():
    """torch-lr-finder, ExtraXOR and the XOR task: eight bits, their parity, and an item that the loss ignores."""
    bits = (np.arange(256)[:, None] >> np.arange(8)) % 2
    batch = {"x": bits.astype(np.float32), "y": bits.sum(1) % 2.0, "extra": np.arange(256)}

    def init(key):
        first, second = jax.random.split(key)
        return [jax.random.normal(first, (8, 16)), 0.1 * jax.random.normal(second, (16,))]

    def loss_fn(params, batch, key):
        return jnp.mean((jnp.tanh(batch["x"] @ params[0]) @ params[1] - batch["y"]) ** 2)

    task = lrjax.Task.from_arrays(init, loss_fn, train=batch, validation=batch, batch_size=64)
    result = lrjax.find_lr(task, optax.sgd, lrjax.StepSampling(num_seeds=1, refine=None), key=KEY, executor="map")
    assert 1e-3 < result.lr < 1


# Lightning


@pytest.mark.parametrize("value", [NAN, INF])
def test_lightning_a_nan_at_the_end_changes_nothing(value):
    """Lightning, test_suggestion_with_non_finite_values: its pick is that of the curve without the last point."""
    capped, broken = U.copy(), U.copy()
    capped[-1], broken[-1] = 9.0, value
    assert picks(broken) == picks(capped)


def test_lightning_non_finite_values_everywhere_but_in_the_basin():
    """Lightning, test_suggestion_not_enough_finite_points: [nan, nan, 0, inf, 1, 2, 3, inf, 2, nan, 1] succeeds."""
    losses = [NAN, NAN, 0, INF, 1, 2, 3, INF, 2, NAN, 1]
    x = np.arange(-10.0, 1)
    assert close(window_of(losses, x, 1.5).max_lr, -8, 0.05)
    assert window_of([NAN] * 4 + [0.5] + [INF] * 4, np.arange(-8.0, 1)).outcome is Outcome.found


def test_lightning_a_sine_over_log_lr():
    """Lightning, test_suggestion_with_uneven_spacing: sin on [0, 2 pi] is steepest at pi; here over ln(lr)."""
    t = np.linspace(0, 2 * np.pi, 31)
    curve = curve_from(t / math.log(10), np.sin(t))
    for literal in (False, True):
        window = find_window(curve, literal=literal)
        assert close(steepest(curve, window), math.pi / math.log(10), 0.03)
        assert close(window.max_lr, 1.5 * math.pi / math.log(10), 0.05)


def test_lightning_21141_noise_must_not_drag_the_pick_to_the_smallest_lrs():
    """Lightning#21141: losses (-x^2 - 30 x + 4000) / 1000, x from -50 to 50, lr from 1e-8 to 1, noise +-0.1."""
    x, exponents = np.linspace(-50, 50, 100), np.linspace(-8, 0, 100)
    clean = (-(x**2) - 30 * x + 4000) / 1000
    wanted = picks(clean, exponents, 3.0)
    draws = [clean + np.random.default_rng(seed).uniform(-0.1, 0.1, 100) for seed in range(20)]
    moved = 10 ** np.abs([np.subtract(picks(noisy, exponents, 3.0), wanted) for noisy in draws])
    assert np.median(moved, axis=0).max() < 2
    assert moved.max() < 6  # bent over its whole length the curve has no knee, and it is cut off at the right
    assert moved[:, 1].max() < 1.3  # half_loss
    assert all("edge_high" in names(noisy, exponents, 3.0) for noisy in draws[:3])


def test_lightning_1767_an_early_spike_does_not_decide():
    """Lightning#1767: one low or high point on the plateau."""
    for position in range(1, 5):
        for height in (-0.1, 0.15):
            losses = U.copy()
            losses[position] += height
            assert np.abs(np.subtract(picks(losses), picks(U))).max() < 0.05, (position, height)


def test_lightning_14167_a_flat_loss_stays_flat():
    """Lightning#14167: its average of a flat loss rises from half of it; ours records what was measured."""
    task = lrjax.Task(
        init=jnp.ones(2),
        loss_fn=lambda w, batch, key: 2.5 + 0.0 * jnp.sum(w) * jnp.sum(batch),
        sample_batches=lambda key, num_steps: jnp.ones((num_steps, 4)),
        eval_batches=[jnp.ones(4)],
    )
    curve = lrjax.sample_losses(task, optax.sgd, [1e-3, 1e-2, 1e-1], key=KEY, num_steps=3, executor="map")
    assert curve.final.tolist() == [[2.5, 2.5, 2.5]]
    assert find_window(curve).outcome is Outcome.no_learning


# ignite


def test_ignite_a_parabola_over_linear_lrs():
    """ignite, test_lr_suggestion_single_param_group: (linspace(-5, 5, 100)^2 + 0.05) on linspace(0.01, 10, 100)."""
    lrs = np.linspace(0.01, 10, 100)
    losses = np.linspace(-5, 5, 100) ** 2 + 0.05
    window = window_of(losses, np.log10(lrs), losses[0])
    assert float(window.best_lr) == pytest.approx(5, rel=0.02)
    assert float(window.max_lr) == pytest.approx(5, rel=0.2)  # over log10(lr) the right side is the steeper one
    assert 0.3 < 10 ** picks(losses, np.log10(lrs), losses[0])[0] < 5


def test_ignite_a_curve_that_starts_at_its_minimum_is_told_and_not_an_error():
    """ignite, test_lr_suggestion_unexpected_curve: "should be U-shaped"."""
    assert {"edge_low", "no_plateau"} <= names(np.linspace(0.2, 2, 17))
    assert names(np.linspace(1.0, 2, 17)) == {"no_learning"}


def test_ignite_a_curve_that_never_diverges_is_told():
    """ignite warns if the run never diverged."""
    assert "edge_high" in names(np.interp(HALVES, [-4, 1], [1, 0]))
    assert "edge_high" not in names(U)


@pytest.mark.parametrize("make_optimizer", [optax.sgd, optax.adam])
def test_ignite_bounds_on_handwritten_digits(make_optimizer):
    """ignite, test_integration_on_mnist: the pick lies in 1e-4..2."""
    result = lrjax.find_lr(
        digits(), make_optimizer, lrjax.StepSampling(num_seeds=1, refine=None), key=KEY, executor="vmap"
    )
    assert 1e-4 <= result.lr <= 2
    assert not {"no_plateau", "edge_high", "noisy"} & {warning.name for warning in result.warnings}


# others


def test_ktrain_prepended_plateau_points_do_not_move_a_pick():
    """ktrain loses the offset of its slice; fastai's valley moves by design."""
    for count in (1, 5, 12):
        x = np.concatenate([-7 - 0.5 * np.arange(count, 0, -1), HALVES])
        np.testing.assert_allclose(picks(np.concatenate([np.ones(count), U]), x), picks(U), atol=1e-4)


def test_deep_patient_level_prediction_141_descent_and_not_ascent():
    """DeepPatientLevelPrediction#141: a sign error took the steepest rise."""
    losses = np.interp(HALVES, [-4, -2, -1.5, -1], [1, 0, 1, 2])
    assert picks(losses)[2] < -2
    assert (np.array(picks(losses)) <= -2 + 1e-3).all()


@pytest.mark.parametrize("index", range(3, 14))
def test_wittmann_a_loss_belongs_to_the_lr_that_made_it(index):
    """WittmannF/LRFinder files the loss of a learning rate under the next one, and lets the last one leak in."""
    losses = np.ones(17)
    losses[index] = 0.0
    curve = curve_from(HALVES, losses)
    window = find_window(curve)
    assert lowest_loss(curve, window) == curve.lrs[index]
    assert close(window.max_lr, HALVES[index])


def test_fastai_slides_threshold_is_not_scale_free_and_ours_is():
    """fastai, slide: an absolute threshold; here y and 1000 y."""
    np.testing.assert_allclose(picks(1000 * U, initial=1000.0), picks(U), atol=1e-4)


@pytest.mark.parametrize(
    ("losses", "outcome", "given"),
    [
        (np.full(17, NAN), Outcome.all_diverged, {"all_diverged"}),
        (np.full(17, 1.0), Outcome.no_learning, {"no_learning"}),
        ([0.5] + [NAN] * 16, Outcome.found, {"edge_low", "no_plateau"}),
        ([1.0] + [NAN] * 16, Outcome.no_learning, {"no_learning"}),
        (np.linspace(0.9, 0.1, 17), Outcome.found, {"edge_high"}),
        (np.linspace(0.1, 0.9, 17), Outcome.found, {"edge_low"}),
    ],
    ids=["all nan", "flat", "only the first finite", "only the first, untouched", "falling", "rising"],
)
def test_shapes_that_give_others_none_or_an_exception(losses, outcome, given):
    """Lightning#5044, #10557, ignite#1482, torch-lr-finder#10: None, IndexError, argmin of a NaN."""
    window = window_of(losses)
    assert window.outcome is outcome
    assert given <= names(losses)

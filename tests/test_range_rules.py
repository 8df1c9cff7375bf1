"""The rules on a recorded range test: the peers' cases, the bugs found in them, and what must always hold."""

import functools
import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inside import running_median

from lrjax import range_rules

CurveShape = range_rules.CurveShape
NAN, INF = float("nan"), float("inf")

RULES = {  # with nothing skipped, so that all see the same points
    "fastai_valley": range_rules.fastai_valley,
    "fastai_slide": range_rules.fastai_slide,
    "fastai_minimum": range_rules.fastai_minimum,
    "fastai_steep": range_rules.fastai_steep,
    "lightning_index": functools.partial(range_rules.lightning_index, skip_begin=0, skip_end=0),
    "lightning": functools.partial(range_rules.lightning, skip_begin=0, skip_end=0),
    "torch_lr_finder": functools.partial(range_rules.torch_lr_finder, skip_start=0, skip_end=0),
    "ignite": range_rules.ignite,
    "steepest_log": range_rules.steepest_log,
}
LIGHTNING = {"2.5.2": range_rules.lightning_index, "2.5.3": range_rules.lightning}
every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
every_lightning = pytest.mark.parametrize("rule", LIGHTNING.values(), ids=LIGHTNING.keys())

LRS = np.logspace(-7, 1, 97)
STEEPEST = 10.0**-3


def u_curve(x=None):
    """Plateau 2.3, steepest at 1e-3, minimum near 1e-2, rising from 1e-1 on."""
    x = np.log10(LRS) if x is None else x
    return 2.3 - 1.8 / (1 + np.exp(-3 * (x + 3))) + np.exp(4 * (x + 0.3))


# torch-lr-finder, tests/test_lr_finder.py


@pytest.mark.parametrize(
    ("losses", "index"), [([10, 8, 4, 1, 4, 16], 2), ([1, 0, 1, 2, 3, 4], 0), ([0, 1, 2, 3, 4, 3], 5)]
)
def test_torch_lr_finder_test_suggest_lr(losses, index):
    found = range_rules.torch_lr_finder(np.arange(1, 7), losses, skip_start=0, skip_end=0)
    assert found[:3] == (index + 1, index, losses[index])


@pytest.mark.parametrize("skip_start", [0, 5, 10])
@pytest.mark.parametrize("skip_end", [0, 5, 10])
def test_torch_lr_finder_test_plot_with_skip_and_suggest_lr(skip_start, skip_end):
    lrs, losses = np.logspace(-5, -1, 11), np.linspace(1.0, 0.0, 11) ** 2
    rule = functools.partial(range_rules.torch_lr_finder, skip_start=skip_start, skip_end=skip_end)
    if skip_start + skip_end + 2 > 11:
        with pytest.raises(ValueError, match="Need at least 2 points for `torch_lr_finder`, got "):
            rule(lrs, losses)
    else:
        found = rule(lrs, losses)
        assert skip_start <= found.index < 11 - skip_end
        assert found.lr == lrs[found.index]


# Lightning, tests/tests_pytorch/tuner/test_lr_finder.py

MIXED = [NAN, NAN, 0, INF, 1, 2, 3, INF, 2, NAN, 1]


@every_lightning
@pytest.mark.parametrize(
    ("skip_begin", "skip_end", "losses", "enough"),
    [
        (0, 0, [], False),
        (10, 1, [], False),
        (0, 2, [0, 1, 2], False),
        (0, 1, [0, 1, 2], True),
        (1, 1, [0, 1, 2], False),
        (1, 1, [0, 1, 2, 3], True),
        (0, 1, MIXED, True),
        (4, 1, MIXED, True),
    ],
)
def test_lightning_test_suggestion_not_enough_finite_points(rule, skip_begin, skip_end, losses, enough):
    lrs = np.arange(1, len(losses) + 1)
    if enough:
        found = rule(lrs, losses, skip_begin=skip_begin, skip_end=skip_end)
        assert skip_begin <= found.index < len(losses) - skip_end
        assert np.isfinite(losses[found.index])
    else:
        with pytest.raises(ValueError, match=r"[Nn]eed at least 2 points|at least one entry"):
            rule(lrs, losses, skip_begin=skip_begin, skip_end=skip_end)


def test_lightning_gradient_uses_the_spacing_on_a_sine():
    lrs = np.linspace(0, 2 * np.pi, 1001)[1:]
    found = range_rules.lightning(lrs, np.sin(lrs), skip_begin=0, skip_end=0)
    assert abs(found.lr - np.pi) < 1e-2


def test_log_twin_of_lightnings_sine():
    u = np.linspace(0, 2 * np.pi, 1001)
    found = range_rules.steepest_log(np.exp(u), np.sin(u), sigma_decades=0.05)
    assert abs(np.log(found.lr) - np.pi) < 1e-2
    assert abs(np.log(range_rules.steepest_log(np.exp(u), np.sin(u)).lr) - np.pi) < 0.2


@every_lightning
def test_lightning_test_suggestion_with_non_finite_values(rule):
    losses = u_curve()
    broken = np.append(losses[:-1], NAN)
    assert rule(LRS, losses)[:3] == rule(LRS, broken)[:3]


@every_lightning
def test_lightning_test_suggestion_parameters_work(rule):
    assert rule(LRS, u_curve(), skip_begin=10).index != rule(LRS, u_curve(), skip_begin=70).index


@every_lightning
def test_lightning_test_training_step_none_output(rule):
    losses = np.linspace(2.0, 0.5, 20)
    losses[[5, 12, 17]] = NAN
    found = rule(LRS[:20], losses)
    assert np.isfinite(found.lr)
    assert found.index not in (5, 12, 17)


@every_lightning
def test_lightning_test_lr_attribute_when_suggestion_invalid(rule):
    with pytest.raises(ValueError, match=r"got 0 after dropping skip_begin=10 and skip_end=1 of 1\."):
        rule([0.1], [1.0])


@every_lightning
def test_lightning_21923_skip_end_0_keeps_the_last_point(rule):
    lrs, losses = [0.1, 0.2, 0.3, 0.4], [10.0, 9.0, 8.0, 1.0]
    assert rule(lrs, losses, skip_begin=0, skip_end=0).index == 3
    assert rule(lrs, losses, skip_begin=0, skip_end=1).index < 3


@every_lightning
def test_lightning_252_index_is_mapped_back_past_dropped_losses(rule):
    losses = [5.0, NAN, 5.0, INF, 5.0, 5.0, 1.0, 1.0]
    found = rule(np.arange(1, 9), losses, skip_begin=1, skip_end=0)
    assert found[:3] == (6.0, 5, 5.0)  # 2.5.2 would name index 3, where the loss is inf


# ignite, tests/ignite/handlers/test_lr_finder.py


def test_ignite_test_lr_suggestion_single_param_group():
    found = range_rules.ignite(np.linspace(0.01, 10, 100), np.linspace(-5, 5, 100) ** 2 + 0.05)
    assert found.lr == pytest.approx(0.110909089, rel=1e-6)


def test_ignite_test_lr_suggestion_multiple_param_groups():
    lrs, losses = np.linspace(0.01, 10, 100).reshape(50, 2), np.linspace(-5, 5, 50) ** 2 + 0.06
    found = [range_rules.ignite(group, losses).lr for group in lrs.T]
    assert found == pytest.approx([0.21181818, 0.31272727], rel=1e-6)


def test_ignite_test_lr_suggestion_unexpected_curve():
    with pytest.raises(ValueError, match=r"must be U-shaped.*lower the lower end"):
        range_rules.ignite(LRS, np.append(0.0, u_curve()[:-1]))
    with pytest.raises(ValueError, match="must be U-shaped"):
        range_rules.ignite([0.1, 0.2, 0.3], [2.0, 1.0, 3.0])  # one point short
    with pytest.raises(ValueError, match="must be U-shaped"):
        range_rules.ignite([0.1, 0.2, 0.3], [NAN, 2.0, 1.0])


# fastai, nbs/14_callback.schedule.ipynb


def test_fastai_four_methods_and_a_partial_give_numbers_inside_the_range():
    slide = functools.partial(range_rules.fastai_slide, threshold=0.01)
    methods = [RULES[name] for name in RULES if name.startswith("fastai")]
    for rule in (*methods, slide):
        found = rule(LRS, u_curve(), num_steps=97)
        assert LRS[0] / 10 <= found.lr <= LRS[-1]
        assert 9 <= found.index < 92


def test_fastai_trim_drops_the_first_tenth_the_last_five_and_all_from_the_first_nan():
    losses = np.arange(100, 0, -1.0)
    kept = range_rules.fastai_trim(LRS, losses[:97], 100)
    assert (kept.start, kept.losses.size) == (10, 82)
    np.testing.assert_array_equal(kept.lrs, LRS[10:92])
    early = losses[:97].copy()
    early[3] = NAN  # within the first tenth: harmless
    early[50], early[40] = NAN, INF  # inf is kept
    kept = range_rules.fastai_trim(LRS, early, 100)
    np.testing.assert_array_equal(kept.losses, early[10:50])
    assert range_rules.fastai_trim(LRS[:12], losses[:12], 100).losses.size == 0


def test_fastai_first_tenth_counts_planned_steps_after_an_early_stop():
    assert range_rules.fastai_trim(LRS[:40], u_curve()[:40], 97).start == 9
    found = range_rules.fastai_minimum(LRS[:40], -np.arange(40.0), num_steps=97)
    assert found.index == 34


@pytest.mark.parametrize("name", [name for name in RULES if name.startswith("fastai")])
def test_fastai_3658_too_few_points_is_a_sentence_not_an_index_error(name):
    with pytest.raises(ValueError, match=rf"Need at least \d+ points for `{name}`, got 0 of 12 after dropping"):
        RULES[name](LRS[:12], u_curve()[:12], num_steps=97)


def test_fastai_slide_needs_lr_diff_plus_one_points():
    with pytest.raises(ValueError, match="Need at least 16 points for `fastai_slide`, got 15 of 15"):
        range_rules.fastai_slide(LRS[:15], u_curve()[:15])
    assert range_rules.fastai_slide(LRS[:16], u_curve()[:16]).index == 0


@given(losses=st.lists(st.integers(0, 6), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_fastai_valley_against_every_subsequence(losses):
    def longest_ending_at(end):
        for length in range(end + 1, 0, -1):
            for chosen in itertools.combinations(losses[:end], length - 1):
                if all(a > b for a, b in itertools.pairwise((*chosen, losses[end]))):
                    return length
        raise AssertionError

    lengths = [longest_ending_at(end) for end in range(len(losses))]
    length = max(lengths)
    start = lengths.index(length) - length
    expected = max(0, start + int(length / 3) + int(length / 6)) if length > 1 else 0
    assert range_rules.fastai_valley(LRS[: len(losses)], losses).index == expected


def test_fastai_valley_of_two_points_is_not_the_largest_lr():
    """fastai's index is -1 here, which names the last and largest learning rate."""
    assert range_rules.fastai_valley(LRS[:6], [3.0, 2.0, 5.0, 9.0, 20.0, 80.0]).index == 0


@given(losses=st.lists(st.integers(-30, 30), min_size=6, max_size=30), scale=st.sampled_from([0.001, 0.02, 1.0]))
@settings(max_examples=60, deadline=None)
def test_fastai_slide_against_a_literal_walk_from_the_right(losses, scale):
    lrs, losses = LRS[: len(losses)], scale * np.array(losses)
    slopes = np.gradient(losses)
    right, left = len(losses) - 1, len(losses) - 6
    answer = left
    while left >= 0 and abs(slopes[right] - slopes[left]) > 0.005:
        answer, right, left = left, right - 1, left - 1
    assert range_rules.fastai_slide(lrs, losses, lr_diff=5).index == answer


def test_fastai_slide_adjusts_the_lr_and_not_the_index():
    plain, adjusted = (range_rules.fastai_slide(LRS, u_curve(), adjust=adjust) for adjust in (1.0, 0.5))
    assert adjusted.lr == plain.lr / 2
    assert adjusted.index == plain.index


def test_fastai_minimum_is_a_tenth_and_points_at_the_minimum():
    found = range_rules.fastai_minimum(LRS, u_curve())
    assert found.index == np.argmin(u_curve())
    assert found.lr == LRS[found.index] / 10


def test_fastai_valley_depends_on_where_the_range_starts():
    """A known fault: a drifting plateau counts as valley. One curve, from 1e-8 and from 1e-5."""
    answers = []
    for low in (-8, -5):
        x = np.linspace(low, 0, 100)
        answers.append(range_rules.fastai_valley(10.0**x, 2.3 - 1e-3 * x - 1.8 / (1 + np.exp(-3 * (x + 3)))).lr)
    assert answers[1] > 10 * answers[0]


# The bugs found


def curve_of_lightning_21141():
    x = np.linspace(-50, 50, 100)
    return 1e-8 * 1e8 ** (np.arange(1, 101) / 100), (-(x**2) - 30 * x + 4000) / 1000


def test_lightning_21141_noise_moves_the_steepest_descent_by_less_than_x3():
    lrs, clean = curve_of_lightning_21141()
    noisy = clean + np.random.RandomState(42).uniform(-0.1, 0.1, 100)
    ratio = range_rules.steepest_log(lrs, noisy).lr / range_rules.steepest_log(lrs, clean).lr
    assert 1 / 3 < ratio < 3
    assert range_rules.lightning(lrs, noisy).lr < 1e-5  # the reported fault: the steepest descent is at 1


def test_lightning_21141_over_many_draws_of_the_noise():
    lrs, clean = curve_of_lightning_21141()
    rng = np.random.default_rng(0)
    draws = [clean + rng.uniform(-0.1, 0.1, 100) for _ in range(40)]
    wide = [range_rules.steepest_log(lrs, noisy, sigma_decades=0.5).lr for noisy in draws]
    default = [range_rules.steepest_log(lrs, noisy).lr for noisy in draws]
    assert np.mean(np.array(wide) > 1 / 3) >= 0.95
    assert np.mean(np.array(default) > 1 / 3) >= 0.7
    assert min(default) > 1 / 20
    assert max(range_rules.lightning(lrs, noisy).lr for noisy in draws) < 1e-4


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.05])
def test_steepest_log_finds_the_descent_under_noise(noise):
    rng = np.random.default_rng(1)
    for _ in range(10):
        found = range_rules.steepest_log(LRS, u_curve() + rng.normal(0, noise, LRS.size))
        assert STEEPEST / 2 < found.lr < STEEPEST * 2


def test_steepest_log_is_not_bent_by_a_diverging_end():
    losses = u_curve(np.minimum(np.log10(LRS), -1.5))
    losses[LRS > 10**-1.5] = 1e6
    assert STEEPEST / 1.5 < range_rules.steepest_log(LRS, losses).lr < STEEPEST * 1.5


def test_steepest_log_without_a_width_reads_central_differences():
    for seed in range(5):
        losses = u_curve(np.log10(LRS)) + 0.3 * np.random.default_rng(seed).normal(size=LRS.size)
        lowest = int(losses.argmin())
        until = np.where(np.arange(LRS.size) < lowest, losses, losses[lowest])
        slopes = np.gradient(until, np.log10(LRS))
        assert range_rules.steepest_log(LRS, losses, sigma_decades=0.0).lr == LRS[slopes[:lowest].argmin()]


def test_the_median_of_three_treats_both_ends_alike():
    for seed in range(20):
        losses = np.random.default_rng(seed).normal(size=3 + seed // 3)
        np.testing.assert_array_equal(running_median(losses[::-1]), running_median(losses)[::-1])


@pytest.mark.parametrize("sigma_decades", [0.0, 0.05, 0.3, 0.45])
@pytest.mark.parametrize("points", [9, 17, 33, 400])
def test_steepest_log_on_coarse_and_fine_grids(points, sigma_decades):
    lrs = np.logspace(-7, 1, points)
    found = range_rules.steepest_log(lrs, u_curve(np.log10(lrs)), sigma_decades=sigma_decades)
    assert STEEPEST / 2 < found.lr < STEEPEST * 2


@pytest.mark.parametrize("position", [0, 1, 2, 5, 20, 60])
def test_lightning_1767_a_lone_spike_does_not_decide(position):
    losses = u_curve()
    losses[position] += 5.0
    assert STEEPEST / 1.5 < range_rules.steepest_log(LRS, losses).lr < STEEPEST * 1.5


def test_lightning_1767_the_peers_need_skipping():
    losses = u_curve()
    losses[5] += 5.0
    assert range_rules.lightning_index(LRS, losses, skip_begin=0).index == 6
    assert STEEPEST / 2 < range_rules.lightning_index(LRS, losses).lr < STEEPEST * 2
    assert STEEPEST / 2 < range_rules.steepest_log(LRS, losses, skip_begin=10, sigma_decades=0.0).lr < STEEPEST * 2


@pytest.mark.parametrize("name", [name for name in RULES if name != "lightning"])
def test_fastai_962_a_shifted_loss_gives_the_same_answer(name):
    losses = np.round(u_curve() * 2**20) / 2**20  # so that a shift is exact
    assert RULES[name](LRS, losses).index == RULES[name](LRS, losses - 1024).index


@pytest.mark.parametrize("name", [name for name in RULES if name != "fastai_slide"])
def test_a_scaled_loss_gives_the_same_answer(name):
    assert RULES[name](LRS, u_curve()).index == RULES[name](LRS, u_curve() * 1024).index


def test_fastai_slide_alone_depends_on_the_unit_of_the_loss():
    picks = {range_rules.fastai_slide(LRS, u_curve() * scale).index for scale in (1e-5, 1.0)}
    assert len(picks) == 2


@pytest.mark.parametrize(
    "name", ["fastai_minimum", "fastai_steep", "lightning_index", "torch_lr_finder", "ignite", "steepest_log"]
)
def test_ktrain_prepended_plateau_points_do_not_move_the_pick(name):
    start = 36  # 1e-4
    longer, shorter = RULES[name](LRS, u_curve()), RULES[name](LRS[start:], u_curve()[start:])
    assert longer.index == shorter.index + start
    assert longer.lr == shorter.lr


def test_ktrain_prepended_plateau_points_do_move_the_valley():
    assert range_rules.fastai_valley(LRS, u_curve()).lr < range_rules.fastai_valley(LRS[36:], u_curve()[36:]).lr


@pytest.mark.parametrize("name", [name for name in RULES if name not in ("ignite", "steepest_log")])
def test_a_flat_loss_is_told_apart(name):
    found = RULES[name](LRS, np.full(97, 2.3))
    assert found.shape is CurveShape.FLAT


def test_a_flat_loss_is_an_error_where_a_descent_is_needed():
    for rule in (range_rules.ignite, range_rules.steepest_log):
        with pytest.raises(ValueError, match="The loss is the same at every learning rate"):
            rule(LRS, np.full(97, 2.3))
    with pytest.raises(ValueError, match='got none better than the first ones with mode="min"'):
        range_rules.smith_bounds(LRS, np.full(97, 2.3))


@every_rule
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_no_finite_loss_is_an_error(rule, value):
    with pytest.raises(ValueError, match=r"must hold a finite number\. No loss is finite"):
        rule(LRS, np.full(97, value))


def test_one_finite_loss_is_too_few_for_a_slope():
    losses = np.append(2.3, np.full(96, NAN))
    for name in ("lightning", "lightning_index", "steepest_log", "fastai_steep"):
        with pytest.raises(ValueError, match="Need at least 2 points"):
            RULES[name](LRS, losses)
    with pytest.raises(ValueError, match="with a finite gradient"):
        RULES["torch_lr_finder"](LRS, losses)
    assert RULES["fastai_minimum"](LRS, losses).index == 0


@every_rule
def test_a_falling_loss_is_right_censored(rule):
    found = rule(LRS, np.linspace(2.3, 0.1, 97))
    assert found.shape is CurveShape.FALLING
    assert np.isfinite(found.lr)


@pytest.mark.parametrize("name", RULES)
def test_a_rising_loss_is_left_censored(name):
    losses = np.linspace(0.1, 2.3, 97)
    if name in ("ignite", "steepest_log"):
        with pytest.raises(ValueError, match="lower the lower end of the range"):
            RULES[name](LRS, losses)
    else:
        assert RULES[name](LRS, losses).shape is CurveShape.RISING


@pytest.mark.parametrize("name", [name for name in RULES if name not in ("fastai_valley", "fastai_slide")])
def test_the_descent_and_not_the_ascent_is_steepest(name):
    """DeepPatientLevelPrediction #141: argmax for argmin."""
    losses = np.concatenate([np.full(40, 2.0), np.linspace(2.0, 1.0, 20), np.linspace(1.0, 90.0, 37)])
    assert 39 <= RULES[name](LRS, losses).index <= 59


@pytest.mark.parametrize("name", ["fastai_steep", "lightning_index", "torch_lr_finder", "steepest_log"])
def test_the_label_is_that_of_the_step(name):
    """WittmannF/LRFinder labels entry i with the learning rate of i + 1."""
    losses = np.where(np.arange(97) < 50, 2.0, 1.0)
    found = RULES[name](LRS, losses)
    assert found.index == 49  # the last point before the fall: the first of two equal slopes
    assert (found.lr, found.loss) == (LRS[49], 2.0)


def test_non_finite_losses_in_the_middle_are_never_chosen():
    losses = u_curve()
    losses[[50, 51, 70]] = INF, NAN, -INF
    for name in ("lightning_index", "lightning", "torch_lr_finder", "ignite", "steepest_log"):
        assert np.isfinite(RULES[name](LRS, losses).loss), name


def test_fastai_steep_ignores_steps_at_an_infinite_loss():
    losses = np.array([3.0, INF, 2.9, 2.0, 1.9])
    assert range_rules.fastai_steep(LRS[:5], losses).index == 2


# What must always hold


@st.composite
def histories(draw):
    losses = draw(st.lists(st.integers(0, 40), min_size=17, max_size=40).filter(lambda ys: ys[0] > min(ys)))
    gaps = draw(st.lists(st.floats(0.02, 0.6), min_size=len(losses), max_size=len(losses)))
    return 10.0 ** (np.cumsum(gaps) - 9), np.array(losses, float)


def answer(rule, lrs, losses):
    """The index, or that there is none."""
    try:
        return rule(lrs, losses).index
    except ValueError:
        return None


@every_rule
@given(history=histories())
@settings(max_examples=30, deadline=None)
def test_the_suggestion_is_a_recorded_point(rule, history):
    lrs, losses = history
    try:
        found = rule(lrs, losses)
    except ValueError as error:
        assert "U-shaped" in str(error) or "must fall somewhere" in str(error)  # noqa: PT017
        return
    factor = 10 if rule is range_rules.fastai_minimum else 1
    assert found.lr == lrs[found.index] / factor
    assert found.loss == losses[found.index]
    assert found.shape is range_rules.curve_shape(losses)
    assert isinstance(found.index, int)
    assert isinstance(found.lr, float)


@pytest.mark.parametrize("name", [name for name in RULES if name not in ("fastai_slide", "lightning")])
@given(history=histories(), power=st.integers(-8, 8), shift=st.integers(-1000, 1000))
@settings(max_examples=30, deadline=None)
def test_shift_and_scale_do_not_move_the_pick(name, history, power, shift):
    lrs, losses = history
    assert answer(RULES[name], lrs, losses) == answer(RULES[name], lrs, 2.0**power * (losses + shift))


@given(history=histories(), shift=st.integers(-1000, 1000))
@settings(max_examples=30, deadline=None)
def test_fastai_slide_is_shift_invariant_and_lightning_up_to_rounding(history, shift):
    lrs, losses = history
    assert answer(RULES["fastai_slide"], lrs, losses) == answer(RULES["fastai_slide"], lrs, losses + shift)
    slopes = np.gradient(losses, lrs)
    picked = slopes[RULES["lightning"](lrs, losses + shift).index]
    assert picked <= slopes.min() + 1e-6 * np.abs(slopes).max()


@pytest.mark.parametrize("name", ["lightning", "lightning_index", "steepest_log"])
@given(history=histories(), where=st.integers(0, 17), junk=st.sampled_from([NAN, INF, -INF]))
@settings(max_examples=30, deadline=None)
def test_the_index_is_that_of_the_arrays_given(name, history, where, junk):
    lrs, losses = history
    extra = lrs[0] / 2 if where == 0 else np.sqrt(lrs[where - 1] * lrs[min(where, lrs.size - 1)])
    if where == lrs.size:
        extra = 2 * lrs[-1]
    before = answer(RULES[name], lrs, losses)
    after = answer(RULES[name], np.insert(lrs, where, extra), np.insert(losses, where, junk))
    assert after == (before if before is None else before + (before >= where))


@pytest.mark.parametrize("name", [name for name in RULES if name.startswith("fastai")])
@given(history=histories(), planned=st.integers(30, 60))
@settings(max_examples=20, deadline=None)
def test_trimming_inside_a_rule_equals_trimming_before_it(name, history, planned):
    rule = RULES[name]
    if name == "fastai_slide":
        rule = functools.partial(rule, lr_diff=3)
    lrs, losses = history
    kept = range_rules.fastai_trim(lrs, losses, planned)
    inside, before = rule(lrs, losses, num_steps=planned), rule(kept.lrs, kept.losses)
    assert (inside.lr, inside.index) == (before.lr, before.index + kept.start)


@every_rule
def test_inputs_are_not_modified_and_any_sequence_will_do(rule):
    lrs, losses = LRS.copy(), u_curve()
    losses[-3:] = NAN
    first = rule(lrs, losses)
    np.testing.assert_array_equal(lrs, LRS)
    np.testing.assert_array_equal(losses[:-3], u_curve()[:-3])
    assert rule(list(lrs), tuple(losses))[:2] == first[:2]
    single = rule(jnp.asarray(lrs), jnp.asarray(losses))
    assert single.lr == pytest.approx(first.lr, rel=1e-5)


@pytest.mark.parametrize(
    ("losses", "shape"),
    [
        ([3.0, 1.0, 2.0], CurveShape.U_SHAPED),
        ([3.0, 1.0, NAN], CurveShape.U_SHAPED),
        ([3.0, 2.0, 1.0], CurveShape.FALLING),
        ([NAN, 1.0, 2.0], CurveShape.RISING),
        ([2.0, 2.0, INF], CurveShape.FLAT),
        (np.float32([2.3, 2.3000002, 2.3]), CurveShape.FLAT),
        ([NAN, INF], CurveShape.DIVERGED),
    ],
)
def test_curve_shape(losses, shape):
    assert range_rules.curve_shape(losses) is shape


@pytest.mark.parametrize(
    ("lrs", "losses", "error", "message"),
    [
        ([0.1, 0.2], [1.0], ValueError, r"needs one of `losses` for each of `lrs`, got 1 losses and 2 lrs"),
        (
            [],
            [],
            ValueError,
            r"\(lrs=...\)` must have shape \(steps,\) with at least one entry, got shape \(0,\)",
        ),
        ([[0.1, 0.2]], [1.0, 2.0], ValueError, r"got shape \(1, 2\)"),
        ([-7.0, -6.0], [1.0, 2.0], ValueError, r"must be > 0 and finite, got -7 at index 0.*not exponents"),
        ([0.1, NAN], [1.0, 2.0], ValueError, r"must be > 0 and finite, got nan at index 1"),
        ([0.1, 0.1], [1.0, 2.0], ValueError, r"must rise strictly, got 0.1 then 0.1 at index 1"),
        (None, [1.0], TypeError, r"\(lrs=...\)` must be real learning rates, got None"),
        ([0.1, 0.2], ["1", "2"], TypeError, r"\(losses=...\)` must be real recorded numbers"),
        ([0.1, 0.2], [1.0, 2.0j], TypeError, r"complex128"),
        ([0.1, 0.2], [1.0, [2.0]], TypeError, r"must be a sequence of recorded numbers"),
    ],
)
def test_bad_histories_are_sentences(lrs, losses, error, message):
    for name in ("fastai_valley", "lightning", "ignite", "steepest_log"):
        with pytest.raises(error, match=f"^`{name}.*{message}"):
            RULES[name](lrs, losses)


@pytest.mark.parametrize(
    ("rule", "options", "error"),
    [
        (range_rules.lightning, {"skip_begin": -1}, ValueError),
        (range_rules.lightning_index, {"skip_end": 1.5}, TypeError),
        (range_rules.torch_lr_finder, {"skip_start": -1}, ValueError),
        (range_rules.fastai_valley, {"num_steps": 0}, ValueError),
        (range_rules.fastai_slide, {"lr_diff": 0}, ValueError),
        (range_rules.fastai_slide, {"threshold": -1.0}, ValueError),
        (range_rules.fastai_slide, {"adjust": 0.0}, ValueError),
        (range_rules.steepest_log, {"sigma_decades": -0.1}, ValueError),
        (range_rules.steepest_log, {"sigma_decades": "wide"}, TypeError),
        (range_rules.smith_bounds, {"start": 0.0}, ValueError),
        (range_rules.smith_bounds, {"stop": 0.5}, ValueError),
        (range_rules.smith_bounds, {"setback": NAN}, ValueError),
        (range_rules.smith_bounds, {"window": 4}, ValueError),
    ],
)
def test_bad_options_name_the_call_site(rule, options, error):
    (name,) = options
    with pytest.raises(error, match=rf"{rule.__name__}\({name}=...\)` must be|Type-check error"):
        rule(LRS, u_curve(), **options)


# Smith's bounds


def smith_curve(lrs):
    """Accuracy as in Smith's figure 3: rises from the start, peaks, then falls apart."""
    return 0.1 + 0.5 * (1 - np.exp(-((lrs / 0.004) ** 2))) - 0.4 / (1 + np.exp(-(lrs - 0.014) / 0.001))


def test_smith_bounds_of_a_curve_like_his():
    lrs = np.linspace(0.0002, 0.02, 100)
    base, top = range_rules.smith_bounds(lrs, smith_curve(lrs), mode="max")
    assert 0.0008 < base < 0.0018  # 0.004 * sqrt(-ln 0.9) = 0.0013
    assert 0.005 < top < 0.007  # 0.004 * sqrt(-ln 0.1) = 0.0061


def test_smith_bounds_survive_noise():
    lrs = np.linspace(0.0002, 0.02, 200)
    rng = np.random.default_rng(0)
    for _ in range(20):
        base, top = range_rules.smith_bounds(lrs, smith_curve(lrs) + rng.normal(0, 0.01, 200), mode="max")
        assert 0.0006 < base < 0.002
        assert 0.004 < top < 0.009


def test_smith_bounds_stop_where_the_curve_becomes_ragged():
    rising, ragged = np.linspace(0.1, 0.5, 21), 0.5 + 0.005 * np.arange(40) - 0.2 * (np.arange(40) // 4 % 2)
    values = np.concatenate([rising, ragged])
    lrs = np.arange(1, values.size + 1) / 1000
    assert range_rules.smith_bounds(lrs, values, mode="max").max_lr < lrs[25]
    assert range_rules.smith_bounds(lrs, values, mode="max", setback=INF).max_lr > lrs[40]


def test_smith_bounds_of_a_loss_that_diverges():
    losses = u_curve()
    losses[LRS > 0.5] = NAN
    base, top = range_rules.smith_bounds(LRS, losses)
    assert 10**-4 < base < STEEPEST
    assert STEEPEST < top < 10**-1
    assert (base, top) == range_rules.smith_bounds(LRS, -losses, mode="max")


def test_smith_bounds_ignore_a_lone_spike():
    losses = u_curve()
    losses[10], losses[52] = 0.0, 9.0
    assert range_rules.smith_bounds(LRS, losses) == range_rules.smith_bounds(LRS, u_curve())


def test_smith_bounds_errors():
    with pytest.raises(ValueError, match="must start with finite values, got nan first"):
        range_rules.smith_bounds(LRS, np.where(LRS < 1e-6, NAN, u_curve()))
    with pytest.raises(ValueError, match=r'got none better than the first ones with mode="max".*mode="min"'):
        range_rules.smith_bounds(LRS, np.linspace(2, 1, 97), mode="max")
    with pytest.raises(ValueError, match="Need at least 3 points for `smith_bounds`, got 2 with a finite value"):
        range_rules.smith_bounds([0.1, 0.2, 0.3], [3.0, 2.0, NAN])
    with pytest.raises(ValueError, match="must start with finite values, got inf first"):
        range_rules.smith_bounds(LRS, np.where(np.isin(np.arange(97), [20, 50, 80]), 1.0, INF))
    with pytest.raises(ValueError, match=r"`smith_bounds\(values=...\)` must have shape"):
        range_rules.smith_bounds(LRS, 3.0)


@given(
    history=histories(),
    power=st.integers(-8, 8),
    shift=st.integers(-1000, 1000),
    window=st.sampled_from([1, 3, 5]),
)
@settings(max_examples=50, deadline=None)
def test_smith_bounds_are_recorded_ordered_and_invariant(history, power, shift, window):
    lrs, losses = history
    try:
        bounds = range_rules.smith_bounds(lrs, losses, window=window)
    except ValueError as error:
        assert "must improve somewhere" in str(error)  # noqa: PT017
        return
    assert bounds.base_lr < bounds.max_lr
    assert set(bounds) <= set(lrs)
    assert bounds == range_rules.smith_bounds(lrs, 2.0**power * (losses + shift), window=window)
    assert bounds == range_rules.smith_bounds(lrs, -losses, mode="max", window=window)


# Smoothing


@given(level=st.floats(0.01, 1e3), beta=st.floats(0.0, 0.99))
@settings(max_examples=30, deadline=None)
def test_lightning_14167_a_flat_loss_reads_flat(level, beta):
    np.testing.assert_allclose(range_rules.debiased_ema(np.full(50, level), beta), level, rtol=1e-12)


def test_debiased_ema_against_its_sum():
    losses = np.random.default_rng(0).uniform(0, 3, 40)
    weights = np.tril(0.9 ** (np.arange(40)[:, None] - np.arange(40)))
    expected = weights @ losses / weights.sum(axis=1)
    np.testing.assert_allclose(range_rules.debiased_ema(losses, 0.9), expected, rtol=1e-12)
    np.testing.assert_array_equal(range_rules.debiased_ema(losses, 0.0), losses)


def test_debiased_ema_steps_over_non_finite_losses():
    smoothed = range_rules.debiased_ema([NAN, 2.0, INF, 2.0, NAN])
    np.testing.assert_allclose(smoothed, [NAN, 2.0, INF, 2.0, NAN], rtol=1e-12)


@pytest.mark.parametrize("beta", [-0.1, 1.0, NAN])
def test_debiased_ema_refuses_a_weight_outside_0_1(beta):
    with pytest.raises(ValueError, match=r"`debiased_ema\(beta=...\)` must be a number in \[0, 1\)"):
        range_rules.debiased_ema([1.0], beta)


def test_a_causal_mean_lags_and_a_symmetric_one_does_not():
    losses = u_curve()
    lowest = int(np.argmin(losses))
    assert np.argmin(range_rules.debiased_ema(losses, 0.9)) > lowest + 3
    assert abs(np.argmin(range_rules.symmetric_smooth(LRS, losses)) - lowest) <= 1


@given(
    gaps=st.lists(st.floats(0.01, 2.0), min_size=2, max_size=20),
    slope=st.floats(-5, 5),
    sigma=st.floats(0.01, 3.0),
)
@settings(max_examples=40, deadline=None)
def test_symmetric_smooth_keeps_a_line_over_log_lr(gaps, slope, sigma):
    x = np.cumsum(gaps) - 9
    losses = 2.0 + slope * x
    np.testing.assert_allclose(range_rules.symmetric_smooth(10.0**x, losses, sigma), losses, rtol=1e-7, atol=1e-7)


def test_symmetric_smooth_quietens_noise_and_leaves_holes():
    noise = np.random.default_rng(0).normal(0, 1, 97)
    assert np.std(range_rules.symmetric_smooth(LRS, noise, 0.3)) < 0.5
    noise[[3, 50]] = NAN, INF
    smoothed = range_rules.symmetric_smooth(LRS, noise, 0.3)
    np.testing.assert_array_equal(np.isfinite(smoothed), np.isfinite(noise))
    assert range_rules.symmetric_smooth([0.1, 0.2], [1.0, NAN])[0] == 1.0
    with pytest.raises(ValueError, match=r"`symmetric_smooth\(sigma_decades=...\)` must be a finite number"):
        range_rules.symmetric_smooth(LRS, noise, 0.0)

"""The driver of the budgeted search on made-up loss surfaces: what it trains, what that costs, what it takes."""

import itertools
import math
import re
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inside import Choice, Context, curve_of_losses, drift, run_stages, seen_drift

from lrjax import Budget, LossCurve, Request, Stage

HALVES = tuple(np.arange(-14, 3) / 2)


class Surface:
    """Losses by formula, and an account of its own.

    Learning starts at `knee` - log10(n) and is lost above `edge`, which falls by `drift` with every decade of n.
    """

    def __init__(self, *, knee=-0.5, edge=-1.0, drift=0.5, noise=0.0, scale=1.0, shift=0.0, cliff=math.inf):
        self.knee, self.edge, self.drift, self.noise = knee, edge, drift, noise
        self.scale, self.shift, self.cliff = scale, shift, cliff
        self.calls: list[tuple[tuple[float, ...], int, int]] = []
        self.cost, self.done = 0, {}

    def loss(self, x: float, seed: int, n: int) -> float:
        fall = 0.9 / (1 + math.exp(-4 * (x - self.knee + math.log10(n))))
        rise = math.exp(min(6 * (x - self.edge + self.drift * math.log10(n / 20)), 20.0))
        rng = np.random.default_rng([round(4 * (x + 20)), seed, n])
        value = 1.0 + 0.1 * seed - fall + rise + self.noise * rng.normal()
        return math.nan if x > self.cliff else self.scale * (value + self.shift)

    def train(self, exponents: Sequence[float], num_seeds: int, num_steps: int) -> np.ndarray:
        self.calls.append((tuple(exponents), num_seeds, num_steps))
        lanes = {(seed, x) for seed in range(num_seeds) for x in exponents}
        longest = max(self.done.values(), default=0)
        self.cost += sum(num_steps - (self.done.get(lane, 0) if num_steps > longest else 0) for lane in lanes)
        kept = self.done if num_steps == longest else {}
        self.done = kept | dict.fromkeys(lanes, num_steps)
        return np.array([[self.loss(x, seed, num_steps) for x in exponents] for seed in range(num_seeds)])

    def initial_loss(self, num_seeds: int, num_steps: int) -> np.ndarray:
        return self.scale * (1.0 + 0.1 * np.arange(num_seeds) + self.shift)


class Recorded:
    """A surface as the trainer of a strategy."""

    def __init__(self, surface: Surface, context: Context):
        self.surface, self.context = surface, context

    def train(self, request: Request) -> LossCurve:
        assert request.carry
        seeds, steps = request.num_seeds or 1, request.num_steps
        losses = self.surface.train(list(request.log10_lrs), seeds, steps)
        return curve_of_losses(request.log10_lrs, losses, self.surface.initial_loss(seeds, steps), steps)

    def inspect(self, stages: tuple[Stage, ...]) -> None:
        pass


def search(
    surface: Surface,
    steps: int = 1000,
    budget: float | None = 2.0,
    *,
    baseline_loss: float | None = None,
    memory: float | None = None,
    **options,
) -> tuple[tuple[Stage, ...], Choice]:
    strategy = Budget(trainings=budget, **options)
    context = Context(train_steps=steps, baseline_loss=baseline_loss, memory=memory)
    *_, stages = run_stages(strategy, Recorded(surface, context))
    return stages, strategy.choose(stages, context)


def names(choice: Choice) -> list[str]:
    return [warning.name.value for warning in choice.warnings]


def is_sweep(stage: Stage) -> bool:
    return stage.name == "sweep"


def edges(stage: Stage) -> int:
    return len(stage.rounds) - 1


surfaces = st.builds(
    Surface,
    knee=st.floats(-4.0, 2.0),
    edge=st.floats(-6.0, 1.0),
    drift=st.floats(0.0, 1.0),
    noise=st.sampled_from([0.0, 0.02, 0.2]),
    shift=st.sampled_from([0.0, -3.0]),
    cliff=st.sampled_from([math.inf, -2.1]),
)
BUDGETS = st.sampled_from([0.02, 0.1, 0.5, 1.0, 1.7, 2.0, 4.0, 8.0, 30.0])


def longest(steps: int) -> int:
    return max(5, int(0.35 * steps))


@settings(max_examples=30, deadline=None)
@given(surface=surfaces, steps=st.integers(20, 20_000), budget=BUDGETS, seeds=st.sampled_from([1, 2, 4]))
def test_the_account_is_exact_and_the_budget_is_kept(surface, steps, budget, seeds):
    rungs, choice = search(surface, steps, budget, num_seeds=seeds, memory=10.0)
    assert rungs[-1].spent == surface.cost
    assert surface.cost <= max(budget * steps, 17 * 5)
    assert rungs[0].spent == 17 * rungs[0].num_steps
    assert [is_sweep(rung) for rung in rungs] == [True, *[False] * (len(rungs) - 1)]
    lengths = [rung.num_steps for rung in rungs]
    assert lengths == sorted(set(lengths))
    assert lengths[-1] <= longest(steps)
    for early, late in itertools.pairwise(rungs):
        assert 1.2 * early.num_steps <= late.num_steps <= 2.4 * early.num_steps
        assert early.spent < late.spent
        assert late.losses.shape[0] in (early.losses.shape[0], seeds if late.num_steps >= 0.1 * steps else 1)
    for rung in rungs:
        lanes = rung.log10_lrs.tolist()
        assert lanes == sorted(set(lanes))
        assert set(lanes) <= set(HALVES)
        assert edges(rung) <= 3
    between = choice.interval
    assert between is None or between[0] * 0.999 <= choice.lr <= between[1] * 1.001


@pytest.mark.parametrize(("budget", "seeds"), [(0.3, 1), (0.5, 1), (1.0, 3), (2.0, 4), (4.0, 6)])
def test_a_budget_that_binds_is_used_and_not_exceeded(budget, seeds):
    """Lanes are whole: what is left is less than one more of them costs."""
    surface = Surface(drift=0.5)
    rungs, _ = search(surface, 20_000, budget, num_seeds=seeds)
    assert 0.75 < surface.cost / (20_000 * budget) <= 1
    assert rungs[-1].spent == surface.cost


@pytest.mark.parametrize(
    ("surface", "budget"),
    [(Surface(knee=-3.0, edge=-6.0, drift=-2.0), 1.2), (Surface(knee=-1.2, edge=-1.0, drift=3.0), 0.5)],
    ids=["up", "down"],
)
def test_a_rung_grows_at_the_end_where_it_is_best_by_the_next_of_its_grid(surface, budget):
    """The best learning rate moves faster than a rung is wide; higher ones join from a tenth of the training on."""
    rungs, _ = search(surface, 4000, budget)
    grown = [rung for rung in rungs if edges(rung)]
    assert grown
    for rung in grown:
        assert surface.drift > 0 or rung.num_steps >= 400
        assert np.allclose(np.diff(rung.log10_lrs), 0.5)
        joined = [x for x in rung.log10_lrs if rung.curve.rounds[list(rung.log10_lrs).index(x)] > 0]
        assert set(joined) & {rung.log10_lrs[0], rung.log10_lrs[-1]}


@pytest.mark.parametrize("budget", [0.5, 2.0, 8.0])
@pytest.mark.parametrize("scale", [1 / 64, 1e4])
def test_the_unit_of_the_loss_does_not_matter(budget, scale):
    plain, moved = Surface(noise=0.01), Surface(noise=0.01, scale=scale)
    (rungs, choice), (others, other) = search(plain, budget=budget), search(moved, budget=budget)
    assert moved.calls == plain.calls
    assert (other.stage, other.rule) == (choice.stage, choice.rule)
    assert other.lr == pytest.approx(choice.lr)
    for one, two in zip(rungs, others, strict=True):
        np.testing.assert_allclose(two.window.loss, one.window.loss, atol=2e-4)


@pytest.mark.parametrize(("steps", "knee"), [(400, 3.2), (1000, 5.0), (20_000, 5.0)])
def test_while_nothing_is_learned_all_lanes_go_on_within_half_of_what_is_left(steps, knee):
    late = Surface(knee=knee, edge=4.0, drift=0.0)
    rungs, choice = search(late, steps=steps, budget=4.0)
    started = [rung.progress(None) >= 0.05 for rung in rungs]
    for early, late_, began in zip(rungs, rungs[1:], started, strict=False):
        more = 17 * (late_.num_steps - early.num_steps)
        if not began and more <= 0.5 * (4 * steps - early.spent):
            assert len(late_.log10_lrs) == 17
    assert started[-1] or "not_started" in names(choice)


def test_learning_starts_where_the_best_constant_predictor_is_undercut():
    quick = Surface(knee=-2.0)
    assert "not_started" not in names(search(quick)[1])
    rungs, choice = search(quick, budget=4.0, baseline_loss=0.1)
    assert all(rung.progress(0.1) < 0.05 for rung in rungs)
    assert "not_started" in names(choice)


class Plateau(Surface):
    """Every learning rate above -5 is at one level until update 300, when those of -3.5 to -2.5 leave it."""

    def loss(self, x: float, seed: int, n: int) -> float:
        level = 1.0 if x < -5 else 0.3
        if n > 300 and -3.6 < x < -2.4:
            level = 0.3 - 0.1 * math.log10(n / 300)
        return level if x < -1.2 else 0.9


def test_lanes_that_tie_on_a_plateau_stay_spread_until_one_of_them_leaves_it():
    rungs, choice = search(Plateau(), steps=4000, budget=1.0)
    stuck = [rung for rung in rungs[1:] if 40 < rung.num_steps <= 300]
    assert stuck
    for rung in stuck:
        lanes = rung.log10_lrs
        assert lanes[0] <= -4.5
        assert lanes[-1] >= -2.5
    assert -3.9 < math.log10(choice.lr) < -2.3
    early = search(Plateau(), steps=200_000, budget=0.002, memory=100.0)[1]  # rungs end on the plateau
    assert "not_started" in names(early)


def test_a_loss_that_is_not_positive_cannot_tell_whether_learning_has_started():
    rungs, choice = search(Surface(knee=3.2, edge=4.0, shift=-2.0), budget=4.0)
    assert rungs[0].progress(None) is None
    assert "unknown_start" in names(choice)


@pytest.mark.parametrize(("budget", "told"), [(0.1, True), (8.0, False)])
def test_seeds_for_which_the_budget_has_no_room_are_named(budget, told):
    stages, choice = search(Surface(), budget=budget, num_seeds=4)
    assert (max(stage.num_seeds for stage in stages) < 4) is told
    line = "The budget has no room for 4 seeds: no rung has more than one seed."
    assert (line in choice.reason) is told


@pytest.mark.parametrize(("budget", "seeds"), [(0.5, 1), (2, 1), (4, 2), (8, 4)])
def test_seeds_join_from_a_tenth_of_the_training_on_and_pay_for_every_step(budget, seeds):
    surface = Surface(noise=0.01)
    rungs, _ = search(surface, budget=budget, num_seeds=seeds)
    assert rungs[-1].num_steps <= 350
    for early, late in itertools.pairwise(rungs):
        had, has = early.losses.shape[0], late.losses.shape[0]
        assert has in (had, seeds)
        assert has == 1 or late.num_steps >= 100
        lanes = len(late.log10_lrs) - edges(late)
        cost = lanes * (had * (late.num_steps - early.num_steps) + (has - had) * late.num_steps)
        assert late.spent - early.spent == cost + edges(late) * has * late.num_steps
        np.testing.assert_array_equal(late.curve.initial_loss, np.float32(1 + 0.1 * np.arange(has)))


@pytest.mark.parametrize(
    ("steps", "budget", "memory", "first"),
    [
        (1000, 0.1, 10, 5),
        (1000, 0.5, 10, 8),
        (1000, 2, 10, 20),
        (1000, 2, None, 20),
        (300, 1, 1, 5),
        (20, 2, 1, 5),
        (40_000, 0.5, 10, 20),
        (40_000, 0.5, 100, 200),
    ],
)
def test_the_sweep_lasts_twice_the_memory_where_three_tenths_of_the_budget_allow_it(steps, budget, memory, first):
    rungs, _ = search(Surface(), steps, budget, memory=memory)
    assert tuple(rungs[0].log10_lrs) == HALVES
    assert rungs[0].num_steps == first


@pytest.mark.parametrize("budget", [0.5, 2.0])
def test_rungs_double_and_have_ever_fewer_lanes_around_the_minimum(budget):
    surface = Surface()
    rungs, _ = search(surface, steps=4000, budget=budget)
    top = longest(4000)
    assert rungs[-1].num_steps == top or rungs[-1].num_steps > 0.1 * 4000
    counts = [len(rung.log10_lrs) - edges(rung) for rung in rungs]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] >= 3
    for early, late in itertools.pairwise(rungs[:-1]):
        assert late.num_steps == 2 * early.num_steps


class Late(Surface):
    """Every learning rate is worse than none before update 20."""

    def loss(self, x: float, seed: int, n: int) -> float:
        return super().loss(x, seed, n) if n >= 20 else 2.0 + seed + 0.01 * x


def test_what_is_worse_than_none_at_first_is_trained_on():
    assert math.isfinite(search(Late(), steps=100, budget=3.5)[1].lr)


@pytest.mark.parametrize(("edge", "doubt"), [(5.0, "edge_high"), (-6.7, "edge_low")])
def test_the_range_is_not_left_and_an_optimum_at_its_end_is_a_warning(edge, doubt):
    surface = Surface(knee=0.6 if edge > 0 else -9.0, edge=edge, drift=0.0)
    rungs, choice = search(surface)
    assert rungs[choice.stage].best == (1.0 if edge > 0 else -7.0)
    assert 1e-7 * 0.999 <= choice.lr <= 10 * 1.001
    assert doubt in names(choice)


@pytest.mark.parametrize(
    ("n", "steps", "decades"), [(1000, 1000, 0.0), (2000, 1000, 0.0), (250, 1000, 0.241), (20, 2000, 0.8)]
)
def test_the_best_learning_rate_falls_by_four_tenths_of_a_decade_for_each_decade_of_updates(n, steps, decades):
    assert drift(n, steps) == pytest.approx(decades, abs=5e-4)


STEEPER = 0.6 * 0.1812 / (0.2 + 0.1812)
"""Slope 1 against the law's 0.4, shrunk: half of five doubled numbers of updates holds 0.1812 squared decades."""


@pytest.mark.parametrize(
    ("early", "late", "more"), [(1, 1, STEEPER), (3, 3, 0.6), (0, 0, 0), (0.4, 0.4, 0), (1, 0.4, 0), (0, 1, 0)]
)
def test_a_fall_that_was_steeper_than_the_law_all_along_goes_on_for_as_long_as_it_was_seen(early, late, more):
    falls = np.cumsum([0, early, early, late, late]) * math.log10(2)
    minima = {10 * 2**i: -2.0 - fall for i, fall in enumerate(falls)}
    for decades in (0.5, math.log10(16), 2.0):
        end = 160 * 10**decades
        told = drift(160, end) + more * min(decades, math.log10(16))
        assert seen_drift(minima, end) == pytest.approx(told, rel=1e-3)
    assert seen_drift(dict(list(minima.items())[-2:]), 1600) == pytest.approx(0.4)  # two have no halves


@pytest.mark.parametrize("steps", [40, 300, 1000, 4000])
def test_without_a_budget_it_costs_half_a_training_and_700_updates_at_least(steps):
    told = search(Surface(), steps, None)[0][-1].spent
    assert told <= max(0.5 * steps, 700)
    if steps >= 300:
        assert told > 0.8 * max(0.5 * steps, 700)
    else:
        assert told > 2 * 17 * 5  # more than the shortest sweep


@pytest.mark.parametrize("optimum", [-4.2, -2.0])
def test_the_lowest_risk_lies_where_the_optimum_will_have_fallen_to(optimum):
    """A parabola that does not move with the number of updates: what is taken lies lower by the law."""

    class Basin(Surface):
        def loss(self, x: float, seed: int, n: int) -> float:
            return 0.1 + min(0.9, 0.4 * (x - optimum) ** 2)

    rungs, choice = search(Basin(), steps=4000, budget=2.0)
    assert rungs[-1].num_steps == 1400
    assert math.log10(choice.lr) == pytest.approx(optimum - drift(1400, 4000), abs=0.1)
    assert choice.correction == pytest.approx(rungs[-1].best - math.log10(choice.lr))
    assert choice.rule == "lowest_risk"


@pytest.mark.parametrize(("low", "high"), [(0.3, 9.7), (1e-3, 1.1e-3)])
def test_the_choice_stays_in_a_range_whose_ends_lie_on_no_grid(low, high):
    class Slope(Surface):
        def loss(self, x, seed, n):
            return 0.5 + self.edge * x / 100

    for slope in (1.0, -1.0):
        _, choice = search(Slope(edge=slope), min_lr=low, max_lr=high)
        assert low * (1 - 1e-9) <= choice.lr <= high * (1 + 1e-9)


@pytest.mark.parametrize(("knee", "steps", "doubted"), [(-4.0, 1000, False), (-0.5, 10_000, True)])
def test_without_a_rung_it_is_read_off_the_sweep_with_a_warning_where_that_is_far(knee, steps, doubted):
    rungs, choice = search(Surface(knee=knee), steps, budget=85 / steps)
    assert len(rungs) == 1
    assert choice.interval is None
    assert {"no_rung", "extrapolated"} & {*names(choice)} == ({"no_rung", "extrapolated"} if doubted else set())


def test_what_the_first_trials_lack_is_told_in_numbers():
    _, choice = search(Surface(edge=-0.7), 10_000, budget=0.0085)
    (told,) = [one.message for one in choice.warnings if one.name == "extrapolated"]
    assert re.match(r"After 5 updates \S+e-\d+ is \d+% of the best trial's reduction of the loss behind \S+: ", told)


def test_rungs_that_ask_for_learning_rates_far_apart_are_a_warning():
    class Moving(Surface):
        def loss(self, x, seed, n):
            return 1.0 - math.exp(-((x + 1.0 + 1.2 * math.log10(n / 20)) ** 2))

    settled, unsettled = search(Surface(), budget=2.0)[1], search(Moving(), budget=2.0)[1]
    assert "unsettled" not in names(settled)
    assert "unsettled" in names(unsettled)
    low, high = unsettled.interval
    (told,) = [one.message for one in unsettled.warnings if one.name == "unsettled"]
    assert told == f"Rungs and seeds ask for {low:.1e} to {high:.1e}, {math.log10(high / low):.1f} decades apart."


def test_trials_shorter_than_twice_the_memory_are_a_warning():
    told = [
        one.message for one in search(Surface(), budget=0.1, memory=100.0)[1].warnings if one.name == "short_horizon"
    ]
    assert "remembers a gradient for 100 updates" in told[0]
    assert "short_horizon" not in names(search(Surface(), budget=2.0, memory=100.0)[1])


@pytest.mark.parametrize(("budget", "word"), [(0.5, "Raise the budget"), (8.0, "More budget makes trials no longer")])
def test_trials_that_cannot_be_longer_are_told_another_remedy(budget, word):
    _, choice = search(Surface(), steps=200, budget=budget, memory=100.0)
    (remedy,) = [one.remedy for one in choice.warnings if one.name == "short_horizon"]
    assert word in remedy


def test_neither_are_those_that_have_learned_nothing():
    """The best constant predictor is at 0.1, below which no lane gets."""
    for budget, word in ((0.5, "Raise the budget"), (8.0, "More budget makes trials no longer")):
        _, choice = search(Surface(knee=-2.0), steps=400, budget=budget, baseline_loss=0.1)
        remedies = {one.name: one.remedy for one in choice.warnings}
        assert word in remedies["not_started"]
        assert word in remedies["small_progress"]


def test_nor_are_those_of_which_the_next_ones_would_hardly_be_longer():
    """19 of at most 21 updates: a rung of 21 is not run."""
    rungs, choice = search(Surface(), steps=60, budget=700 / 60, memory=10.0, min_lr=1e-4)
    assert [rung.num_steps for rung in rungs] == [19]
    assert ["no longer" in one.remedy for one in choice.warnings if one.name == "short_horizon"] == [True]


@pytest.mark.parametrize(
    ("options", "word"), [({"knee": 20.0, "edge": -12.0}, "no_learning"), ({"cliff": -9}, "all_diverged")]
)
def test_nothing_found(options, word):
    _, choice = search(Surface(**options))
    assert math.isnan(choice.lr)
    assert names(choice) == [word]
    assert choice.interval is None


def test_a_rung_in_which_everything_is_lost_leaves_the_rung_before():
    class Lost(Surface):
        def loss(self, x: float, seed: int, n: int) -> float:
            return math.inf if n > 80 else super().loss(x, seed, n)

    rungs, choice = search(Lost())
    assert not rungs[-1].found
    assert choice.stage == len(rungs) - 2
    assert rungs[choice.stage].num_steps == 80
    assert "lost" in names(choice)


def test_one_diverging_seed_is_a_veto():
    class Fragile(Surface):
        def loss(self, x: float, seed: int, n: int) -> float:
            return math.inf if seed == 1 and x > -2.1 else super().loss(x, seed, n)

    rungs, choice = search(Fragile(), budget=4.0, num_seeds=2)
    assert rungs[-1].best < -2.1
    assert choice.interval is not None
    assert choice.interval[0] <= choice.lr <= choice.interval[1]


def test_a_narrow_range_with_odd_ends():
    rungs, choice = search(Surface(), min_lr=2e-4, max_lr=0.07)
    ends = [math.log10(2e-4), math.log10(0.07)]
    np.testing.assert_allclose(rungs[0].log10_lrs, [ends[0], -3.5, -3.0, -2.5, -2.0, -1.5, ends[1]])
    assert all(ends[0] - 1e-9 <= x <= ends[1] + 1e-9 for rung in rungs for x in rung.log10_lrs)
    assert 2e-4 * 0.999 <= choice.lr <= 0.07 * 1.001

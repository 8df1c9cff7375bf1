"""The driver of the budgeted search on made-up loss surfaces: what it trains, what that costs, what it takes."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrjax import Budget, LossCurve, Stage, midpoint
from lrjax._search import Choice, Constants, Context, Request, curve_of_losses, make_course, near, run_stages

HALVES, QUARTERS = tuple(np.arange(-14, 3) / 2), tuple(np.arange(-28, 5) / 4)


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
    surface: Surface, steps: int = 1000, budget: float = 2.0, *, baseline_loss: float | None = None, **options
) -> tuple[tuple[Stage, ...], Choice]:
    strategy = Budget(trainings=budget, **options)
    context = Context(train_steps=steps, baseline_loss=baseline_loss)
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


@settings(max_examples=30, deadline=None)
@given(surface=surfaces, steps=st.integers(20, 20_000), budget=BUDGETS)
def test_the_account_is_exact_and_the_budget_is_kept(surface, steps, budget):
    rungs, choice = search(surface, steps, budget)
    course = make_course(train_steps=steps, budget=budget)
    assert rungs[-1].spent == surface.cost
    shortest = 17 * 5
    assert surface.cost <= max(budget * steps, shortest)
    assert rungs[0].spent == 17 * rungs[0].num_steps
    lengths = [rung.num_steps for rung in rungs]
    assert lengths == sorted(set(lengths))
    assert lengths[-1] <= max(course.longest, 5)
    for early, late in itertools.pairwise(rungs):
        assert late.num_steps >= 1.2 * early.num_steps or is_sweep(late)
        assert early.spent < late.spent
    for rung in rungs:
        lanes = rung.log10_lrs.tolist()
        assert lanes == sorted(set(lanes))
        assert set(lanes) <= set(QUARTERS)
        assert rung.losses.shape == (1 if is_sweep(rung) else course.num_seeds, len(lanes))
        assert is_sweep(rung) or 3 <= len(lanes) - edges(rung) <= course.widest == (6 if budget >= 2 else 5)
        assert edges(rung) <= 3
    if math.isfinite(choice.lr) and choice.rule != "midpoint":
        assert (
            np.isclose(math.log10(choice.lr) + choice.correction, rungs[choice.stage].log10_lrs, atol=1e-9).sum() == 1
        )
    between = choice.interval
    assert between is None or between[0] * 0.999 <= choice.lr <= between[1] * 1.001


@pytest.mark.parametrize(("budget", "seeds"), [(1.0, None), (2.0, 2), (4.0, 5), (5.5, 5), (8.0, None), (30.0, 12)])
def test_a_budget_that_binds_is_used_up_and_not_exceeded(budget, seeds):
    surface = Surface(drift=0.5)
    rungs, _ = search(surface, 20_000, budget, num_seeds=seeds)
    assert 0.999 < surface.cost / (20_000 * budget) <= 1
    assert rungs[-1].spent == surface.cost


@pytest.mark.parametrize("drift", [-3.0, 2.0], ids=["up", "down"])
def test_a_rung_grows_at_the_end_where_it_is_best_by_the_next_of_its_grid(drift):
    """The best learning rate moves faster than a rung is wide."""
    rungs, _ = search(Surface(knee=-3.0, edge=-3.0, drift=drift), 20_000, 2.0)
    assert sum(edges(rung) for rung in rungs) >= 2
    for rung in rungs:
        grown, steps = edges(rung) and not is_sweep(rung), np.diff(rung.log10_lrs)
        assert not grown or steps.max() == steps.min()


@pytest.mark.parametrize("budget", [0.5, 2.0, 8.0])
@pytest.mark.parametrize(("scale", "shift"), [(1 / 64, 0.0), (1e4, 0.0), (3.7, 5.0), (2.0, -7.0)])
def test_units_and_origin_of_the_loss_do_not_matter(budget, scale, shift):
    options = {"budget": budget, "constants": Constants(started=-math.inf)}  # that test alone knows an origin
    plain, moved = Surface(noise=0.01), Surface(noise=0.01, scale=scale, shift=shift)
    (rungs, choice), (others, other) = search(plain, **options), search(moved, **options)
    assert moved.calls == plain.calls
    assert (other.lr, other.stage, other.rule) == (choice.lr, choice.stage, choice.rule)
    for one, two in zip(rungs, others, strict=True):
        np.testing.assert_allclose(two.window.loss, one.window.loss, atol=2e-4)


@pytest.mark.parametrize(("steps", "knee"), [(400, 3.2), (1000, 5.0), (20_000, 5.0)])
def test_where_learning_starts_late_the_sweep_is_extended_within_half_of_the_budget(steps, knee):
    late = Surface(knee=knee, edge=4.0, drift=0.0)
    rungs, choice = search(late, steps=steps, budget=4.0)
    sweeps = [rung for rung in rungs if is_sweep(rung)]
    assert len(sweeps) > 1
    assert sweeps[-1].spent <= 0.5 * 4 * steps
    for early, later in itertools.pairwise(sweeps):
        assert early.progress(None) < 0.05
        assert later.num_steps == min(2 * early.num_steps, steps // 4)
    if sweeps[-1].progress(None) < 0.05:  # only the budget or the length stops it
        more = min(2 * sweeps[-1].num_steps, steps // 4) - sweeps[-1].num_steps
        assert more == 0 or sweeps[-1].spent + 17 * more > 2 * steps
    assert "slow_start" in names(choice)


def test_learning_starts_where_the_best_constant_predictor_is_undercut():
    quick = Surface(knee=-2.0)
    assert sum(is_sweep(rung) for rung in search(quick)[0]) == 1
    rungs, choice = search(quick, budget=4.0, baseline_loss=0.108)
    assert sum(is_sweep(rung) for rung in rungs) > 1
    assert rungs[0].progress(0.108) < 0.05 < rungs[0].progress(None)
    assert "slow_start" in names(choice)


def test_a_loss_that_is_not_positive_cannot_tell_whether_learning_has_started():
    rungs, choice = search(Surface(knee=3.2, edge=4.0, shift=-2.0), budget=4.0)
    assert [is_sweep(rung) for rung in rungs].count(True) == 1
    assert rungs[0].progress(None) is None
    assert "unknown_start" in names(choice)


@pytest.mark.parametrize(("budget", "seeds", "longest"), [(0.5, 1, 250), (2, 1, 250), (4, 2, 250), (8, 4, 500)])
def test_seeds_join_after_the_sweep_and_pay_for_every_step(budget, seeds, longest):
    surface = Surface(noise=0.01)
    course = make_course(train_steps=1000, budget=budget)
    assert (course.num_seeds, course.longest) == (seeds, longest)
    rungs, _ = search(surface, budget=budget)
    first, second = rungs[:2]
    assert first.losses.shape[0] == 1
    assert second.losses.shape[0] == seeds
    lanes = len(second.log10_lrs) - edges(second)
    cost = lanes * (second.num_steps - first.num_steps) + (seeds - 1) * lanes * second.num_steps
    assert second.spent - first.spent == cost + edges(second) * seeds * second.num_steps
    np.testing.assert_array_equal(second.curve.initial_loss, np.float32(1 + 0.1 * np.arange(seeds)))


@pytest.mark.parametrize(
    ("steps", "budget", "first"),
    [(1000, 0.1, 5), (1000, 0.5, 14), (1000, 2, 20), (300, 1, 8), (20, 2, 5), (60, 30, 20)],
)
def test_the_sweep_is_as_long_as_half_the_budget_allows_within_5_and_20(steps, budget, first):
    course = make_course(train_steps=steps, budget=budget)
    assert course.coarse == HALVES
    assert course.fine == QUARTERS
    assert course.first_steps == first


def test_a_rung_takes_what_is_left_and_one_update_more_would_not_fit():
    rungs, _ = search(Surface(), budget=1.0)
    last = rungs[-1]
    assert not is_sweep(last)
    lanes = len(last.log10_lrs) - edges(last)
    assert last.num_steps < 4 * rungs[-2].num_steps
    before_edges = last.spent - edges(last) * last.num_steps
    assert 1000 - lanes < before_edges <= 1000


@pytest.mark.parametrize(("budget", "first"), [(1.9, 0.75), (2.0, 1.25)])
def test_rungs_grow_fourfold_to_a_quarter_of_the_training_in_windows_around_the_minimum(budget, first):
    surface = Surface()
    rungs, _ = search(surface, steps=4000, budget=budget)
    assert [rung.num_steps for rung in rungs] == [20, 80, 320, 1000]
    main = [call for call in surface.calls if len(call[0]) > 1]
    assert main[1][0] == tuple(near(HALVES, rungs[0].minimum, first, 3))
    assert main[2][0] == tuple(near(QUARTERS, rungs[1].minimum, 0.5, 3))
    assert main[3][0] == tuple(near(QUARTERS, rungs[2].minimum, 0.5, 3))


class Late(Surface):
    """Every learning rate is worse than none before update 20."""

    def loss(self, x: float, seed: int, n: int) -> float:
        return super().loss(x, seed, n) if n >= 20 else 2.0 + seed + 0.01 * x


@pytest.mark.parametrize(("budget", "found"), [(3.3, False), (3.5, True)])
def test_while_nothing_learns_the_sweep_may_take_the_whole_budget(budget, found):
    rungs, choice = search(Late(), steps=100, budget=budget)
    lengths = [rung.num_steps for rung in rungs if is_sweep(rung)]
    assert lengths == ([10, 20] if found else [9, 18])  # 17 * 20 updates of 350, though half of them is 175
    assert math.isfinite(choice.lr) == found


@pytest.mark.parametrize(
    ("grid", "centre", "decades", "expected"),
    [
        (HALVES, -3.0, 0.75, [-3.5, -3.0, -2.5]),
        (HALVES, -2.75, 0.75, [-3.5, -3.0, -2.5, -2.0]),
        (QUARTERS, -3.0, 0.5, [-3.5, -3.25, -3.0, -2.75, -2.5]),
        (QUARTERS, -3.1, 0.5, [-3.5, -3.25, -3.0, -2.75]),
        (HALVES, -7.0, 0.75, [-7.0, -6.5, -6.0]),
        ((-3.0, -2.7), -3.0, 0.75, [-3.0, -2.7]),
    ],
)
def test_near(grid, centre, decades, expected):
    assert near(grid, centre, decades, 3) == expected


def test_edges_are_extended_by_the_rungs_own_spacing_while_the_end_is_the_best():
    surface = Surface(knee=-1.2, edge=-1.0, drift=3.0)  # the optimum falls by three decades with every decade of n
    rungs, _ = search(surface, steps=4000, budget=8.0)
    extended = [rung for rung in rungs if edges(rung)]
    assert extended
    assert extended[0] is rungs[1]
    assert np.allclose(np.diff(extended[0].log10_lrs), 0.5)
    for rung in extended:
        ends = (0, len(rung.log10_lrs) - 1)
        assert edges(rung) == 3 or rung.lowest not in ends
    single = [call for call in surface.calls if len(call[0]) == 1]
    assert len(single) == sum(edges(rung) for rung in rungs)
    assert all(call[1] == 4 for call in single)


@pytest.mark.parametrize(("edge", "doubt"), [(5.0, "edge_high"), (-6.7, "edge_low")])
def test_the_range_is_not_left_and_an_optimum_at_its_end_is_a_warning(edge, doubt):
    surface = Surface(knee=0.6 if edge > 0 else -9.0, edge=edge, drift=0.0)
    rungs, choice = search(surface)
    best = rungs[choice.stage].best
    assert best == (1.0 if edge > 0 else -7.0)
    assert doubt in names(choice)


@pytest.mark.parametrize(
    ("n", "steps", "decades"),
    [(250, 1000, 0.0), (500, 1000, 0.0), (100, 1000, 0.199), (25, 1000, 0.5), (20, 1600, 0.651), (5, 20_000, 1.5)],
)
def test_the_horizon_correction(n, steps, decades):
    course = make_course(train_steps=steps, budget=2.0)
    assert course.correction(n) == pytest.approx(decades, abs=5e-4)
    assert course.correction(n) == pytest.approx(0.5 * max(0.0, math.log10(0.25 * steps / n)))
    other = make_course(train_steps=steps, budget=2.0, constants=Constants(drift=0.4, settled=1.0))
    assert other.correction(n) == pytest.approx(0.4 * max(0.0, math.log10(steps / n)))


def test_the_trained_lane_with_the_lowest_smoothed_loss_is_taken_and_lowered():
    rungs, choice = search(Surface(noise=0.01), budget=1.0)
    rung, course = rungs[-1], make_course(train_steps=1000, budget=1.0)
    down = course.correction(rung.num_steps)
    assert choice.lr == 10.0 ** (rung.best - down)
    assert (choice.stage, choice.rule, choice.correction) == (len(rungs) - 1, "lowest_smoothed", down)
    cells, loss = np.asarray(rung.window.log10_lr), np.asarray(rung.window.loss)
    at = [loss[np.abs(cells - x).argmin()] for x in rung.log10_lrs]
    assert rung.best == rung.log10_lrs[np.argmin(at)]
    assert abs(rung.minimum - rung.best) < 0.2


@pytest.mark.parametrize("budget", [0.02, 0.05])
def test_without_a_rung_it_is_the_papers_midpoint(budget):
    rungs, choice = search(Surface(), budget=budget)
    assert len(rungs) == 1
    assert choice.rule == "midpoint"
    assert choice.correction == 0.0
    assert choice.lr == pytest.approx(float(midpoint(rungs[0].curve, rungs[0].window)))
    assert "no_rung" in names(choice)
    assert choice.interval is None


@pytest.mark.parametrize(
    ("options", "word"), [({"knee": 20.0, "edge": -9.0}, "no_learning"), ({"cliff": -9}, "all_diverged")]
)
def test_nothing_found(options, word):
    rungs, choice = search(Surface(**options))
    assert all(is_sweep(rung) for rung in rungs)
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

    rungs, choice = search(Fragile(), budget=4.0)
    assert rungs[-1].best < -2.1
    assert choice.interval is not None
    assert choice.interval[0] <= choice.lr <= choice.interval[1]


def test_a_narrow_range_with_odd_ends():
    rungs, choice = search(Surface(), min_lr=2e-4, max_lr=0.07)
    ends = [math.log10(2e-4), math.log10(0.07)]
    np.testing.assert_allclose(rungs[0].log10_lrs, [ends[0], -3.5, -3.0, -2.5, -2.0, -1.5, ends[1]])
    assert all(ends[0] - 1e-9 <= x <= ends[1] + 1e-9 for rung in rungs for x in rung.log10_lrs)
    assert choice.rule != "midpoint"

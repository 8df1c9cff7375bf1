"""JAX's strict settings: whatever makes a user's own program raise must not make lrjax raise, nor change a number."""

import contextlib
import dataclasses

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
import pytest
from doors import budgeted, of_step, resumed, sampled

import lrjax
import lrjax.integrations
from lrjax import Chunked, schedules

KEY = jax.random.key(0)
ALL = {
    "x64": lambda: jax.enable_x64(True),
    "rank": lambda: jax.numpy_rank_promotion("raise"),
    "dtype": lambda: jax.numpy_dtype_promotion("strict"),
    "nans": lambda: jax.debug_nans(True),
    "infs": lambda: jax.debug_infs(True),
    "transfers": lambda: jax.transfer_guard("disallow"),
    "explicit transfers": lambda: jax.transfer_guard("disallow_explicit"),
    "legacy keys": lambda: jax.legacy_prng_key("error"),
    "custom keys": lambda: jax.enable_custom_prng(True),
    "key reuse": lambda: jax.debug_key_reuse(True),
    "leaks": jax.checking_leaks,
    "precision": lambda: jax.default_matmul_precision("highest"),
}
EXECUTORS = {"vmap": "vmap", "chunked": Chunked(3), "map": "map", "loop": "loop", "auto": "auto"}
LRS = np.asarray([1e-3, 1e-2, 1e-1, 1.0, 1e30])  # the last one diverges
SMALL = {"key": KEY, "num_steps": 4, "num_seeds": 2}


@contextlib.contextmanager
def strict(*names):
    """The settings of these names."""
    with contextlib.ExitStack() as stack:
        for name in names:
            stack.enter_context(ALL[name]())
        yield


def regression(dtype=np.float32, *, stateful=False):
    """A task that keeps to all settings itself."""
    x = np.random.default_rng(0).normal(size=(64, 4)).astype(dtype)
    y = x.sum(-1).astype(dtype)

    def error(w, x, y):
        return jnp.mean(jnp.square(x @ w - y))

    def moving_mean(w, mean, batch, key):
        x, y = batch
        mean = mean * jnp.asarray(0.9, dtype) + jnp.mean(x, axis=0) * jnp.asarray(0.1, dtype)
        return error(w, x - jnp.mean(x, axis=0, keepdims=True), y), mean

    def evaluate(w, mean, batch):
        x, y = batch
        return {"loss": error(w, x - mean[None], y), "largest": jnp.max(y)}

    start = np.zeros(4, dtype)
    return lrjax.Task.from_arrays(
        (start, start) if stateful else lambda key: jax.random.normal(key, (4,), dtype),
        moving_mean if stateful else lambda w, batch, key: error(w, *batch),
        train=(x[:40], y[:40]),
        validation=(x[40:], y[40:]),
        batch_size=8,
        eval_batch_size=16,  # the last one is smaller
        eval_fn=evaluate if stateful else None,
        stateful=stateful,
    )


def found_lr(task, executor):
    result = sampled(task, optax.sgd, executor=executor, min_lr=1e-3, max_lr=1.0, horizons=(2,), **SMALL)
    assert "Learning rate" in result.summary()
    assert repr(result)
    return [result.lr, float(result.window.min_lr), np.asarray(result.curve.final).min()]


def sampled_losses(task, executor):
    curve = lrjax.sample_losses(task, optax.sgd, LRS, executor=executor, **SMALL)
    return np.asarray(curve.losses).ravel()


def second_stage_lr(task, executor):
    options = {"num_seeds": 1, "min_lr": 1e-4, "max_lr": 1e-2, "executor": executor}
    doubtful = dataclasses.replace(task, baseline_loss=1e-9)  # little progress, as no lr reaches this loss
    result = sampled(doubtful, optax.sgd, key=KEY, train_steps=40, **options)
    assert len(result.stages) == 2
    return [result.lr, float(result.stages[0].window.max_lr)]


def searched_lr(task, executor):
    options = {"train_steps": 60, "trainings": 4.0, "min_lr": 1e-3, "max_lr": 1.0, "executor": executor}
    result = budgeted(task, optax.sgd, key=KEY, **options)
    assert "Learning rate" in result.summary()
    return [result.lr]


def swept_losses(task, executor):
    grid = {"learning_rate": [0.01, 0.1, 1e30], "momentum": [0.5, 0.9]}
    stop = lrjax.SuccessiveHalving(first=4)
    result = lrjax.sweep(task, optax.sgd, grid, key=KEY, train_steps=8, num_seeds=2, executor=executor, stop=stop)
    assert result.best().settings["learning_rate"] == pytest.approx(0.1)
    return [result.best().value]


def refound_lr(task, executor):
    start, state = task.init if task.has_state else (np.zeros(4, np.float32), None)
    checkpoint = {"params": start, "model_state": state, "opt_state": optax.EmptyState(), "step": 3}
    options = {"train_steps": 100, "executor": executor, "min_lr": 1e-3, "max_lr": 1.0}
    return [resumed(task, optax.sgd, key=KEY, **checkpoint, **options).lr]


def ranged_losses(task, executor):
    result = lrjax.range_test(task, optax.sgd, key=KEY, num_steps=20, min_lr=1e-4, max_lr=1e10)
    assert result.suggestions
    return np.asarray(result.losses).ravel()


def stepped_lr(task, executor):
    x = np.random.default_rng(0).normal(1.0, 1.0, (20, 8, 2)).astype(np.float32)

    def step(state, batch):
        grad = jax.grad(lambda w: jnp.mean(jnp.square(batch @ w - jnp.ones(8, batch.dtype))))(state["w"])
        return state | {"w": state["w"] - state["lr"] * grad}

    def evaluate(state):
        return jnp.mean(jnp.square(x[0] @ state["w"] - np.ones(8, np.float32)))

    state = {"w": np.zeros(2, np.float32), "lr": np.float32(0)}
    options = of_step({"executor": executor, "min_lr": 1e-3, "max_lr": 1.0, **SMALL})
    put_lr = lambda state, lr: state | {"lr": lr}  # noqa: E731
    task = lrjax.integrations.step_task(step, state, list(x), evaluate, put_lr)
    return [lrjax.find_lr(task, task.set_lr, **options).lr]


def peak_of(schedule, total_steps):
    return lrjax.peak_for(0.1, schedule, total_steps)


VERBS = (
    *(found_lr, sampled_losses, second_stage_lr, searched_lr, swept_losses, refound_lr, ranged_losses, stepped_lr),
)


def check_same(verb, names, executor="map", **kind):
    expected = verb(regression(**kind), executor)
    with strict(*names):
        got = verb(regression(**kind), executor)
    np.testing.assert_allclose(got, expected, rtol=1e-4)


STRICTEST = ("x64", "rank", "dtype", "nans", "infs", "key reuse", "legacy keys", "transfers")


@pytest.mark.parametrize("verb", [found_lr, searched_lr, swept_losses], ids=lambda verb: verb.__name__)
def test_all_settings_together_change_nothing(verb):
    check_same(verb, STRICTEST)


@pytest.mark.slow
@pytest.mark.parametrize("executor", EXECUTORS.values(), ids=EXECUTORS.keys())
@pytest.mark.parametrize("stateful", [False, True], ids=["plain", "stateful"])
@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.__name__)
def test_every_verb_keeps_to_all_settings_with_every_executor(verb, stateful, executor):
    check_same(verb, STRICTEST, executor, stateful=stateful)


@pytest.mark.slow
@pytest.mark.parametrize("executor", EXECUTORS.values(), ids=EXECUTORS.keys())
@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.__name__)
def test_float64_parameters_keep_to_all_settings_and_agree_with_float32(verb, executor):
    expected = np.asarray(verb(regression(stateful=True), executor))  # starts at 0: keys give other float64 numbers
    with strict(*STRICTEST):
        got = np.asarray(verb(regression(np.float64, stateful=True), executor))
    finite = np.isfinite(expected) & (expected < 1e30)  # float64 overflows later
    np.testing.assert_allclose(got[finite], expected[finite], rtol=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.__name__)
@pytest.mark.parametrize("name", ALL)
def test_every_setting_by_itself_changes_nothing(name, verb):
    check_same(verb, [name])


@pytest.fixture(scope="module")
def result():
    """A search in which learning rates diverged."""
    options = {"min_lr": 1e-3, "max_lr": 1e10, "refine": None, "executor": "map"}
    return sampled(regression(), optax.sgd, **SMALL, **options)


def read(result, path):
    """All that can be read off a result, as numbers."""
    result.to_json(path)
    curve, window = type(result).from_json(path).curve, lrjax.find_window(result.curve)
    assert result.summary()
    assert len(lrjax.find_warnings(curve, window)) == len(result.warnings)
    plt.close(result.plot().figure)
    rules = [lrjax.midpoint, lrjax.half_loss, lrjax.steepest, lrjax.lowest_loss, lrjax.lowest_for(1000)]
    picks = [np.asarray(rule(curve, window)) for rule in rules]
    literal = lrjax.find_window(curve, literal=True)
    one = curve.seed(0).at(0)
    return np.asarray(
        [*picks, lrjax.crossing(window, 0.3), window.decades, literal.min_lr, one.final.min(), window.decades]
    )


def test_a_result_can_be_read_under_all_settings(result, tmp_path):
    assert np.isinf(np.asarray(result.curve.final)).any()
    expected = read(result, tmp_path / "result.json")
    with strict(*STRICTEST):
        got = read(result, tmp_path / "result.json")
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_windows_and_rules_compile_under_strict_promotion(result):
    def pick(curve):
        window = lrjax.find_window(curve)
        return [rule(curve, window) for rule in (lrjax.midpoint, lrjax.half_loss, lrjax.lowest_for(100))]

    expected = [np.asarray(pick) for pick in jax.jit(pick)(result.curve)]
    wide = result.curve._replace(lrs=np.asarray(result.curve.lrs, np.float64))  # of another type than the losses
    with strict("x64", "rank", "dtype"):
        np.testing.assert_allclose(jax.jit(pick)(wide), expected, rtol=1e-5)
        many = jax.jit(jax.vmap(pick))(jax.tree.map(lambda leaf: np.asarray(leaf)[None], wide))
        np.testing.assert_allclose(np.ravel(many), expected, rtol=1e-5)


def test_without_jit_the_loop_runs_and_the_programs_say_so():
    expected = sampled_losses(regression(), "loop")
    with jax.disable_jit():
        np.testing.assert_allclose(sampled_losses(regression(), "auto"), expected, rtol=1e-5)
        for executor in ("map", "vmap", Chunked(3)):
            with pytest.raises(ValueError, match='must be "loop" under jax_disable_jit, got'):
                sampled_losses(regression(), executor)
        with pytest.raises(ValueError, match=r"`sweep\(executor=...\)` must be \"loop\" under jax_disable_jit"):
            swept_losses(regression(), "map")


def test_an_optimizer_of_optax_that_does_not_keep_to_a_setting_is_named():
    expected = r"keeps to jax_numpy_dtype_promotion, but that of adam does not, in Optax's tree_bias_correction"
    with strict("dtype"), pytest.raises(TypeError, match=expected) as caught:
        lrjax.sample_losses(regression(), optax.adam, [0.1], executor="map", **SMALL)
    assert 'within `with jax.numpy_dtype_promotion("standard"):`' in str(caught.value)


@pytest.mark.parametrize(
    "look", [schedules.describe, schedules.validate, peak_of], ids=["describe", "validate", "peak"]
)
def test_a_schedule_of_optax_that_does_not_keep_to_a_setting_is_named(look):
    expected = r"keeps to jax_numpy_dtype_promotion, but cosine_decay_schedule\S+ does not: .*Call lrjax within"
    with strict("dtype"), pytest.raises(TypeError, match=expected):
        look(optax.cosine_decay_schedule(1.0, 50), 50)

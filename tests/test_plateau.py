"""reduce_on_plateau against PyTorch and Keras, frozen by tests/oracles/regenerate_plateau.py, and against Optax."""

import itertools
import json
from pathlib import Path
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from marks import slow
from tiny import check_message

import lrjax

FILE = Path(__file__).parent / "oracles" / "plateau.json"
PEER = json.loads(FILE.read_text())
TRACES, OF_KERAS, BASE_LR = PEER["torch"]["traces"], PEER["keras"]["traces"], PEER["base_lr"]
CHOICES = {"mode": ("min", "max"), "threshold_mode": ("rel", "abs"), "patience": (0, 1, 2, 3), "cooldown": (0, 1, 2)}
KINDS = ("improving", "plateauing", "noisy", "broken")
NAN, INF = float("nan"), float("inf")
ONE = jnp.ones(())


def every(traces: Any) -> Any:
    return pytest.mark.parametrize("trace", traces, ids=lambda trace: "-".join(map(str, trace["options"].values())))


def scales_of(metrics: Any, **options: Any) -> np.ndarray:
    """The factor of every update, op by op."""
    optimizer = lrjax.schedules.reduce_on_plateau(**options)
    state, scales = optimizer.init(ONE), []
    for metric in metrics:
        update, state = optimizer.update(ONE, state, value=metric)
        assert update == state.scale
        scales.append(float(update))
    return np.array(scales)


def scan(metrics: Any, **options: Any) -> Any:
    """The same inside a scan, so that it can be compiled and mapped."""
    optimizer = lrjax.schedules.reduce_on_plateau(**options)

    def step(state: Any, metric: Any) -> Any:
        update, state = optimizer.update(ONE, state, value=metric)
        return state, update

    return jax.lax.scan(step, optimizer.init(ONE), metrics)[1]


def as_defined(
    metrics: Any,
    *,
    mode: str = "min",
    threshold_mode: str = "rel",
    patience: int = 10,
    cooldown: int = 0,
    factor: float = 0.1,
    threshold: float = 1e-4,
    least: float = 0.0,
) -> np.ndarray:
    """Our definition, in Python: PyTorch's, with a margin of threshold * |best|."""
    sign = 1 if mode == "min" else -1
    best, bad, rest, scale, scales = INF, 0, 0, 1.0, []
    for metric in metrics:
        margin = threshold * (abs(best) if threshold_mode == "rel" else 1)
        if sign * metric < (INF if best == INF else best - margin):
            best, bad = sign * metric, 0
        else:
            bad += 1
        if rest:
            rest, bad = rest - 1, 0
        if bad > patience:
            scale, rest, bad = max(scale * factor, least), cooldown, 0
        scales.append(scale)
    return np.array(scales)


def numbers(trace: Any) -> list[float]:
    return [float(metric) for metric in trace["metrics"]]


def ours_of(options: dict[str, Any]) -> dict[str, Any]:
    return options if options["min_lr"] == 0 else {**options, "base_lr": BASE_LR}


@every(TRACES)
def test_as_pytorch(trace):
    np.testing.assert_allclose(
        BASE_LR * scales_of(numbers(trace), **ours_of(trace["options"])), trace["lrs"], rtol=1e-5
    )


@every([slow(trace) if index % 4 else trace for index, trace in enumerate(OF_KERAS)])
def test_as_keras(trace):
    options = ours_of(trace["options"])
    scales = BASE_LR * scales_of(trace["metrics"], **options, convention="keras")
    np.testing.assert_allclose(scales, trace["lrs"], rtol=1e-5)


@pytest.mark.parametrize(("patience", "cooldown", "size"), [(1, 0, 2), (2, 1, 1), slow(2, 3, 1), slow(4, 1, 2)])
def test_as_optax(patience, cooldown, size):
    same = {"factor": 0.5, "patience": patience, "cooldown": cooldown, "accumulation_size": size}
    theirs = optax.contrib.reduce_on_plateau(rtol=0.01, atol=0.0, min_scale=0.1, **same)
    ours = lrjax.schedules.reduce_on_plateau(threshold=0.01, min_lr=0.1, base_lr=1.0, convention="optax", **same)
    params = jnp.ones(1)

    def scales(optimizer: Any, metrics: Any) -> Any:
        def step(state: Any, metric: Any) -> Any:
            update, state = optimizer.update(params, state, params, value=metric)
            return state, update[0]

        return jax.lax.scan(step, optimizer.init(params), metrics)[1]

    noise = np.random.default_rng(patience).normal(size=(20, 60))
    metrics = np.float32(np.exp(0.3 * noise) * 0.95 ** np.arange(60))
    expected = jax.vmap(lambda one: scales(theirs, one))(metrics)
    np.testing.assert_allclose(jax.vmap(lambda one: scales(ours, one))(metrics), expected, rtol=1e-5)
    assert len(np.unique(expected)) > 2


@every(TRACES)
def test_the_definition_is_pytorchs_for_positive_metrics(trace):
    options = dict(trace["options"])
    least = options.pop("min_lr") / BASE_LR
    np.testing.assert_allclose(BASE_LR * as_defined(numbers(trace), **options, least=least), trace["lrs"], rtol=1e-6)


def test_the_file_is_what_it_says():
    assert FILE.stat().st_size < 150_000
    assert PEER["torch"]["peer"].startswith("PyTorch 2.")
    assert PEER["keras"]["peer"].startswith("Keras 3.")
    assert any(min(trace["metrics"]) < 0 < max(trace["metrics"]) for trace in OF_KERAS)
    for patience, cooldown in itertools.product(range(4), range(4)):
        like = {"patience": patience, "cooldown": cooldown}
        assert any(like.items() <= trace["options"].items() and min(trace["lrs"]) < BASE_LR for trace in OF_KERAS)
    assert len(TRACES) >= 60
    for name, values in CHOICES.items():
        for kind, value in itertools.product(KINDS, values):
            assert any(trace["kind"] == kind and trace["options"][name] == value for trace in TRACES), (
                kind,
                name,
                value,
            )
    for trace in TRACES:
        metrics, lrs = numbers(trace), trace["lrs"]
        assert len(metrics) == len(lrs) == 40
        assert all(metric > 0 for metric in metrics if np.isfinite(metric))
        assert all(np.isfinite(metrics)) == (trace["kind"] != "broken")
        assert min(lrs) >= trace["options"]["min_lr"]
        assert trace["kind"] == "improving" or min(lrs) < BASE_LR
    assert any(min(trace["lrs"]) == trace["options"]["min_lr"] for trace in TRACES)


NOW = {"factor": 0.5, "patience": 0}
HAND: dict[str, tuple[dict[str, Any], list[float], list[float]]] = {
    "patience": ({"factor": 0.5, "patience": 2}, [1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 0.5, 0.5, 0.5, 0.25]),
    "cooldown": ({**NOW, "cooldown": 2}, [1, 1, 1, 1, 1, 1, 1], [1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25]),
    "better in the cooldown": ({**NOW, "cooldown": 1}, [1, 1, 0.5, 0.7], [1, 0.5, 0.5, 0.25]),
    "best stays": (NOW, [1, 2, 1.5, 0.9], [1, 0.5, 0.25, 0.25]),
    "margin": ({**NOW, "threshold": 0.25}, [8, 6, 5.5], [1, 0.5, 0.5]),
    "absolute margin": ({**NOW, "threshold": 2, "threshold_mode": "abs"}, [8, 6, 5.5], [1, 0.5, 0.5]),
    "margin of the mean": (
        {**NOW, "threshold": 1, "threshold_mode": "abs", "accumulation_size": 2},
        [8, 8, 7, 7.5, 7, 6],
        [1, 1, 1, 0.5, 0.5, 0.5],
    ),
    "patience of Optax": (
        {"factor": 0.5, "patience": 2, "convention": "optax"},
        [1, 1, 1, 1, 1],
        [1, 1, 0.5, 0.5, 0.25],
    ),
    "patience of Keras": (
        {"factor": 0.5, "patience": 2, "convention": "keras"},
        [1, 1, 1, 1, 1],
        [1, 1, 0.5, 0.5, 0.25],
    ),
    "patience 0 of Keras": ({**NOW, "convention": "keras"}, [1, 1, 1], [1, 0.5, 0.25]),
    "cooldown of Keras": ({**NOW, "cooldown": 2, "convention": "keras"}, [1, 1, 1, 1, 1], [1, 0.5, 0.5, 0.25, 0.25]),
    "min_delta of Keras": ({**NOW, "threshold": 2, "convention": "keras"}, [8, 6, 5.5], [1, 0.5, 0.5]),
    "max": ({**NOW, "mode": "max"}, [1, 2, 2, 3, 1], [1, 1, 0.5, 0.5, 0.25]),
    "least": ({**NOW, "min_lr": 0.3, "base_lr": 1.0}, [1, 1, 1, 1], [1, 0.5, 0.3, 0.3]),
    "least from the beginning": ({**NOW, "min_lr": 1.0, "base_lr": 1.0}, [1, 1, 1], [1, 1, 1]),
    "NaN": (NOW, [NAN, NAN, 1, NAN, 0.5], [0.5, 0.25, 0.25, 0.125, 0.125]),
    "infinite": (NOW, [INF, 1, INF, 0.5], [0.5, 0.5, 0.25, 0.25]),
    "infinite, max": ({**NOW, "mode": "max"}, [-INF, 1, -INF, 2], [0.5, 0.5, 0.25, 0.25]),
    "nothing beats infinity": (NOW, [1, -INF, -INF, -5], [1, 1, 0.5, 0.25]),
    # From here on PyTorch's bound, best * (1 - threshold), lies on the wrong side of a negative best: it takes a
    # standstill and a small worsening for improvements, and does not reduce.
    "negative, standing still": (NOW, [-1, -1, -1], [1, 0.5, 0.25]),
    "negative, a little worse": (NOW, [-1, -0.99995, -0.9999], [1, 0.5, 0.25]),
    "negative, a little better": (NOW, [-1, -1.00005, -1.0002], [1, 0.5, 0.5]),
    "negative, better": (NOW, [-1, -1.5, -2], [1, 1, 1]),
    "negative, max": ({**NOW, "mode": "max"}, [-1, -1, -1.00005, -0.5], [1, 0.5, 0.25, 0.25]),
    "through zero": (NOW, [0.1, 0, 0, -0.1, -0.1], [1, 1, 0.5, 0.5, 0.25]),
}


@pytest.mark.parametrize("name", HAND)
def test_by_hand(name):
    options, metrics, scales = HAND[name]
    np.testing.assert_allclose(scales_of(metrics, **options), scales, rtol=1e-6)


FINITE = st.integers(-64, 64).map(lambda eighths: eighths / 8)  # so that metrics repeat and bounds are exact
METRICS = st.lists(FINITE | st.sampled_from([0.0, 1.0, NAN, INF, -INF]), min_size=1, max_size=15)
OPTIONS = st.fixed_dictionaries(
    {name: st.sampled_from(values) for name, values in CHOICES.items()}
    | {"factor": st.sampled_from([0.5, 0.9]), "threshold": st.sampled_from([0.0, 0.125, 1.5])}
)


@given(metrics=METRICS, options=OPTIONS)
@settings(max_examples=60, deadline=None)
def test_metrics_of_any_sign_as_defined(metrics, options):
    scales = scales_of(metrics, **options)
    np.testing.assert_allclose(scales, as_defined(metrics, **options), rtol=1e-5)
    assert (np.diff(scales) <= 0).all()


@given(metrics=METRICS, options=OPTIONS)
@settings(max_examples=25, deadline=None)
def test_max_is_min_of_the_negative(metrics, options):
    other = {**options, "mode": "max" if options["mode"] == "min" else "min"}
    np.testing.assert_array_equal(scales_of([-m for m in metrics], **other), scales_of(metrics, **options))


@given(metrics=METRICS, options=OPTIONS, power=st.integers(-20, 20))
@settings(max_examples=25, deadline=None)
def test_a_relative_threshold_has_no_unit(metrics, options, power):
    options["threshold_mode"] = "rel"
    np.testing.assert_array_equal(scales_of(np.ldexp(metrics, power), **options), scales_of(metrics, **options))


@given(
    base_lr=st.floats(1e-6, 10), ratio=st.floats(0, 1), factor=st.floats(0.01, 0.99), metrics=METRICS, options=OPTIONS
)
@settings(max_examples=40, deadline=None)
def test_never_below_the_least_lr(base_lr, ratio, factor, metrics, options):
    options = {**options, "factor": factor, "min_lr": base_lr * ratio, "base_lr": base_lr}
    scales = scales_of([*metrics, *[NAN] * 10], **options)
    assert (scales >= np.float32(base_lr * ratio / base_lr)).all()
    assert (scales <= 1).all()


@pytest.mark.parametrize("size", [2, 5])
def test_a_measurement_is_the_mean_over_its_updates(size):
    metrics = np.random.default_rng(0).integers(1, 64, (12, size)) / 8.0  # sums without rounding
    metrics[3, 1], metrics[7, 0] = NAN, INF
    options = {"factor": 0.5, "patience": 1, "cooldown": 1}
    scales = scales_of(metrics.ravel(), **options, accumulation_size=size)
    means = scales_of(metrics.mean(1).astype(np.float32), **options)
    assert means[-1] < 1
    expected = np.repeat([1.0, *means], size)[1 : 1 + metrics.size]  # it acts on the last update of its window
    np.testing.assert_array_equal(scales, expected)


COMPILED = {
    "min": {"factor": 0.5, "patience": 1},
    "max": {"factor": 0.5, "patience": 0, "mode": "max", "threshold_mode": "abs", "cooldown": 2},
    "mean": {"factor": 0.9, "patience": 1, "accumulation_size": 3, "min_lr": 0.05, "base_lr": 0.1},
}
NOISE = np.random.default_rng(1).normal(size=(5, 30)).astype(np.float32)
NOISE[1, 4], NOISE[2, 0], NOISE[3, 7] = NAN, INF, -INF


@pytest.mark.parametrize("options", COMPILED.values(), ids=COMPILED.keys())
def test_one_trace_and_one_answer_in_every_way_of_running(options):
    chex.clear_trace_counter()
    run = jax.jit(chex.assert_max_traces(lambda metrics: scan(metrics, **options), 1))
    alone = np.array([run(metrics) for metrics in NOISE])
    np.testing.assert_array_equal(jax.jit(jax.vmap(lambda metrics: scan(metrics, **options)))(NOISE), alone)
    assert len(np.unique(alone, axis=0)) > 2
    for metrics, scales in zip(NOISE, alone, strict=True):
        np.testing.assert_allclose(scales_of(metrics, **options), scales, rtol=1e-6)


def test_one_trace_for_all_updates():
    chex.clear_trace_counter()
    optimizer = lrjax.schedules.reduce_on_plateau(**NOW)
    update = jax.jit(chex.assert_max_traces(lambda state, value: optimizer.update(ONE, state, value=value)[1], 1))
    state = optimizer.init(ONE)
    for metric in NOISE[0]:
        state = update(state, metric)
    assert state.scale < 1


def test_vmap_over_its_numbers():
    factors, thresholds = np.array([0.5, 0.25, 0.9], np.float32), np.array([0.0, 0.1, 1.0], np.float32)
    least = np.array([0.0, 0.1, 0.5], np.float32)

    def run(factor: Any, threshold: Any, min_lr: Any) -> Any:
        return scan(NOISE[0], factor=factor, threshold=threshold, patience=1, min_lr=min_lr, base_lr=1.0)

    together = jax.jit(jax.vmap(run))(factors, thresholds, least)
    for scales, *ours in zip(together, factors, thresholds, least, strict=True):
        np.testing.assert_allclose(scales, run(*ours), rtol=1e-6)


def test_after_adam_it_scales_its_updates():
    grads = np.random.default_rng(2).normal(size=(6, 3)).astype(np.float32)
    params = jnp.ones(3)
    adam, chained = optax.adam(0.1), optax.chain(optax.adam(0.1), lrjax.schedules.reduce_on_plateau(**NOW))
    state, states = adam.init(params), chained.init(params)
    for step, scale in enumerate([1, 0.5, 0.25, 0.25, 0.125, 0.0625]):
        expected, state = adam.update(grads[step], state, params)
        ours, states = chained.update(grads[step], states, params, value=[2, 2, 2, 1, 1, 1][step], grad=grads[step])
        np.testing.assert_array_equal(ours, scale * expected)


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32, jnp.float64, jnp.complex64, jnp.int32])
def test_updates_and_state_keep_their_types(dtype, x64):
    with jax.enable_x64(x64):
        dtype = jax.dtypes.canonicalize_dtype(dtype)
        optimizer = lrjax.schedules.reduce_on_plateau(
            factor=0.5, patience=0, cooldown=1, min_lr=0.1, base_lr=np.float64(0.4)
        )
        updates = {"w": jnp.full(3, 4, dtype), "none": None}
        before = state = optimizer.init(updates)
        for metric in (1.0, np.float64(1), jnp.bfloat16(1)):
            scaled, state = optimizer.update(updates, state, value=metric)
        assert scaled["w"].dtype == dtype
        np.testing.assert_array_equal(scaled["w"], jnp.full(3, 2, dtype))
        chex.assert_trees_all_equal_shapes_and_dtypes(state, before)
        assert [leaf.dtype for leaf in state] == [np.float32, np.float32, *[np.int32] * 3, np.float32]
        assert not any(leaf.weak_type for leaf in state)


def test_no_nan_arises_by_itself():
    with jax.debug_nans(True):
        assert scales_of([INF, 0, 0, -INF, 1], **NOW)[-1] == 1 / 8


def test_a_state_can_be_donated():
    optimizer = lrjax.schedules.reduce_on_plateau(**NOW)
    update = jax.jit(lambda state: optimizer.update(ONE, state, value=1.0)[1], donate_argnums=0)
    assert update(optimizer.init(ONE)).best == 1


def test_a_metric_beyond_float32_is_infinite():
    for large in (1e39, np.float64(1e39)):
        np.testing.assert_array_equal(scales_of([large, 1.0], **NOW), [0.5, 0.5])


def updated(**extra: Any) -> Any:
    optimizer = optax.chain(optax.sgd(0.1), lrjax.schedules.reduce_on_plateau())
    return optimizer.update(ONE, optimizer.init(ONE), ONE, **extra)


ERRORS = {
    "missing": (lambda: updated(), TypeError, ["needs the metric at every update", "value=loss"]),
    "another name": (lambda: updated(loss=1.0), TypeError, ["value=loss"]),
    "vector": (lambda: updated(value=jnp.ones(3)), ValueError, ["one number", "(3,)", "mean"]),
    "flag": (lambda: updated(value=True), TypeError, ["one number", "True (bool)"]),
    "list": (lambda: updated(value=[1.0]), TypeError, ["one number", "[1.0] (list)"]),
    "complex": (lambda: updated(value=1j), TypeError, ["one number", "1j (complex)"]),
    "one in a vector": (lambda: jax.jit(updated)(value=jnp.ones(1)), ValueError, ["one number", "(1,)"]),
    "factor": (
        lambda: lrjax.schedules.reduce_on_plateau(factor=1.0),
        ValueError,
        ["`reduce_on_plateau(factor=...)`", "below 1"],
    ),
    "no factor": (lambda: lrjax.schedules.reduce_on_plateau(factor=0.0), ValueError, ["above 0"]),
    "patience": (
        lambda: lrjax.schedules.reduce_on_plateau(patience=-1),
        ValueError,
        ["`reduce_on_plateau(patience=...)`"],
    ),
    "half a patience": (lambda: lrjax.schedules.reduce_on_plateau(patience=1.5), TypeError, ["whole number", "1.5"]),
    "cooldown": (
        lambda: lrjax.schedules.reduce_on_plateau(cooldown=-1),
        ValueError,
        ["`reduce_on_plateau(cooldown=...)`"],
    ),
    "mode": (lambda: lrjax.schedules.reduce_on_plateau(mode="minimum"), ValueError, ["'min', 'max'", "'minimum'"]),
    "threshold_mode": (
        lambda: lrjax.schedules.reduce_on_plateau(threshold_mode="relative"),
        ValueError,
        ["'rel', 'abs'"],
    ),
    "threshold": (
        lambda: lrjax.schedules.reduce_on_plateau(threshold=-0.1),
        ValueError,
        ["`reduce_on_plateau(threshold=...)`"],
    ),
    "no base": (lambda: lrjax.schedules.reduce_on_plateau(min_lr=0.1), ValueError, ["needs base_lr"]),
    "above the base": (
        lambda: lrjax.schedules.reduce_on_plateau(min_lr=2, base_lr=1),
        ValueError,
        ["must not be above base_lr=1"],
    ),
    "convention": (
        lambda: lrjax.schedules.reduce_on_plateau(convention="pytorch"),
        ValueError,
        ["'torch', 'keras', 'optax'"],
    ),
    "patience of Optax": (
        lambda: lrjax.schedules.reduce_on_plateau(patience=0, convention="optax"),
        ValueError,
        ["`reduce_on_plateau(patience=...)`", ">= 1"],
    ),
    "size": (
        lambda: lrjax.schedules.reduce_on_plateau(accumulation_size=0),
        ValueError,
        ["accumulation_size=...", "updates"],
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_say_what_to_do(name):
    check_message(*ERRORS[name])

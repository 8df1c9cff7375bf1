"""muP from shapes: what each parameter is, its factor under each rule, and the plain optimizer at the base."""

import functools
import json
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from marks import slow_but_for

import lrjax
from experiments.scaling import mup as experiment
from lrjax.scaling import mup, rescale_init

F32 = jnp.float32


def shapes(**sizes):
    return {name: jax.ShapeDtypeStruct(size, F32) for name, size in sizes.items()}


def net(width):
    return shapes(first=(8, width), bias=(width,), hidden=(width, width), last=(width, 3), last_bias=(3,))


FACTORS = {
    "sgd": {"first": 4, "bias": 4, "hidden": 1, "last": 1 / 4, "last_bias": 1},
    "adam": {"first": 1, "bias": 1, "hidden": 1 / 4, "last": 1 / 4, "last_bias": 1},
    "sign": {"first": 1, "bias": 1, "hidden": 1 / 4, "last": 1 / 4, "last_bias": 1},
    "muon": {"first": 1, "bias": 1, "hidden": 1, "last": 1 / 2, "last_bias": 1},
}
"""From width 16 to 64; Muon as Optax scales it moves the first layer by (64 / 8)^0.5 instead of (16 / 8)^0.5."""


@pytest.mark.parametrize("rule", FACTORS)
def test_factors_of_every_rule_are_those_of_the_table(rule):
    made = mup(optax.sgd, base=net(16), params=net(64), rule=rule)
    assert made.factors == pytest.approx(FACTORS[rule])
    kinds = {leaf.path: leaf.kind for leaf in made.leaves}
    assert kinds == dict(first="input", bias="vector", hidden="hidden", last="output", last_bias="fixed")


OPTIMIZERS = {
    "sgd": (optax.sgd, "sgd"),
    "momentum": (lambda lr: optax.sgd(lr, 0.9, nesterov=True), "sgd"),
    "adam": (optax.adam, "adam"),
    "adamw": (optax.adamw, "adam"),
    "lion": (optax.lion, "adam"),
    "clipped": (lambda lr: optax.chain(optax.clip_by_global_norm(1.0), optax.adam(lr)), "adam"),
    "clipped sgd": (lambda lr: optax.chain(optax.clip_by_global_norm(0.1), optax.sgd(lr)), "sgd"),
    "warmup": (lambda lr: optax.sgd(optax.linear_schedule(0.0, lr, 2)), "sgd"),
}


@pytest.mark.parametrize("name", slow_but_for(OPTIMIZERS, ["clipped sgd", "adamw", "lion"]))
def test_the_rule_is_found_by_trying_the_optimizer(name):
    make_optimizer, rule = OPTIMIZERS[name]
    assert set(mup(make_optimizer, base=net(16), params=net(64)).rules.values()) == {rule}


@pytest.mark.slow
def test_muon_moves_matrices_by_its_own_rule_and_the_rest_as_adam():
    rules = mup(optax.contrib.muon, base=net(16), params=net(64)).rules
    assert rules == {name: "adam" if "bias" in name else "muon" for name in net(16)}


def test_parts_of_an_optimizer_have_rules_of_their_own():
    labels = {name: "frozen" if name == "last" else "sgd" if "bias" in name else "adam" for name in net(16)}
    parts = lambda lr: {"adam": optax.adam(lr), "sgd": optax.sgd(lr), "frozen": optax.set_to_zero()}  # noqa: E731
    made = mup(lambda lr: optax.multi_transform(parts(lr), labels), base=net(16), params=net(64))
    assert made.rules == {name: label for name, label in labels.items() if label != "frozen"}
    assert made.factors["bias"] == 4
    assert made.factors["hidden"] == 1 / 4


UNCLEAR = {
    "adagrad": optax.adagrad,
    "lamb": optax.lamb,
    "schedule_free": optax.contrib.schedule_free_sgd,
    "l2 in adam": lambda lr: optax.chain(optax.add_decayed_weights(1e-3), optax.adam(lr)),
    "two arguments": lambda lr, decay: optax.adamw(lr, weight_decay=decay),
    "line search": optax.lbfgs,
}


@pytest.mark.parametrize("name", slow_but_for(UNCLEAR, ["adagrad", "schedule_free", "two arguments"]))
def test_an_optimizer_of_an_unclear_rule_is_refused(name):
    with pytest.raises(ValueError, match=r"not certainly SGD, Adam-like or Muon.*say which: rule='sgd' or 'adam'"):
        mup(UNCLEAR[name], base=net(16), params=net(64))


SHAPES = {
    "convolution": (((3, 3, 16, 16), (3, 3, 64, 64)), "hidden"),
    "first convolution": (((3, 3, 3, 16), (3, 3, 3, 64)), "input"),
    "more heads": (((16, 2, 8), (64, 8, 8)), "hidden"),
    "wider heads": (((16, 2, 8), (64, 2, 32)), "hidden"),
    "more and wider heads": (((16, 2, 8), (64, 4, 16)), "hidden"),
    "heads to width": (((2, 8, 16), (8, 8, 64)), "hidden"),
    "fixed heads": (((16, 1, 8), (64, 1, 8)), "output"),
    "embedding": (((99, 16), (99, 64)), "input"),
    "scanned": (((5, 16, 16), (5, 64, 64)), "hidden"),
    "scanned gain": (((5, 16), (5, 64)), "input"),
    "rounded": (((16, 43), (64, 170)), "hidden"),
    "as long as wide": (((16, 16), (64, 16)), "output"),
}


@pytest.mark.parametrize(("sizes", "kind"), SHAPES.values(), ids=SHAPES)
def test_kinds_from_shapes(sizes, kind):
    base, params = (shapes(x=size, bias=(width,)) for size, width in zip(sizes, (16, 64), strict=True))
    made = mup(optax.sgd, base={"deep": base}, params={"deep": params}, rule="sgd", layout="in_out")
    assert [leaf.kind for leaf in made.leaves] == ["vector", kind]


def test_biases_of_heads_are_vectors_and_tell_the_fan_out():
    def layers(heads):
        return {
            "query": shapes(kernel=(8 * heads, heads, 8), bias=(heads, 8)),
            "scan": shapes(kernel=(3, 8 * heads, heads, 8), bias=(3, heads, 8)),
            "cross": shapes(kernel=(7, heads, 8), bias=(heads, 8)),
            "picture": shapes(kernel=(3, 3, 8 * heads, 3), bias=(3,)),
        }

    found = {leaf.path: leaf.kind for leaf in mup(optax.sgd, base=layers(2), params=layers(8), rule="sgd").leaves}
    assert [found[f"{name}/bias"] for name in ("query", "scan", "cross", "picture")] == [*["vector"] * 3, "fixed"]
    assert [found[f"{name}/kernel"] for name in ("cross", "picture")] == ["input", "output"]


def test_layers_of_equinox_are_known_and_layouts_can_be_said():
    def model(width):
        key = jax.random.key(0)
        made = lambda: (  # noqa: E731
            eqx.nn.Embedding(9, width, key=key),
            eqx.nn.Linear(width, 4, key=key),
            eqx.nn.Conv2d(3, width, 3, key=key),
        )
        return eqx.filter_eval_shape(made)

    found = mup(optax.sgd, base=model(8), params=model(16), rule="sgd")
    assert [leaf.kind for leaf in found.leaves] == ["input", "output", "fixed", "input", "vector"]
    torch = {"layer": shapes(weight=(4, 8), bias=(4,))}, {"layer": shapes(weight=(4, 16), bias=(4,))}
    made = mup(optax.sgd, base=torch[0], params=torch[1], rule="sgd", layout="out_in")
    assert [leaf.kind for leaf in made.leaves] == ["fixed", "output"]


def test_states_of_nnx_keep_their_biases_beside_their_kernels():
    def model(width):
        return nnx.state(nnx.eval_shape(lambda: nnx.Linear(width, 4, rngs=nnx.Rngs(0))), nnx.Param)

    found = mup(optax.sgd, base=model(8), params=model(16), rule="sgd")
    assert [(leaf.path, leaf.kind) for leaf in found.leaves] == [("bias/value", "fixed"), ("kernel/value", "output")]


GROWN = {"base": net(16), "params": net(64)}
ADAM = functools.partial(mup, optax.adam, rule="adam")
BAD = {
    "optimizer": (lambda: mup(optax.adam(1.0), **GROWN), TypeError, "Pass optax.adam, not optax.adam(1e-3)"),
    "unknown rule": (lambda: mup(optax.adam, **GROWN, rule="rmsprop"), ValueError, "one of 'sgd', 'adam', 'sign'"),
    "two factors": (
        lambda: ADAM(base=shapes(a=(8, 8), b=(8,), c=(8, 32)), params=shapes(a=(16, 16), b=(16,), c=(16, 96))),
        ValueError,
        "must grow by one factor, but the widest axis grows by 3 and of a, (8, 8) to (16, 16), axis 0 by 2",
    ),
    "deeper": (
        lambda: ADAM(base=shapes(a=(2, 8, 8)), params=shapes(a=(4, 32, 32))),
        ValueError,
        "leave depth, vocabulary and context as they are",
    ),
    "other structure": (lambda: ADAM(base=shapes(a=(8,)), params=shapes(b=(16,))), ValueError, "['a'], float32[8]"),
    "other rank": (lambda: ADAM(base=shapes(a=(8,)), params=shapes(a=(16, 16))), ValueError, "two widths"),
    "swapped": (lambda: ADAM(base=net(64), params=net(16)), ValueError, "are the two swapped?"),
    "unknown path": (lambda: ADAM(**GROWN, kinds={"*/readout": "output"}), ValueError, "no path matches '*/readout'"),
    "unknown kind": (lambda: ADAM(**GROWN, kinds={"last": "readout"}), ValueError, "one of 'input', 'hidden'"),
    "kinds no mapping": (lambda: ADAM(**GROWN, kinds="hidden"), TypeError, "a mapping from a path to a kind"),
    "unknown layout": (lambda: ADAM(**GROWN, layout="HWIO"), ValueError, "one of 'in_out', 'out_in'"),
    "no arrays": (lambda: ADAM(base={"a": 1.0}, params={"a": 2.0}), TypeError, "must hold arrays"),
    "no leaves": (lambda: ADAM(base={}, params={}), TypeError, "without any"),
    "PyTorch's layout": (
        lambda: ADAM(base={"fc": shapes(weight=(4, 8), bias=(4,))}, params={"fc": shapes(weight=(4, 16), bias=(4,))}),
        ValueError,
        "the layer's bias has the length of its first axis, as in PyTorch",
    ),
    "an axis in the middle": (
        lambda: ADAM(base=shapes(a=(5, 8, 3)), params=shapes(a=(5, 16, 3))),
        ValueError,
        "kinds={'a': \"input\"}",
    ),
}


@pytest.mark.parametrize(("call", "error", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_explained(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert message in str(caught.value)


def test_an_array_of_an_equinox_module_of_ones_own_needs_its_layout():
    class Readout(eqx.Module):
        weight: jax.Array

    base, params = Readout(jnp.ones((8, 3))), Readout(jnp.ones((16, 3)))
    with pytest.raises(ValueError, match=r"it lies in Readout itself, which may call it as x @ w or as w @ x"):
        ADAM(base=base, params=params)
    assert ADAM(base=base, params=params, layout="out_in").leaves[0].kind == "input"
    assert ADAM(base=base, params=params, kinds={"weight": "output"}).leaves[0].kind == "output"


def values(sizes, seed=0):
    random = np.random.default_rng(seed)
    return {name: jnp.asarray(random.normal(size=leaf.shape), F32) for name, leaf in sizes.items()}


@pytest.mark.parametrize("make_optimizer", [optax.adamw, lambda lr: optax.sgd(lr, 0.9)], ids=["adamw", "sgd"])
def test_at_the_base_s_width_it_is_the_plain_optimizer_bit_for_bit(make_optimizer):
    made = mup(make_optimizer, base=net(16), params=net(16))
    assert "the optimizer is the plain one" in made.summary()
    params, others = values(net(16)), values(net(16))
    state, other_state = made(0.1).init(params), make_optimizer(0.1).init(others)
    for step in range(3):
        gradients = values(net(16), seed=step + 1)
        updates, state = made(0.1).update(gradients, state, params)
        other_updates, other_state = make_optimizer(0.1).update(gradients, other_state, others)
        params, others = optax.apply_updates(params, updates), optax.apply_updates(others, other_updates)
    jax.tree.map(np.testing.assert_array_equal, (params, state), (others, other_state))


@pytest.mark.parametrize("independent", [True, False])
def test_weight_decay_is_independent_of_the_factor_or_not(independent):
    made = mup(lambda lr: optax.adamw(lr, weight_decay=0.5), **GROWN, independent_weight_decay=independent)
    params, zeros = values(net(64)), jax.tree.map(jnp.zeros_like, values(net(64)))
    updates, _ = made(0.1).update(zeros, made(0.1).init(params), params)
    kept = {name: 1.0 if independent else factor for name, factor in FACTORS["adam"].items()}
    for name, update in updates.items():
        np.testing.assert_allclose(update, -0.05 * kept[name] * params[name], rtol=1e-6)


def test_it_composes_with_schedules_masks_and_reads_back_the_global_lr():
    made, params = ADAM(**GROWN), values(net(64))
    optimizer = lrjax.schedules.scheduled(made, learning_rate=lrjax.schedules.constant(0.25))
    state = optimizer.init(params)
    updates, state = optimizer.update(params, state, params)
    assert lrjax.schedules.current_hyperparams(state)["learning_rate"] == 0.25
    np.testing.assert_allclose(jnp.abs(updates["last"]), 0.25 / 4, rtol=1e-3)
    injected = optax.inject_hyperparams(made)(learning_rate=0.5)
    assert injected.init(params).hyperparams["learning_rate"] == 0.5
    masked = optax.masked(made(0.5), {name: name != "first" for name in params})
    updates, _ = masked.update(params, masked.init(params), params)
    np.testing.assert_array_equal(updates["first"], params["first"])
    np.testing.assert_allclose(jnp.abs(updates["hidden"]), 0.5 / 4, rtol=1e-3)


def test_it_may_be_made_inside_a_factory_whose_learning_rate_is_traced():
    @jax.jit
    def update(lr, grads):
        optimizer = mup(optax.sgd, base=net(16), params=net(64))(lr)
        return optimizer.update(grads, optimizer.init(grads))[0]

    updates = update(0.5, jax.tree.map(lambda leaf: jnp.ones(leaf.shape), net(64)))
    assert {name: float(-leaf.ravel()[0]) / 0.5 for name, leaf in updates.items()} == FACTORS["sgd"]


def test_other_parameters_at_the_update_are_refused():
    optimizer, params = ADAM(**GROWN)(0.1), values(net(32))
    with pytest.raises(ValueError, match=r"of bias, float32\[32\] here, it knows one of shape \(64,\)"):
        optimizer.update(params, optimizer.init(params), params)


def test_types_are_kept():
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), values(net(64)))
    optimizer = ADAM(**GROWN)(0.1)
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    for leaf in jax.tree.leaves((updates, rescale_init(params, net(16)))):
        assert leaf.dtype == jnp.bfloat16


def test_the_summary_says_what_is_left_to_the_model():
    def tied(heads):
        return shapes(table=(99, 4 * heads), query=(4 * heads, 4, heads), gain=(4 * heads,))

    summary = ADAM(base=tied(4), params=tied(16)).summary()
    assert "if table is also the readout (tied embeddings), divide the logits" in summary
    assert "If the axes of query are those of attention, its heads are wider" in summary


def initial(width, seed, deviation):
    random = np.random.default_rng(seed)
    sizes = net(width)
    return {name: jnp.asarray(random.normal(0, deviation(leaf.shape), leaf.shape), F32) for name, leaf in sizes.items()}


INITIALISERS = {
    "fan-in": (lambda shape: shape[0] ** -0.5, {"last": 0.25}),
    "fixed": (lambda shape: 0.02, {"hidden": 0.25, "last": 1 / 16}),
    "fan-out": (lambda shape: shape[-1] ** -0.5, {"first": 4.0, "bias": 4.0, "last": 1 / 16}),
}


@pytest.mark.parametrize(("deviation", "factors"), INITIALISERS.values(), ids=INITIALISERS)
def test_initial_values_are_rescaled_whatever_the_initialiser_does_with_the_width(deviation, factors):
    params, base = initial(512, 1, deviation), initial(32, 2, deviation)
    if "bias" not in factors:
        params["bias"], base["bias"] = jnp.ones(512), jnp.ones(32)
    scaled = jax.jit(rescale_init)(params, base)
    for name, leaf in params.items():
        np.testing.assert_allclose(scaled[name], factors.get(name, 1.0) * leaf, rtol=1e-6, err_msg=name)
    again = rescale_init(base, base)
    jax.tree.map(np.testing.assert_array_equal, again, base)


def test_initial_values_of_shapes_alone_are_taken_for_fan_in():
    params = initial(64, 1, lambda shape: shape[0] ** -0.5)
    scaled = rescale_init(params, net(16))
    assert {name for name in params if not np.array_equal(params[name], scaled[name])} == {"last"}
    np.testing.assert_allclose(scaled["last"], params["last"] / 2, rtol=1e-6)


def test_the_page_has_the_table_of_the_results():
    page = (Path(lrjax.__file__).parents[1] / "docs/scaling.md").read_text()
    assert experiment.report(json.loads(experiment.RESULT.read_text())) in page

"""Flax: linen modules and TrainStates, nnx modules and Optimizers."""

import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import check_message
from toy_data import BATCHES, DATA, X, Y, curve, same, steps_of

import lrjax

pytest.importorskip("flax", reason="Flax is not installed: pip install 'lrjax[flax]'")

from flax import linen as nn
from flax import nnx
from flax.training.train_state import TrainState

from lrjax.integrations.flax import linen_task, nnx_task, optimizer_with_lr, train_state_with_lr


class Linen(nn.Module):
    @nn.compact
    def __call__(self, x, train: bool):
        x = nn.BatchNorm(use_running_average=not train, momentum=0.5)(nn.Dense(6)(x))
        return nn.Dense(1)(nn.Dropout(0.3, deterministic=not train)(jnp.tanh(x)))[:, 0]


class State(TrainState):
    batch_stats: Any


class Net(nnx.Module):
    def __init__(self, rngs):
        self.first, self.norm = nnx.Linear(4, 6, rngs=rngs), nnx.BatchNorm(6, momentum=0.5, rngs=rngs)
        self.dropout, self.last = nnx.Dropout(0.3, rngs=rngs), nnx.Linear(6, 1, rngs=rngs)

    def __call__(self, x):
        return self.last(self.dropout(jnp.tanh(self.norm(self.first(x)))))[:, 0]


def squares(outputs, batch):
    return jnp.mean((outputs - batch[1]) ** 2)


def nnx_loss(model, batch):
    return squares(model(batch[0]), batch), "aux"


VARIABLES = Linen().init(jax.random.key(1), X[:2], train=False)


@pytest.mark.slow
def test_a_linen_trial_is_the_training_written_by_hand():
    task = linen_task(Linen(), squares, variables=VARIABLES, **DATA)
    got = curve(task, optax.sgd)
    for index, lr in enumerate((1e-2, 0.1)):
        state = State.create(apply_fn=Linen().apply, tx=optax.sgd(lr), **VARIABLES)
        for batch, key in steps_of(task):

            def loss_of(params, state=state, batch=batch, key=key):
                out, moved = state.apply_fn(
                    {"params": params, "batch_stats": state.batch_stats},
                    batch[0],
                    train=True,
                    rngs={"dropout": jax.random.fold_in(key, 0)},
                    mutable=["batch_stats"],
                )
                return squares(out, batch), moved

            grads, moved = jax.grad(loss_of, has_aux=True)(state.params)
            state = state.apply_gradients(grads=grads, batch_stats=moved["batch_stats"])
        variables = {"params": state.params, "batch_stats": state.batch_stats}
        wanted = squares(Linen().apply(variables, X[60:], train=False), (X[60:], Y[60:]))
        np.testing.assert_allclose(got.final[0, index], wanted, rtol=1e-4)


@pytest.mark.slow
def test_a_train_state_is_its_module_and_variables_and_stays_as_it_was():
    state = State.create(apply_fn=Linen().apply, tx=optax.adam(1.0), **VARIABLES)
    before = jax.tree.map(np.array, state)
    got = curve(linen_task(state, squares, **DATA), optax.sgd)
    assert same(got, curve(linen_task(Linen(), squares, variables=VARIABLES, **DATA), optax.sgd))
    assert same(before, state)


def test_linen_seeds_initialise_the_module_themselves():
    task = linen_task(Linen(), squares, **DATA)
    losses = curve(task, optax.sgd, num_seeds=2, num_steps=1).initial_loss
    assert losses[0] != losses[1]
    again = curve(task, optax.sgd, num_seeds=2, num_steps=1).initial_loss
    assert same(losses, again)


class Drop(nn.Module):
    """Dropout under one of the two flags that linen models have."""

    flag: str

    @nn.compact
    def __call__(self, x, deterministic=None, train=None):
        off = deterministic if self.flag == "deterministic" else not train
        return nn.Dense(1)(nn.Dropout(0.5, deterministic=off)(x))[:, 0]


@pytest.mark.parametrize("flag", ["deterministic", "train"])
def test_dropout_is_on_in_training_and_off_in_evaluation(flag):
    variables = Drop(flag).init(jax.random.key(0), X[:2], deterministic=True, train=False)
    task = linen_task(Drop(flag), squares, variables=variables, **BATCHES)
    (params, state), batch = task.init, (X[:16], Y[:16])
    plain = squares(X[:16] @ params["Dense_0"]["kernel"][:, 0] + params["Dense_0"]["bias"], batch)
    np.testing.assert_allclose(task.eval_fn(params, state, batch), plain, rtol=1e-5)
    keys = jax.random.split(jax.random.key(1))
    losses = [float(task.loss_fn(params, state, batch, key)[0]) for key in keys]
    assert len({float(plain), *losses}) == 3


@pytest.mark.parametrize("read", [lambda batch: batch, lambda batch: batch.graph], ids=["batch", "part"])
def test_a_named_tuple_is_one_argument(read):
    class Graph(NamedTuple):
        nodes: Any
        edges: Any

    class Whole(NamedTuple):
        graph: Graph
        labels: Any

    class Sum(nn.Module):
        @nn.compact
        def __call__(self, given):
            graph = getattr(given, "graph", given)
            return nn.Dense(1)(graph.nodes + graph.edges)[:, 0]

    train = Whole(Graph(X[:60], X[:60]), Y[:60])
    loss = lambda outputs, batch: jnp.mean((outputs - batch.labels) ** 2)  # noqa: E731
    data = {"train": train, "validation": jax.tree.map(lambda leaf: leaf[:8], train), "batch_size": 16}
    task = linen_task(Sum(), loss, inputs=read, **data)
    params, state = task.init(jax.random.key(0))
    wanted = loss(2 * train.graph.nodes @ params["Dense_0"]["kernel"][:, 0] + params["Dense_0"]["bias"], train)
    np.testing.assert_allclose(task.eval_fn(params, state, train), wanted, rtol=1e-5)


@pytest.mark.slow
def test_dropout_differs_from_seed_to_seed_and_is_off_in_evaluation():
    model = Drop("deterministic")
    variables = model.init(jax.random.key(0), X[:2], True)
    task = linen_task(model, squares, variables=variables, **BATCHES)
    same_batch = {"train_batches": [(X[:16], Y[:16])] * 4, "eval_batches": BATCHES["eval_batches"]}
    fixed = linen_task(model, squares, variables=variables, **same_batch)
    losses = curve(fixed, optax.sgd, num_steps=2, num_seeds=2)
    assert losses.final[0, 1] != losses.final[1, 1]
    assert losses.initial_loss[0] == losses.initial_loss[1]
    wanted = squares(model.apply(variables, X[60:], True), (X[60:], Y[60:]))
    np.testing.assert_allclose(curve(task, optax.sgd, num_steps=1).initial_loss[0], wanted, rtol=1e-6)


@pytest.mark.slow
def test_an_nnx_trial_is_the_training_written_by_hand():
    model = Net(nnx.Rngs(2))
    task = nnx_task(model, nnx_loss, **DATA)
    before = jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.RngKey))))
    got = curve(task, optax.sgd)
    assert same(before, nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.RngKey))))
    assert not model.norm.use_running_average
    copy = nnx.clone(model)
    optimizer = nnx.Optimizer(copy, optax.sgd(0.1), wrt=nnx.Param)
    for batch, key in steps_of(task):
        nnx.reseed(copy, default=key)
        grads = nnx.grad(nnx_loss, has_aux=True)(copy, batch)[0]
        optimizer.update(copy, grads)
    copy.eval()
    np.testing.assert_allclose(got.final[0, 1], nnx_loss(copy, (X[60:], Y[60:]))[0], rtol=1e-4)


@pytest.mark.slow
def test_an_nnx_model_in_eval_mode_trains_in_train_mode():
    model, twin = Net(nnx.Rngs(2)), Net(nnx.Rngs(2))
    model.eval()
    task, other = nnx_task(model, nnx_loss, **DATA), nnx_task(twin, nnx_loss, **DATA)
    assert same(curve(task, optax.sgd, num_steps=2), curve(other, optax.sgd, num_steps=2))
    assert model.norm.use_running_average


def test_nnx_seeds_make_their_own_models_and_rngs_are_passed():
    seen = []

    def loss_fn(model, rngs, batch):
        seen.append(rngs)
        return nnx_loss(model, batch)[0]

    task = nnx_task(lambda key: Net(nnx.Rngs(key)), loss_fn, **DATA)
    losses = curve(task, optax.sgd, num_steps=1, num_seeds=2).initial_loss
    assert losses[0] != losses[1]
    assert {type(rngs) for rngs in seen} == {nnx.Rngs, type(None)}


def test_nnx_wrt_freezes_the_rest():
    task = nnx_task(Net(nnx.Rngs(2)), nnx_loss, wrt=nnx.PathContains("last"), **DATA)
    flags = {jax.tree_util.keystr(path): flag for path, flag in jax.tree_util.tree_leaves_with_path(task.trainable)}
    assert {path for path, flag in flags.items() if flag} == {path for path in flags if "last" in path}
    assert len(flags) == 6


def test_the_found_lr_goes_into_a_train_state_and_an_optimizer():
    schedule = lrjax.schedules.linear_decay(0.5, 0.0, 2)
    state = TrainState.create(apply_fn=None, params={"w": jnp.ones(2)}, tx=optax.adam(1.0))
    scheduled = train_state_with_lr(state, optax.sgd, schedule)
    for wanted in (0.5, 0.25, 0.25):
        scheduled = scheduled.apply_gradients(grads={"w": jnp.ones(2)})
        np.testing.assert_allclose(scheduled.params["w"], wanted)
    assert (state.params["w"] == 1).all()
    model = nnx.Linear(2, 1, rngs=nnx.Rngs(0))
    kernel = np.asarray(model.kernel[...])
    optimizer = nnx.Optimizer(model, optax.adam(1.0), wrt=nnx.Param)
    new = optimizer_with_lr(optimizer, model, optax.sgd, 0.5)
    new.update(model, nnx.grad(lambda model: model.kernel.sum())(model))
    np.testing.assert_allclose(model.kernel[...], kernel - 0.5, rtol=1e-6)
    assert int(optimizer.step[...]) == 0


NO_STATS = {"params": VARIABLES["params"]}
HALF = {"train": (X[:60], Y[:50]), "validation": (X[60:], Y[60:]), "batch_size": 16}


def linen(*arguments, **options):
    task = linen_task(*(arguments or (Linen(), squares)), **(DATA | options))
    return curve(task, optax.sgd, num_steps=1)


CASES = {
    "an nnx module for linen": (lambda: linen(Net(nnx.Rngs(0)), squares), TypeError, ["(model=...)", "see nnx_task"]),
    "a module class": (lambda: linen(Linen, squares), TypeError, ["Make an instance: Model()"]),
    "no loss": (lambda: linen(Linen(), None), TypeError, ["linen_task(loss=...)", "loss(outputs, batch) -> scalar"]),
    "parameters alone": (
        lambda: linen(variables=VARIABLES["params"]),
        ValueError,
        ['"params"', "BatchNorm_0", 'write {"params": params}'],
    ),
    "a missing collection": (
        lambda: linen(variables=NO_STATS),
        ValueError,
        ["lacks a collection", "all that model.init returned", "batch_stats"],
    ),
    "a TrainState without its statistics": (
        lambda: linen(TrainState.create(apply_fn=Linen().apply, tx=optax.sgd(1.0), **NO_STATS), squares),
        ValueError,
        ["lacks a collection", "TrainState with a field for it"],
    ),
    "variables beside a TrainState": (
        lambda: linen(State.create(apply_fn=None, tx=optax.sgd(1.0), **VARIABLES), squares, variables=VARIABLES),
        TypeError,
        ["(variables=...)` must be None with a TrainState"],
    ),
    "arguments that the module does not take": (
        lambda: linen(variables=VARIABLES, train_arguments={"mode": 1}),
        TypeError,
        ["calls Linen(x, train: bool)", "{'mode': 1}", "train_arguments=..."],
    ),
    "too many inputs": (
        lambda: linen(variables=VARIABLES, inputs=lambda batch: (batch[0], batch[0], batch[0])),
        TypeError,
        ["with 3 inputs", "multiple values for argument 'train'"],
    ),
    "training mode in evaluation": (
        lambda: linen(variables=VARIABLES, eval_arguments={"train": True}),
        ValueError,
        ["in evaluation as if it trained", "eval_arguments="],
    ),
    "a random stream that is not named": (
        lambda: linen(variables=VARIABLES, rngs=()),
        ValueError,
        ["random stream", 'rngs=("dropout", ...)'],
    ),
    "dict batches without inputs": (
        lambda: linen(variables=VARIABLES, train={"x": X[:60]}, validation={"x": X[60:]}),
        TypeError,
        ["tuple (inputs, labels)", "got 'dict'", "inputs=lambda batch"],
    ),
    "labels of other length": (
        lambda: linen_task(Linen(), squares, **HALF),
        ValueError,
        ["one leading example axis", "60 at [0] and 50 at [1]", "equally long"],
    ),
    "no data": (lambda: linen_task(Linen(), squares), TypeError, ["train=...", "train_batches=...", "got neither"]),
    "half of the data": (
        lambda: linen_task(Linen(), squares, train=(X, Y)),
        TypeError,
        ["validation=... and batch_size=...", "got train"],
    ),
    "a loss_fn of one's own": (lambda: linen(loss_fn=squares), TypeError, ["loss_fn", "is made from the model"]),
    "a linen module for nnx": (
        lambda: nnx_task(Linen(), nnx_loss, **DATA),
        TypeError,
        ["(model=...)", "see linen_task"],
    ),
    "an nnx class": (lambda: nnx_task(Net, nnx_loss, **DATA), TypeError, ["Make an instance", "nnx.Rngs(0)"]),
    "an nnx loss of the parts of a batch": (
        lambda: nnx_task(Net(nnx.Rngs(0)), lambda model, x, y: 0.0, **DATA),
        TypeError,
        ["loss_fn(model, batch)", "<lambda>(model, x, y)`", "loss(model, *batch)"],
    ),
    "an nnx loss of three results": (
        lambda: curve(nnx_task(Net(nnx.Rngs(0)), lambda model, batch: (0.0, 1, 2), **DATA), optax.sgd),
        TypeError,
        ["(loss, aux)", "got a tuple of 3"],
    ),
    "a wrt that nothing is": (
        lambda: nnx_task(Net(nnx.Rngs(0)), nnx_loss, wrt=nnx.LoRAParam, **DATA),
        ValueError,
        ["(wrt=...)", "LoRAParam", "it has none"],
    ),
    "no TrainState": (lambda: train_state_with_lr({}, optax.sgd, 0.1), TypeError, ["flax TrainState", "got {} (dict)"]),
    "an optimizer for a factory": (
        lambda: train_state_with_lr(TrainState.create(apply_fn=None, tx=optax.sgd(1.0), **NO_STATS), optax.sgd(1.0), 1),
        TypeError,
        ["Pass optax.adam, not optax.adam(1e-3)"],
    ),
    "no nnx.Optimizer": (
        lambda: optimizer_with_lr(optax.sgd(1.0), Net(nnx.Rngs(0)), optax.sgd, 0.1),
        TypeError,
        ["must be an nnx.Optimizer", "train_state_with_lr"],
    ),
}


@pytest.mark.parametrize(("bad", "error", "parts"), CASES.values(), ids=CASES.keys())
def test_bad_input_is_explained(bad, error, parts):
    check_message(bad, error, parts)


@pytest.mark.parametrize(("module", "package"), [("flax", "flax"), ("equinox", "equinox"), ("keras", "keras")])
def test_without_the_package_the_error_says_what_to_install(module, package):
    code = (
        f"import sys; sys.modules['{package}'] = None\n"
        f"try: import lrjax.integrations.{module}\n"
        "except ImportError as error: print(error)"
    )
    root = Path(lrjax.__file__).parent.parent
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert f"pip install 'lrjax[{package}]'" in output.stdout

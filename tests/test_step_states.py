"""step_task: states that are more than arrays: nnx objects, TrainStates, Python numbers."""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from flax.training.train_state import TrainState
from tiny import check_message

import lrjax
from lrjax.integrations import step_task

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(4, 8, 2)).astype(np.float32)
BATCHES = list(X)
ADAM = optax.inject_hyperparams(optax.adam)
LR = 0.03


def curve_at(step, state, evaluate, set_lr, executor="map"):
    """The loss that a trial reaches after four steps."""
    task = step_task(step, state, BATCHES, evaluate, set_lr)
    how = {"key": KEY, "num_steps": len(BATCHES), "executor": executor}
    return float(lrjax.sample_losses(task, task.set_lr, [LR], **how).final[0, 0])


def by_hand(step, state, evaluate, set_lr):
    """The same in the user's own loop."""
    state = set_lr(state, jnp.float32(LR))
    for batch in BATCHES:
        state = step(state, batch)
    return float(evaluate(state))


class Tied(nnx.Module):
    """Two layers that share a kernel; what it sows is new in every call."""

    def __init__(self, rngs):
        self.first, self.second = nnx.Linear(2, 2, rngs=rngs), nnx.Linear(2, 2, rngs=rngs)
        self.second.kernel = self.first.kernel

    def __call__(self, x):
        self.sow(nnx.Intermediate, "hidden", x)
        return self.second(jnp.tanh(self.first(x)))


def loss_of(model, batch):
    return jnp.mean((model(batch) - jnp.asarray([1.0, -1.0])) ** 2)


def nnx_step(state, batch):
    state["optimizer"].update(state["model"], nnx.grad(loss_of)(state["model"], batch))
    return state


def holding_step(state, batch):
    """That of an optimizer which holds the model itself."""
    state["optimizer"].update(nnx.grad(loss_of)(state["model"], batch))
    return state


def nnx_set_lr(state, lr):
    state["optimizer"].opt_state.hyperparams["learning_rate"][...] = lr
    return state


def nnx_state(optimizer, key=KEY):
    model = Tied(nnx.Rngs(key))
    return {"model": model, "optimizer": optimizer(model, ADAM(learning_rate=0.1), wrt=nnx.Param), "count": 0}


SOWN = pytest.mark.filterwarnings("ignore:Using 'Module.sow:DeprecationWarning")


@SOWN
@pytest.mark.parametrize(
    ("step", "optimizer"), [(nnx_step, nnx.Optimizer), (holding_step, nnx.ModelAndOptimizer)], ids=["beside", "holding"]
)
def test_what_nnx_objects_share_stays_shared(step, optimizer):
    state = nnx_state(optimizer)
    before = jax.tree.leaves(nnx.state(state["model"]))
    evaluate = lambda state: loss_of(state["model"], X[0])  # noqa: E731
    got = curve_at(step, state, evaluate, nnx_set_lr)
    assert all(map(np.array_equal, before, jax.tree.leaves(nnx.state(state["model"], nnx.Param))))
    assert nnx.state(state["model"], nnx.Intermediate) == nnx.State({})
    np.testing.assert_allclose(got, by_hand(step, nnx_state(optimizer), evaluate, nnx_set_lr), rtol=1e-5)


@SOWN
def test_a_tied_nnx_model_is_one_task():
    from lrjax.integrations.flax import nnx_task

    task = nnx_task(Tied(nnx.Rngs(KEY)), loss_of, train_batches=BATCHES, eval_batches=BATCHES[:1])
    curve = lrjax.sample_losses(task, optax.adam, [LR], key=KEY, num_steps=len(BATCHES), executor="map")
    evaluate = lambda state: loss_of(state["model"], X[0])  # noqa: E731
    wanted = by_hand(nnx_step, nnx_state(nnx.Optimizer), evaluate, nnx_set_lr)
    np.testing.assert_allclose(curve.final[0, 0], wanted, rtol=1e-5)


def train_state(key):
    """Of static fields that are others at every call."""
    apply = lambda params, x: jnp.tanh(x @ params["w"])  # noqa: E731
    return TrainState.create(apply_fn=apply, params={"w": jax.random.normal(key, (2, 2))}, tx=ADAM(learning_rate=0.1))


def train_state_step(state, batch):
    grads = jax.grad(lambda params: jnp.mean((state.apply_fn(params, batch) - 1.0) ** 2))(state.params)
    return state.apply_gradients(grads=grads)


def train_state_loss(state):
    return jnp.mean((state.apply_fn(state.params, X[0]) - 1.0) ** 2)


def train_state_set_lr(state, lr):
    hyperparams = state.opt_state.hyperparams | {"learning_rate": lr}
    return state.replace(opt_state=state.opt_state._replace(hyperparams=hyperparams))


def test_a_function_of_a_key_may_build_a_train_state():
    got = curve_at(train_state_step, train_state, train_state_loss, train_state_set_lr)
    init_key = jax.random.split(jax.random.fold_in(KEY, 0), 3)[0]
    wanted = by_hand(train_state_step, train_state(init_key), train_state_loss, train_state_set_lr)
    np.testing.assert_allclose(got, wanted, rtol=1e-5)


def weak_step(state, batch):
    grad = (state["w"] - 1).mean() * jnp.ones_like(state["w"])
    return {
        "w": state["w"] - state["lr"] * state["scale"] * grad,
        "ret": 0.9 * state["ret"] + state["half"],
        "half": state["half"],
        "scale": state["scale"],
        "lr": state["lr"],
        "count": state["count"] + 1,
    }


def test_weak_types_are_promoted_as_jax_promotes_them():
    """bfloat16 stays bfloat16 beside Python's numbers, and what begins at 0 may become a float."""
    state = {"w": jnp.zeros(2, jnp.bfloat16), "ret": 0, "half": jnp.float32(0.5), "lr": 0.0, "count": 0}
    state["scale"] = jnp.asarray(2.0)  # weak, and an array
    assert state["scale"].weak_type
    evaluate = lambda state: state["w"].astype(jnp.float32).sum() + state["ret"] + state["count"]  # noqa: E731
    got = curve_at(weak_step, state, evaluate, lambda state, lr: state | {"lr": lr})
    carried, _ = jax.lax.scan(lambda state, _: (weak_step(state, None), None), state | {"lr": LR}, length=4)
    assert carried["w"].dtype == jnp.bfloat16
    assert carried["ret"] > 1
    np.testing.assert_allclose(got, float(evaluate(carried)), rtol=1e-6)


@flax.struct.dataclass
class Big:
    """Many leaves, and one field that is none."""

    params: dict
    lr: jax.Array
    mode: str = flax.struct.field(pytree_node=False)


BIG = Big({f"layer_{i}": jnp.ones(2) for i in range(300)}, jnp.float32(0.0), "train")


def search(**changed):
    good = {
        "step": lambda state, batch: state,
        "state": BIG,
        "batches": BATCHES,
        "evaluate": lambda state: state.lr,
        "set_lr": lambda state, lr: state.replace(lr=lr),
    }

    def find():
        task = step_task(*(good | changed).values())
        return lrjax.find_lr(task, task.set_lr, lrjax.StepSampling(num_steps=2), key=KEY)

    return find


CASES = {
    "set_lr changes a static field": (
        search(set_lr=lambda state, lr: state.replace(lr=lr, mode="eval")),
        ["(set_lr=...)", ".mode, a static field, is 'eval' instead of 'train'"],
    ),
    "step changes a static field": (
        search(step=lambda state, batch: state.replace(mode="eval")),
        ["(step=...)", ".mode, a static field, is 'eval'", "Only arrays may change"],
    ),
    "step loses a leaf": (
        search(step=lambda state, batch: state.replace(params={"layer_0": jnp.ones(2)})),
        ["(step=...)", "['layer_1'], float32[2], is missing"],
    ),
    "step returns the parameters alone": (
        search(step=lambda state, batch: (state.params, 0.0)),
        ["(step=...)", ".params['layer_0'], float32[2], is missing"],
    ),
    "states of two structures": (
        search(state=lambda key: BIG if key == KEY else BIG.replace(params={})),
        ["(state=...)", "for every key", ".params['layer_0'], float32[2], is missing"],
    ),
}


@pytest.mark.parametrize(("bad", "parts"), CASES.values(), ids=CASES.keys())
def test_what_differs_is_named_in_a_sentence(bad, parts):
    check_message(bad, ValueError, parts)
    with pytest.raises(ValueError, match=r"(?s)^.{1,700}$"):
        bad()

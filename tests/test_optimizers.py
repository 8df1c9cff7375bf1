"""Every optimizer of Optax gets a traced learning rate and does what it does with a concrete one."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from lanes import train_lanes
from marks import slow_but_for
from optax import contrib
from problems import CURVATURES, START, quadratic_loss
from sequential import train

import lrjax

KEY = jax.random.key(3)
LRS = np.array([0.003, 0.03])
STEPS = 4

RNG = np.random.default_rng(0)
X = RNG.normal(size=(STEPS, 8, 4)).astype(np.float32)
Y = np.tanh(X @ RNG.normal(size=(4, 3))).astype(np.float32)


def loss_fn(params: Any, batch: Any, key: jax.Array) -> jax.Array:
    x, y = batch
    return jnp.mean((jnp.tanh(x @ params["w"].astype(x.dtype)) - y) ** 2)


def task_of(dtype: Any = jnp.float32) -> lrjax.Task:
    return lrjax.Task(
        init={"w": jnp.asarray(np.random.default_rng(1).normal(size=(4, 3)), dtype)},
        loss_fn=loss_fn,
        sample_batches=lambda key, num_steps: (X[:num_steps], Y[:num_steps]),
        eval_batches=[(X[0], Y[0])],
    )


TASK = task_of()

ARGUMENTS: dict[str, Callable[[Any], dict[str, Any]]] = {  # what an optimizer demands besides the learning rate
    "optax.noisy_sgd": lambda lr: {"key": jax.random.key(0)},
    "contrib.dpsgd": lambda lr: {"l2_norm_clip": 1.0, "noise_multiplier": 0.1, "seed": 0},
    "contrib.schedule_free": lambda lr: {"base_optimizer": optax.sgd(lr)},
}
CANNOT = {"contrib.dpsgd": "dpsgd wants one gradient for each example"}
INSENSITIVE = {"contrib.cocob", "contrib.dadapt_adamw", "contrib.dog", "contrib.prodigy"}  # in so few steps


def optimizers() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Name and factory of each optimizer that takes a learning rate; parts (scale_by_...) are left out."""
    for module in (optax, contrib):
        for short, function in inspect.getmembers(module, inspect.isfunction):
            name = f"{module.__name__.removeprefix('optax.')}.{short}"
            parameters = inspect.signature(function).parameters
            rate = next((one for one in ("learning_rate", "max_learning_rate") if one in parameters), None)
            if rate is not None and not short.startswith(("scale_by_", "_")):
                arguments = ARGUMENTS.get(name, lambda lr: {})
                yield name, lambda lr, f=function, r=rate, a=arguments: f(**{r: lr}, **a(lr))


OPTIMIZERS = dict(optimizers())
TRUNK, HEAD = optax.linear_schedule, optax.cosine_decay_schedule
NORMALIZED = optax.chain(contrib.normalize(), optax.sgd(0.05))
WRAPPERS: dict[str, Callable[..., Any]] = {
    "clipping": lambda lr: optax.chain(optax.clip_by_global_norm(0.1), optax.adam(lr)),
    "decay after": lambda lr: optax.chain(optax.sgd(lr, momentum=0.9), optax.add_decayed_weights(-1e-3)),
    "MultiSteps": lambda lr: optax.MultiSteps(optax.adam(lr), 2),
    "constant": lambda lr: optax.adamw(optax.constant_schedule(lr)),
    "cosine": lambda lr: optax.adamw(optax.cosine_decay_schedule(lr, 20)),
    "one cycle": lambda lr: optax.sgd(optax.cosine_onecycle_schedule(20, lr)),
    "warmup and cosine": lambda lr: optax.sgd(optax.join_schedules([TRUNK(0.0, lr, 2), HEAD(lr, 18)], [2])),
    "inject": lambda lr: optax.inject_hyperparams(optax.adam)(learning_rate=lr),
    "inject static": lambda lr: optax.inject_hyperparams(optax.adafactor, static_args="min_dim_size_to_factor")(lr),
    "multi_transform": lambda lr: optax.multi_transform({"a": optax.adam(lr)}, {"w": "a"}),
    "masked": lambda lr: optax.masked(optax.adam(lr), {"w": True}),
    "mechanize": lambda lr: contrib.mechanize(optax.sgd(lr), s_init=0.1),
    "plateau": lambda lr: optax.chain(optax.sgd(lr), contrib.reduce_on_plateau(patience=1)),
    "if finite": lambda lr: optax.apply_if_finite(optax.sgd(lr), 3),
    "backtracking": lambda lr: optax.chain(optax.sgd(lr), optax.scale_by_backtracking_linesearch(5)),
    "sam": lambda lr: contrib.sam(optax.sgd(lr), NORMALIZED, sync_period=2),
    "sam opaque": lambda lr: contrib.sam(optax.sgd(lr), NORMALIZED, opaque_mode=True),
}


def extra_of(name: str) -> tuple[str, ...]:
    """Which extra arguments the documentation of the optimizer asks for."""
    if name.startswith("sam"):
        return ("grad_fn",)
    return ("value", "grad", "value_fn") + (("obj_fn",) if name == "contrib.sophia" else ())


def trained(make_optimizer: Callable[..., Any], executor: str, task: lrjax.Task = TASK) -> Any:
    return train_lanes(task, make_optimizer, LRS, key=KEY, num_steps=STEPS, executor=executor).states[0]


def check_against_plain_optax(name: str, make_optimizer: Callable[..., Any], executors: tuple[str, ...]) -> None:
    params, _ = train(TASK, make_optimizer(jnp.float32(LRS[1])), key=KEY, num_steps=STEPS, extra=extra_of(name))
    for executor in executors:
        weights = np.asarray(trained(make_optimizer, executor).params["w"])
        np.testing.assert_allclose(weights[1], params["w"], rtol=1e-5, atol=1e-6, err_msg=executor)
        assert name in INSENSITIVE or np.abs(weights[0] - weights[1]).max() > 1e-5


POSSIBLE = [name for name in OPTIMIZERS if name not in CANNOT]
MAIN = ["adafactor", "adagrad", "adam", "adamw", "lamb", "lbfgs", "lion", "noisy_sgd", "rmsprop", "sgd"]
EVERYDAY = [*(f"optax.{name}" for name in MAIN), "contrib.muon", "contrib.prodigy", "contrib.schedule_free_adamw"]


@pytest.mark.parametrize("name", slow_but_for(POSSIBLE, EVERYDAY))
@pytest.mark.filterwarnings("ignore:.*is deprecated, please use:DeprecationWarning")
def test_every_optimizer_works_with_a_traced_lr(name):
    check_against_plain_optax(name, OPTIMIZERS[name], ("vmap",))


@pytest.mark.slow
@pytest.mark.parametrize("name", POSSIBLE)
@pytest.mark.filterwarnings("ignore:.*is deprecated, please use:DeprecationWarning")
def test_every_optimizer_works_with_a_traced_lr_in_a_mapped_program(name):
    check_against_plain_optax(name, OPTIMIZERS[name], ("map",))


@pytest.mark.parametrize("name", CANNOT)
@pytest.mark.filterwarnings('ignore:"seed" is deprecated')
def test_an_optimizer_that_cannot_work_says_why(name):
    two = lrjax.Task(
        init={"w": jnp.ones((4, 3)), "b": jnp.ones(3)},
        loss_fn=lambda params, batch, key: jnp.mean((batch[0] @ params["w"] + params["b"] - batch[1]) ** 2),
        sample_batches=TASK.sample_batches,
        eval_batches=TASK.eval_batches,
    )
    with pytest.raises(TypeError, match=CANNOT[name]):
        trained(OPTIMIZERS[name], "vmap", two)
    with pytest.raises(TypeError, match=r"gives float32\[3\] for float32\[4,3\] at \['w'\].* each example"):
        trained(OPTIMIZERS[name], "vmap")  # it takes the rows of a single matrix for examples


def test_the_tables_name_optimizers_that_exist_and_none_is_overlooked():
    assert {*ARGUMENTS, *CANNOT, *INSENSITIVE, *EVERYDAY} <= set(OPTIMIZERS)
    assert len(OPTIMIZERS) >= 48


@pytest.mark.parametrize("name", WRAPPERS)
def test_wrappers_and_schedules_work_with_a_traced_lr(name):
    executors = {  # sam and mechanize keep parameters in their states, which the loop donates
        "MultiSteps": ("vmap", "map"),
        "sam": ("vmap", "loop"),
        "mechanize": ("loop",),
    }
    check_against_plain_optax(name, WRAPPERS[name], executors.get(name, ("map",)))


def test_schedule_free_is_evaluated_at_its_average():
    params, state = train(TASK, contrib.schedule_free_sgd(0.03), key=KEY, num_steps=STEPS)
    expected = loss_fn(contrib.schedule_free_eval_params(state, params), (X[0], Y[0]), KEY)
    assert not np.isclose(expected, loss_fn(params, (X[0], Y[0]), KEY), rtol=1e-4)
    for executor in ("map", "loop"):
        curve = lrjax.sample_losses(TASK, contrib.schedule_free_sgd, LRS, key=KEY, num_steps=STEPS, executor=executor)
        np.testing.assert_allclose(curve.final[0, 1], expected, rtol=1e-6)


def test_eval_params_says_which_weights_are_evaluated():
    task = lrjax.Task(
        init=TASK.init,
        loss_fn=loss_fn,
        sample_batches=TASK.sample_batches,
        eval_batches=TASK.eval_batches,
        eval_params=lambda opt_state, params: jax.tree.map(jnp.zeros_like, params),
    )
    curve = lrjax.sample_losses(task, optax.sgd, LRS, key=KEY, num_steps=STEPS, executor="map")
    np.testing.assert_allclose(curve.final[0], np.mean(Y[0] ** 2), rtol=1e-6)


def branching(lr: Any) -> Any:
    return optax.sgd(lr) if lr > 0.01 else optax.adam(lr)


def branches_later(lr: Any) -> Any:
    def schedule(count: jax.Array) -> Any:
        return lr if lr > 0.01 else 0.0

    return optax.sgd(schedule)


def partly_schedule_free(lr: Any) -> Any:
    return optax.multi_transform({"a": contrib.schedule_free_sgd(lr), "b": contrib.schedule_free_sgd(lr)}, {"w": "a"})


FAILURES = {
    "branch": (branching, ["branching needs its concrete value", "test_optimizers.py", "lr > 0.01", "jnp.where"]),
    "branch in a schedule": (branches_later, ["branches_later", "lr > 0.01", "jnp.where"]),
    "float": (lambda lr: optax.sgd(float(lr)), ["float(lr)", "traced learning rate"]),
    "numpy": (lambda lr: optax.sgd(np.float32(lr)), ["np.float32(lr)", "traced learning rate"]),
    "warmup_cosine": (
        lambda lr: optax.adamw(optax.warmup_cosine_decay_schedule(0.0, lr, 2, 20)),
        ["warmup_cosine_decay_schedule", "peak_value == 0.0", "join_schedules"],
    ),
    "inject adafactor": (
        lambda lr: optax.inject_hyperparams(optax.adafactor)(learning_rate=lr),
        ["inject_hyperparams traces every number", "static_args"],
    ),
    "inject lbfgs": (lambda lr: optax.inject_hyperparams(optax.lbfgs)(learning_rate=lr), ["static_args"]),
    "inject adopt": (lambda lr: optax.inject_hyperparams(contrib.adopt)(learning_rate=lr), ["static_args"]),
    "inject galore": (lambda lr: optax.inject_hyperparams(contrib.galore)(learning_rate=lr), ["static_args"]),
    "lookahead": (
        lambda lr: optax.lookahead(optax.sgd(lr), 2, 0.5),
        ["no more than a traced learning rate", "fast and slow", "fast optimizer"],
    ),
    "nothing": (lambda lr: None, ["must return an Optax optimizer", "return"]),
    "the factory": (lambda lr: optax.adam, ["must return an Optax optimizer"]),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_factory_that_cannot_work_gets_an_error_that_says_why(name):
    factory, words = FAILURES[name]
    with pytest.raises(TypeError, match="`make_optimizer` must") as caught:
        trained(factory, "map")
    for word in words:
        assert word in str(caught.value)


def test_schedule_free_for_a_part_of_the_parameters_needs_eval_params():
    with pytest.raises(ValueError, match=r"schedule_free for a part .* Give Task\(eval_params="):
        trained(partly_schedule_free, "map")


def dtypes(tree: Any) -> list[Any]:
    return [leaf.dtype for leaf in jax.tree.leaves(tree)]


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16], ids=["bfloat16", "float16"])
@pytest.mark.parametrize("factory", [optax.adam, lambda lr: optax.sgd(lr, momentum=0.9)], ids=["adam", "momentum"])
def test_half_precision_parameters_stay_what_they_are(factory, dtype):
    task = task_of(dtype)
    params, opt_state = train(task, factory(jnp.float32(LRS[1])), key=KEY, num_steps=STEPS)
    states = trained(factory, "map", task)
    assert states.params["w"].dtype == dtype
    assert dtypes(states.opt_state) == dtypes(opt_state)
    got, expected = (np.asarray(weights, np.float32) for weights in (states.params["w"][1], params["w"]))
    np.testing.assert_allclose(got, expected, rtol=2 * float(jnp.finfo(dtype).eps))


@pytest.mark.parametrize("executor", ["vmap", "map", "loop", "auto"])
def test_float64_is_computed_in_float64(executor):
    with jax.enable_x64(True):
        task = lrjax.Task(
            init=jnp.asarray(START, jnp.float64),
            loss_fn=lambda w, batch, key: jnp.sum(CURVATURES * w**2) / 2,
            sample_batches=lambda key, num_steps: jnp.zeros((num_steps, 1)),
            eval_batches=[jnp.zeros(1)],
        )
        curve = lrjax.sample_losses(task, optax.sgd, [0.1, 0.7], key=jax.random.key(0), executor=executor)
        assert curve.losses.dtype == curve.lrs.dtype == jnp.float64
        np.testing.assert_allclose(curve.final[0], quadratic_loss(np.array([0.1, 0.7]), 20), rtol=1e-13)

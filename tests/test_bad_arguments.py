"""Bad arguments of the functions: each error says what was wrong, what was got, and what to do."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from definition import HALVES
from inside import lane_mesh
from problems import curve_from
from tiny import BATCHES, KEY, check_message, find, task

import lrjax
from lrjax import Chunked, RangeTest, find_window

TASK = task()


def sample(lrs=(0.1, 0.2), make_optimizer=optax.sgd, **options):
    options = {"key": KEY, "num_steps": 4, "executor": "vmap"} | options
    return lrjax.sample_losses(TASK, make_optimizer, lrs, **options)


def range_test(given=TASK, make_optimizer=optax.sgd, **options):
    return lrjax.range_test(given, make_optimizer, **({"key": KEY, "num_steps": 10} | options))


def branching(lr):
    return optax.sgd(lr) if lr > 0.1 else optax.adam(lr)


def forgetful(lr):
    optax.sgd(lr)


def rule(pick):
    return functools.partial(find, TASK, rule=lambda curve, window: pick, refine=None)


def window(exponents, losses, initial=1.0):
    return lambda: find_window(curve_from(np.asarray(exponents), np.asarray(losses), initial))


HISTORY = RangeTest(
    lrs=np.array([0.1, 0.2]),
    losses=np.array([1.0, 0.5]),
    smoothed=np.array([1.0, 0.5]),
    metrics={"accuracy": np.array([0.5])},
    metric_steps=np.array([1]),
    smoothing=0.9,
    num_steps=2,
    mode="linear",
    stopped=None,
)

CASES = {
    # task and optimizer
    "no task": (lambda: find(3), TypeError, ["`find_lr(task=...)` must be a lrjax.Task", "got 3 (int)", "Build one"]),
    "arguments swapped": (lambda: find(optax.adam, TASK), TypeError, ["must be a lrjax.Task", "got <function adam"]),
    "an optimizer for a factory": (
        lambda: find(TASK, optax.adam(1e-3)),
        TypeError,
        ["must be a function of the learning rate", "already has one", "Pass optax.adam, not optax.adam(1e-3)"],
    ),
    "no factory": (lambda: find(TASK, "adam"), TypeError, ["`make_optimizer(lr) -> optax optimizer`", "got 'adam'"]),
    "a factory of nothing": (
        lambda: find(TASK, lambda: optax.sgd(0.1)),
        TypeError,
        ["`make_optimizer(lr) -> optax optimizer`", "<lambda>()`", "Fix the other arguments"],
    ),
    "a factory of two numbers": (
        lambda: find(TASK, lambda lr, decay: optax.adamw(lr, weight_decay=decay)),
        TypeError,
        ["<lambda>(lr, decay)`", "lambda lr: optax.adamw(lr, weight_decay=0.1)"],
    ),
    "a factory without return": (
        lambda: find(TASK, forgetful),
        TypeError,
        ["must return an Optax optimizer", "got None (NoneType) from forgetful", "forget its `return`?"],
    ),
    "a factory that branches on lr": (
        lambda: find(TASK, branching),
        TypeError,
        [
            "must accept a traced learning rate",
            "at test_bad_arguments.py:",
            "`return optax.sgd(lr) if lr > 0.1",
            "jnp.where",
        ],
    ),
    "a factory that calls float": (
        lambda: sample(make_optimizer=lambda lr: optax.sgd(float(lr)), executor="loop"),
        TypeError,
        ["needs its concrete value", "optax.sgd(float(lr))", "Replace a Python `if` or `float()`"],
    ),
    "a factory that ignores lr": (
        lambda: find(TASK, lambda lr: optax.sgd(0.1)),
        ValueError,
        ["must use its argument", "all 7 learning rates from 1.0e-03 to 1.0e+00", "Pass it on"],
    ),
    "a schedule for an optimizer": (
        lambda: find(TASK, optax.constant_schedule),
        TypeError,
        ["must return an Optax optimizer", "from constant_schedule"],
    ),
    # the range
    "min_lr above max_lr": (
        lambda: find(TASK, min_lr=1.0, max_lr=0.1),
        ValueError,
        ["`StepSampling(min_lr=...)` must be below max_lr=0.1", "got 1", "not exponents"],
    ),
    "min_lr equal to max_lr": (lambda: find(TASK, min_lr=1.0), ValueError, ["must be below max_lr=1", "got 1"]),
    "exponents": (lambda: find(TASK, min_lr=-7, max_lr=1), ValueError, ["> 0", "got -7", "write 1e-7, not -7"]),
    "exponents of NumPy": (lambda: find(TASK, min_lr=np.float32(-2.5)), ValueError, ["got -2.5", "write 10 ** -2.5"]),
    "min_lr 0": (lambda: find(TASK, min_lr=0), ValueError, ["a learning rate, > 0 and finite", "got 0"]),
    "min_lr -inf": (lambda: find(TASK, min_lr=-np.inf), ValueError, ["> 0 and finite", "got -inf"]),
    "min_lr nan": (lambda: find(TASK, min_lr=np.nan), ValueError, ["> 0 and finite", "got nan"]),
    "max_lr inf": (lambda: find(TASK, max_lr=np.inf), ValueError, ["`StepSampling(max_lr=...)`", "got inf"]),
    "min_lr a string": (lambda: find(TASK, min_lr="1e-7"), TypeError, ["a learning rate", "got '1e-7' (str)"]),
    "min_lr a bool": (lambda: find(TASK, min_lr=True), TypeError, ["a learning rate", "got True (bool)"]),
    "a range of 33 decades": (
        lambda: find(TASK, min_lr=1e-30, max_lr=1e3),
        ValueError,
        ["may span 20 decades", "got 1e-30 to 1000", "between 1e-7 and 10"],
    ),
    # key, steps, seeds, horizons
    "a key that is a number": (lambda: find(TASK, key=7), TypeError, ["PRNG key", "number 7", "`jax.random.key(7)`"]),
    "no key": (lambda: find(TASK, key=None), TypeError, ["PRNG key", "got None", "Write `jax.random.key(0)`"]),
    "an array of keys": (
        lambda: find(TASK, key=jax.random.split(KEY, 3)),
        ValueError,
        ["must be one key", "shape (3,)", "Index it"],
    ),
    "legacy keys": (
        lambda: find(TASK, key=jax.random.key_data(jax.random.split(KEY, 3))),
        TypeError,
        ["PRNG key", "uint32[3,2]"],
    ),
    "a key of another length": (lambda: find(TASK, key=np.zeros(5, np.uint32)), TypeError, ["PRNG key", "uint32[5]"]),
    "num_steps 0": (lambda: find(TASK, num_steps=0), ValueError, ["whole number >= 1 (optimizer updates)", "got 0"]),
    "num_steps a float": (lambda: find(TASK, num_steps=20.0), TypeError, ["got 20.0 (float)", "Write 20."]),
    "num_steps a bool": (lambda: find(TASK, num_steps=True), TypeError, ["got the bool True", "Pass a number"]),
    "num_seeds 0": (lambda: find(TASK, num_seeds=0), ValueError, ["`StepSampling(num_seeds=...)`", "(seeds)", "got 0"]),
    "horizons beyond num_steps": (
        lambda: find(TASK, horizons=(2, 10)),
        ValueError,
        ["must not exceed num_steps=4", "got 10", "Raise num_steps"],
    ),
    "horizons a number": (lambda: find(TASK, horizons=2), TypeError, ["a sequence of step counts", "got 2"]),
    "horizon 0": (lambda: find(TASK, horizons=(0,)), ValueError, ["`StepSampling(horizons=...)`", ">= 1", "got 0"]),
    # rule, refinement, executor, progress
    "rule a name": (lambda: find(TASK, rule="midpoint"), TypeError, ["`rule(curve, window) -> lr`", "got 'midpoint'"]),
    "rule of one argument": (
        lambda: find(TASK, rule=lambda curve: 1.0),
        TypeError,
        ["must be `rule(curve, window) -> lr`", "<lambda>(curve)`"],
    ),
    "rule None": (rule(None), ValueError, ["must return one learning rate", "got None from", "`lrjax.midpoint`"]),
    "rule nan": (rule(float("nan")), ValueError, ["one learning rate, > 0 and finite", "got nan from"]),
    "rule negative": (rule(-3), ValueError, ["> 0 and finite", "got -3 from"]),
    "rule a vector": (rule(np.ones(3)), ValueError, ["one learning rate", "got array([1., 1., 1.])"]),
    "rule a word": (rule("lots"), ValueError, ["one learning rate", "got 'lots'"]),
    "refine misspelt": (lambda: find(TASK, refine="fil"), ValueError, ["one of 'fill', 'paper' or None", "got 'fil'"]),
    "threshold 0": (lambda: find(TASK, threshold=0), ValueError, ["(threshold=...)", "decades, > 0", "got 0"]),
    "progress a number": (lambda: find(TASK, progress=5), TypeError, ["True, None or a function", "got 5"]),
    "executor misspelt": (lambda: find(TASK, executor="pmap"), ValueError, ['"vmap", "map", "loop"', "got 'pmap'"]),
    "executor a number": (lambda: find(TASK, executor=8), ValueError, ["got 8", "Write lrjax.Chunked(8)"]),
    "Chunked(0)": (lambda: Chunked(0), ValueError, ["`Chunked(size)`", ">= 1 (lanes)", "got 0"]),
    "mesh a list": (  # without the type checker that the tests put around the function
        lambda: inspect.unwrap(lane_mesh)("find_lr(mesh=...)", jax.devices()),
        TypeError,
        ["`find_lr(mesh=...)`", "jax.sharding.Mesh", "got list", "Write"],
    ),
    # sample_losses
    "lrs 2-D": (lambda: sample(np.ones((2, 2))), ValueError, ["shape (trials,)", "got shape (2, 2)", "jnp.logspace"]),
    "lrs empty": (lambda: sample([]), ValueError, ["at least one learning rate", "got shape (0,)"]),
    "lrs a number": (lambda: sample(0.1), ValueError, ["`sample_losses(lrs=...)`", "got shape ()"]),
    "lrs twice": (
        lambda: sample([0.1, 0.2, 0.1]),
        ValueError,
        ["all be different", "index 0 and 0.1 at index 2", "Remove"],
    ),
    "lrs 0": (lambda: sample([0.1, 0.0]), ValueError, ["> 0 and finite", "got 0 at index 1", "10.0 ** x"]),
    "lrs exponents": (lambda: sample([-7, -6]), ValueError, ["got -7 at index 0", "not exponents"]),
    "lrs nan": (lambda: sample([0.1, np.nan]), ValueError, ["> 0 and finite", "got nan at index 1"]),
    "lrs inf": (lambda: sample([0.1, np.inf]), ValueError, ["> 0 and finite", "got inf at index 1"]),
    "lrs words": (lambda: sample(["0.1", "0.2"]), TypeError, ["a sequence of learning rates", "got ['0.1', '0.2']"]),
    "lrs complex": (lambda: sample(np.array([1j])), TypeError, ["a sequence of learning rates"]),
    "lrs ragged": (lambda: sample([[0.1], [0.1, 0.2]]), TypeError, ["a sequence of learning rates", "got [[0.1]"]),
    # range_test
    "range_test of one step": (lambda: range_test(num_steps=1), ValueError, ["whole number >= 2", "got 1"]),
    "range_test mode": (lambda: range_test(mode="log"), ValueError, ["one of 'exponential', 'linear'", "got 'log'"]),
    "range_test smoothing": (lambda: range_test(smoothing=1), ValueError, ["a weight in [0, 1)", "got 1"]),
    "range_test stop_factor": (lambda: range_test(stop_factor=-1), ValueError, ["a factor > 0, or None", "got -1"]),
    "range_test eval_every": (lambda: range_test(eval_every=0), ValueError, ["(eval_every=...)", ">= 1", "got 0"]),
    "range_test of 26 decades": (lambda: range_test(min_lr=1e-25), ValueError, ["may span 20 decades", "got 1e-25"]),
    "range_test range": (lambda: range_test(min_lr=2.0, max_lr=1.0), ValueError, ["must be below max_lr=1", "got 2"]),
    "range_test task": (lambda: range_test(BATCHES), TypeError, ["`range_test(task=...)`", "got [array", "Build one"]),
    "range_test optimizer": (lambda: range_test(make_optimizer=optax.sgd(1.0)), TypeError, ["Pass optax.adam, not"]),
    "range_test key": (lambda: range_test(key=1), TypeError, ["`range_test(key=...)`", "`jax.random.key(1)`"]),
    "range_test metric": (
        lambda: HISTORY.bounds("acuracy"),
        ValueError,
        ["must be one of ['accuracy']", "got 'acuracy'", "eval_every=1"],
    ),
    # find_window, crossing
    "a window over 21 decades": (
        window(np.linspace(-15, 6, 22), np.linspace(1, 0, 22)),
        ValueError,
        ["within 20 decades", "got 1e-15 to 1e+06", "Leave the extreme ones out"],
    ),
    "a window over 60 decades": (window([-30, 0, 30], [1, 0, 1]), ValueError, ["within 20 decades", "1e-30 to 1e+30"]),
    "a window of falling lrs": (window([0, -1], [1, 0]), ValueError, ["> 0 that rise", "got [1.0, 0.1", "Sort them"]),
    "a window of one lr twice": (window([0, 0, 1], [1, 0, 1]), ValueError, ["that rise", "remove duplicates"]),
    "a window of nothing": (window([], []), ValueError, ["needs losses of shape", "lrs (0,)"]),
    "a window of other losses": (
        window(HALVES, np.ones(5)),
        ValueError,
        ["`find_window(curve)` needs losses of shape (1, 1, 17)", "got (1, 1, 5)", "`sample_losses`"],
    ),
    "a window from nan": (window(HALVES, np.ones(17), np.nan), ValueError, ["finite initial losses", "got [nan]"]),
}


@pytest.mark.parametrize(("call", "error", "parts"), CASES.values(), ids=CASES.keys())
def test_bad_arguments_are_explained(call, error, parts):
    check_message(call, error, parts)


def test_the_line_of_the_branch_is_named():
    line = branching.__code__.co_firstlineno + 1
    check_message(lambda: sample(make_optimizer=branching), TypeError, [f"test_bad_arguments.py:{line}: "])


def test_nothing_is_trained_before_the_arguments_are_checked():
    def loss_fn(w, batch, key):
        raise AssertionError("trained")

    unused = task(loss_fn=loss_fn)
    for bad in ({"refine": "fil"}, {"rule": "x"}, {"min_lr": 0}, {"executor": "x"}, {"num_steps": 0}, {"progress": 1}):
        with pytest.raises((TypeError, ValueError)):
            find(unused, **bad)


VERBS = [
    lrjax.find_lr,
    lrjax.find_warnings,
    lrjax.integrations.step_task,
    lrjax.peak_for,
    lrjax.range_test,
    lrjax.recommend,
    lrjax.sample_losses,
    lrjax.sweep,
]


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.__name__)
def test_no_verb_runs_where_jax_traces(verb):
    parts = inspect.signature(verb).parameters.values()
    needed = {part.name: None for part in parts if part.default is part.empty and part.kind is not part.VAR_KEYWORD}
    message = f"`{verb.__name__}` reads numbers on the host, .* Call it outside"
    with pytest.raises(TypeError, match=message):
        jax.eval_shape(lambda: verb(**needed))
    with pytest.raises(TypeError, match=message):
        jax.vmap(lambda traced: verb(**needed | {next(iter(needed)): {"within": traced}}))(jnp.ones(2))


def test_a_task_of_traced_arrays_is_refused():
    traced = lambda start: lrjax.find_lr(task(init=start), optax.sgd, key=KEY).lr  # noqa: E731
    check_message(lambda: jax.grad(traced)(jnp.ones(2)), TypeError, ["`find_lr` reads numbers on the host"])


def test_good_inputs_of_odd_types_pass():
    """Whole numbers and learning rates of NumPy and JAX, legacy keys, tuples, jnp lrs."""
    curve = sample(jnp.array([0.2, 0.1]), num_steps=np.int64(2), num_seeds=np.int32(1), key=jax.random.PRNGKey(0))
    np.testing.assert_allclose(curve.lrs, [0.1, 0.2])
    assert sample(np.array([1, 2])).num_trials == 2
    assert find(TASK, min_lr=np.float32(1e-3), max_lr=jnp.float32(1), refine=None, horizons=np.array([1, 2])).lr > 0


WRONG_CALLS = {
    "no key": (lambda: lrjax.find_lr(TASK, optax.sgd), ["`find_lr` lacks key", "key=jax.random.key(0)"]),
    "the key without a name": (lambda: lrjax.find_lr(TASK, optax.sgd, KEY), ["lacks key", "strategy=None, *, key"]),
    "too many without a name": (lambda: lrjax.find_lr(TASK, optax.sgd, None, 100, key=KEY), ["arguments by name"]),
    "a setting of step sampling": (
        lambda: lrjax.find_lr(TASK, optax.sgd, key=KEY, num_steps=5),
        ["`find_lr` has no argument num_steps", "lrjax.StepSampling(num_steps=...)"],
    ),
    "a setting of the budget": (
        lambda: lrjax.find_lr(TASK, optax.sgd, key=KEY, trainings=2.0),
        ["no argument trainings", "lrjax.Budget(trainings=...)"],
    ),
    "the budget by another name": (
        lambda: lrjax.find_lr(TASK, optax.sgd, key=KEY, budget=2.0),
        ["no argument budget", "lrjax.Budget(trainings=...)"],
    ),
    "steps": (lambda: lrjax.find_lr(TASK, optax.sgd, key=KEY, steps=9), ["no argument steps", "train_steps=None"]),
    "a budget without its name": (lambda: lrjax.Budget(2.0), ["`Budget` takes", "by name", "trainings=None"]),
    "a budget by another name": (lambda: lrjax.Budget(budget=2.0), ["no argument budget", "Budget(trainings=...)"]),
    "the length in the budget": (lambda: lrjax.Budget(train_steps=9), ["no argument train_steps", "lrjax.find_lr"]),
}


@pytest.mark.parametrize("name", WRONG_CALLS)
def test_a_call_that_does_not_fit_is_told_what_to_write(name):
    call, parts = WRONG_CALLS[name]
    check_message(call, TypeError, parts)

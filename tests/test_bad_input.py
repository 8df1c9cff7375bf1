"""Bad tasks, parameters, losses and metrics: each error says what was wrong, what was got, and what to do."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import check_message, find, loss, stateful, task


class Module:
    def __call__(self, x):
        return x


STATELESS, STATEFUL = "loss_fn(params, batch, key) -> loss", "loss_fn(params, model_state, batch, key)"

# what is called, the error, and parts of its message: where and the rule, what was got, what to do
CASES = {
    # Task
    "loss_fn no function": (lambda: task(loss_fn=3), TypeError, ["`Task(loss_fn=...)`", STATELESS, "got 3 (int)"]),
    "loss_fn without key": (
        lambda: task(loss_fn=lambda w, batch: 0.0),
        TypeError,
        [STATELESS, "<lambda>(w, batch)`", "Add the argument `key`"],
    ),
    "loss_fn with a state": (
        lambda: task(loss_fn=lambda w, model_state, batch, key: 0.0),
        TypeError,
        [STATELESS, "(w, model_state, batch, key)`", "`Task.stateful`"],
    ),
    "stateful loss_fn without a state": (
        lambda: stateful(loss),
        TypeError,
        [STATEFUL, "loss(w, batch, key)`", "described by `Task`"],
    ),
    "sample_batches of one argument": (
        lambda: task(sample_batches=lambda key: 0),
        TypeError,
        ["`sample_batches(key, num_steps) -> batches`", "<lambda>(key)`"],
    ),
    "eval_fn of one argument": (
        lambda: task(eval_fn=lambda w: 0),
        TypeError,
        ["`Task(eval_fn=...)`", 'eval_fn(params, batch) -> {"loss": ...}', "<lambda>(w)`"],
    ),
    "init of no argument": (lambda: task(init=lambda: 0), TypeError, ["init(key) -> params", "<lambda>()`"]),
    "no eval_batches": (lambda: task(eval_batches=None), TypeError, ["validation batches", "got None", "give a list"]),
    "baseline_loss nan": (lambda: task(baseline_loss=np.nan), ValueError, ["(baseline_loss=...)", "finite", "got nan"]),
    "max_seeds 0": (lambda: task(max_seeds=0), ValueError, ["`Task(max_seeds=...)`", ">= 1", "got 0"]),
    # parameters
    "integer parameters": (
        lambda: find(task(init=jnp.zeros(2, int))),
        ValueError,
        ["at least one floating parameter", "int32[2]", "Convert them to float32"],
    ),
    "no parameters": (lambda: find(task(init={})), ValueError, ["pytree of arrays", "got {}", "Did init forget"]),
    "init without return": (
        lambda: find(task(init=lambda key: None)),
        ValueError,
        ["`Task(init=...)`", "got None", "Did init forget its `return`?"],
    ),
    "init returns a function": (
        lambda: find(task(init=lambda key: loss)),
        TypeError,
        ["must give a pytree of arrays", "got <function loss", "instead of its parameters?"],
    ),
    "init returns a module": (
        lambda: find(task(init=lambda key: Module())),
        TypeError,
        ["must give a pytree of arrays", "Module object", "instead of its parameters?"],
    ),
    "a function among the parameters": (
        lambda: find(task(init={"w": jnp.zeros(2), "act": jax.nn.relu})),
        TypeError,
        ["got the function", "at ['act']", "eqx.partition"],
    ),
    "a string among the parameters": (
        lambda: find(task(init={"w": jnp.zeros(2), "name": "net"})),
        TypeError,
        ["must hold arrays of numbers", "got 'net' (str) at ['name']", "leave it out"],
    ),
    "complex parameters": (
        lambda: find(task(init=jnp.zeros(2, jnp.complex64))),
        TypeError,
        ["real parameters", "complex64[2]", "two leaves"],
    ),
    "parameters of another shape for every key": (
        lambda: find(task(init=lambda key: jnp.zeros(2 + int(jax.random.randint(key, (), 0, 99)))), num_seeds=2),
        ValueError,
        ["one shape for every key", "seed 1 differs", "instead of float32["],
    ),
    "nan parameters": (
        lambda: find(task(init=jnp.array([jnp.nan, 0]))),
        ValueError,
        ["untouched parameters must be finite", "got nan for seed 0", "Look for nan in"],
    ),
    "stateful init that is no pair": (
        lambda: find(stateful(init=jnp.zeros(2))),
        TypeError,
        ["the pair (params, model_state)", "got 'ArrayImpl'", "described by `Task`"],
    ),
    "trainable of another structure": (
        lambda: find(task(trainable={"w": True})),
        ValueError,
        ["`Task(trainable=...)`", "structure of the parameters, but (root) is a dict instead of float32["],
    ),
    "trainable of numbers": (lambda: find(task(trainable=1)), TypeError, ["must hold True or False", "got 1 (int)"]),
    "nothing trainable": (
        lambda: find(task(trainable=lambda params: False)),
        ValueError,
        ["at least one floating parameter to train", "got none of {(root): float32[2]}"],
    ),
    # loss
    "loss a vector": (
        lambda: find(task(loss_fn=lambda w, batch, key: batch @ w)),
        ValueError,
        ["`loss_fn(...)` must be a scalar", "got float32[4]", "jnp.mean"],
    ),
    "loss a tuple": (
        lambda: find(task(loss_fn=lambda w, batch, key: (jnp.mean(w), w))),
        TypeError,
        ["must be a scalar loss", "got a tuple of 2", "Return the loss alone"],
    ),
    "loss None": (
        lambda: find(task(loss_fn=lambda w, batch, key: None)),
        TypeError,
        ["`loss_fn(...)` must be a scalar", "got NoneType", "Return a number"],
    ),
    "loss complex": (
        lambda: find(task(loss_fn=lambda w, batch, key: 1j * jnp.mean(w))),
        TypeError,
        ["must be real", "got complex64[]", "Take its real part"],
    ),
    "loss an object": (
        lambda: find(task(loss_fn=lambda w, batch, key: object())),
        TypeError,
        ["must be a scalar", "got <object object", "(object)"],
    ),
    "loss in NumPy": (
        lambda: find(task(loss_fn=lambda w, batch, key: np.mean(np.asarray(w)))),
        TypeError,
        ["`loss_fn` must be made of jax.numpy operations", "at test_bad_input.py:", "Write jnp for np"],
    ),
    "loss that calls float": (
        lambda: find(task(loss_fn=lambda w, batch, key: float(jnp.mean(w)))),
        TypeError,
        ["since it is compiled", "float(jnp.mean(w))", "leave out float()"],
    ),
    "stateful loss without the state": (
        lambda: find(stateful(lambda w, state, batch, key: jnp.mean(w))),
        TypeError,
        ["must return (loss, model_state)", "got a traced float32[]", "Return both"],
    ),
    "stateful loss with a state of another structure": (
        lambda: find(stateful(lambda w, state, batch, key: (jnp.mean(w), {"mean": state}))),
        ValueError,
        ["a model_state of the structure", "it was given, but (root) is a dict instead of float32["],
    ),
    "stateful loss with a state of another shape": (
        lambda: find(stateful(lambda w, state, batch, key: (jnp.mean(w), state[:1]))),
        ValueError,
        ["a model_state of the structure", "(root) is float32[1] instead of float32[2]"],
    ),
    # eval_fn
    "eval_fn without loss": (
        lambda: find(task(eval_fn=lambda w, batch: {"accuracy": jnp.mean(w)})),
        ValueError,
        ['`eval_fn` must return a scalar loss or a dict of names with "loss"', "['accuracy']", "chosen by the loss"],
    ),
    "eval_fn with a vector": (
        lambda: find(task(eval_fn=lambda w, batch: {"loss": w})),
        ValueError,
        ['`eval_fn(...)["loss"]` must be a scalar', "got float32[2]", "Take the mean"],
    ),
    "eval_fn without return": (
        lambda: find(task(eval_fn=lambda w, batch: None)),
        TypeError,
        ['`eval_fn(...)["loss"]`', "got NoneType"],
    ),
    "eval_fn with numbered names": (
        lambda: find(task(eval_fn=lambda w, batch: {"loss": jnp.mean(w), 1: jnp.mean(w)})),
        ValueError,
        ["a dict of names", "['loss', 1]"],
    ),
}


@pytest.mark.parametrize(("call", "error", "parts"), CASES.values(), ids=CASES.keys())
def test_bad_tasks_are_explained(call, error, parts):
    check_message(call, error, parts)


def test_messages_stay_short():
    huge = functools.partial(find, task(trainable=[True] * 200))
    with pytest.raises(ValueError, match="structure") as caught:
        huge()
    assert len(str(caught.value)) < 2000

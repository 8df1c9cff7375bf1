"""Nothing of a task stays when it is gone: not its functions, not what they close over, not its programs."""

import dataclasses
import gc
import subprocess
import sys
import weakref
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from doors import budgeted, resumed, sampled
from inside import programs
from marks import slow_but_for

import lrjax
import lrjax.integrations
from lrjax import Chunked

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
SMALL = {"key": KEY, "num_steps": 2, "num_seeds": 1, "min_lr": 1e-3, "max_lr": 1.0, "refine": None, "throw": False}


class Data:
    """What a function closes over."""

    def __init__(self, values):
        self.values = values


def make(seen):
    """A task and a factory whose functions each hold a `Data` of their own; `seen` gets a weak reference to each."""
    held = [Data(X) for _ in range(5)]
    seen += [weakref.ref(one) for one in held]
    of_init, of_loss, of_eval, of_data, of_factory = held

    def init(key):
        return jnp.asarray(of_init.values[0])

    def loss_fn(w, batch, key):
        return jnp.mean((batch @ w - of_loss.values[0].sum()) ** 2)

    def eval_fn(w, batch):
        return {"loss": jnp.mean((batch @ w - of_eval.values[0].sum()) ** 2)}

    def between(key, start, stop):
        return np.stack([of_data.values[:8]] * (stop - start))

    def make_optimizer(learning_rate):
        return optax.sgd(learning_rate, momentum=float(0.0 * of_factory.values[0, 0]))

    task = lrjax.Task(
        init=init,
        loss_fn=loss_fn,
        sample_batches=lambda key, count: between(key, 0, count),
        batches_between=between,
        eval_batches=[X[:8]],
        eval_fn=eval_fn,
    )
    seen += [weakref.ref(one) for one in (task, init, loss_fn, eval_fn, between, make_optimizer)]
    return task, make_optimizer


def find(executor):
    return lambda task, make_optimizer: sampled(task, make_optimizer, executor=executor, **SMALL)


def sample(task, make_optimizer):
    lrjax.sample_losses(task, make_optimizer, [0.01, 0.1], key=KEY, num_steps=2, executor="map")


def two_stages(task, make_optimizer):
    options = {"train_steps": 20, "num_seeds": 1, "min_lr": 1e-2, "max_lr": 1.0, "throw": False}
    sampled(dataclasses.replace(task, baseline_loss=1e-9), make_optimizer, key=KEY, **options)  # little progress


def sweep(executor):
    def run(task, make_optimizer):
        lrjax.sweep(task, make_optimizer, {"learning_rate": [0.01, 0.1]}, key=KEY, train_steps=2, executor=executor)

    return run


def search(executor):
    options = {"train_steps": 20, "trainings": 1.0, "min_lr": 1e-2, "max_lr": 1.0, "throw": False}
    return lambda task, make_optimizer: budgeted(task, make_optimizer, key=KEY, executor=executor, **options)


def range_test(task, make_optimizer):
    lrjax.range_test(task, make_optimizer, key=KEY, num_steps=10, min_lr=1e-3, max_lr=1.0)


def refind(task, make_optimizer):
    params = task.init(KEY)
    state = make_optimizer(0.1).init(params)
    options = {"step": 1, "train_steps": 20, "min_lr": 1e-2, "max_lr": 1.0, "throw": False, "executor": "map"}
    resumed(task, make_optimizer, params=params, opt_state=state, key=KEY, **options)


def plan(task, make_optimizer):
    lrjax.preview(lrjax.find_lr, task, make_optimizer, lrjax.StepSampling(num_steps=2), key=KEY, executor="map")
    lrjax.preview(lrjax.find_lr, task, make_optimizer, key=KEY, train_steps=20, executor="map")
    grid = {"learning_rate": [0.01, 0.1]}
    lrjax.preview(lrjax.sweep, task, make_optimizer, grid, key=KEY, train_steps=2, executor="map")


def step_of_ones_own(task, make_optimizer):
    def step(state, batch):
        grads = jax.grad(task.loss_fn)(state["w"], batch, None)
        return state | {"w": state["w"] - state["lr"] * grads}

    state = {"w": task.init(KEY), "lr": 0.0}
    batches = list(task.sample_batches(KEY, 4))
    evaluate = lambda state: task.loss_fn(state["w"], X[:8], None)  # noqa: E731
    put_lr = lambda state, lr: state | {"lr": lr}  # noqa: E731
    own = lrjax.integrations.step_task(step, state, batches, evaluate, put_lr)
    sampled(own, own.set_lr, executor="map", **SMALL)


def train_scheduled(task, make_optimizer):
    optimizer = lrjax.schedules.scheduled(make_optimizer, learning_rate=lrjax.schedules.cosine_decay(0.1, 10))
    params = task.init(KEY)
    state = optimizer.init(params)
    grads = jax.jit(jax.grad(task.loss_fn))(params, X[:8], None)
    jax.jit(optimizer.update)(grads, state, params)
    lrjax.schedules.current_hyperparams(state)


VERBS = {
    **{f"find_lr {executor}": find(executor) for executor in ("map", "vmap", "loop", "auto", Chunked(2))},
    **{f"sweep {executor}": sweep(executor) for executor in ("map", "vmap", "loop", "auto")},
    **{f"budget {executor}": search(executor) for executor in ("map", "loop")},
    "sample_losses": sample,
    "auto": two_stages,
    "range_test": range_test,
    "checkpoint": refind,
    "plans": plan,
    "step_task": step_of_ones_own,
    "scheduled": train_scheduled,
}
QUICK = ("find_lr map", "find_lr loop", "sweep map", "sweep loop", "checkpoint", "range_test")


@pytest.mark.parametrize("name", slow_but_for(VERBS, QUICK))
def test_a_task_is_freed_with_all_that_its_functions_close_over(name):
    seen = []
    VERBS[name](*make(seen))
    gc.collect()
    assert len(seen) == 11
    assert [reference() for reference in seen if reference() is not None] == []


@dataclasses.dataclass(slots=True)
class Compared:
    """A function with neither a hash nor weak references."""

    target: jax.Array

    def __call__(self, w, batch, key):
        return jnp.mean((batch @ w - self.target) ** 2)


def test_a_function_without_hash_and_weak_references_is_told_by_what_it_is():
    task = dataclasses.replace(make([])[0], loss_fn=Compared(jnp.zeros(())), eval_fn=None)
    other = dataclasses.replace(task, loss_fn=Compared(jnp.ones(())))
    losses = [
        lrjax.sample_losses(each, optax.sgd, [0.1], key=KEY, num_steps=2, executor="map").final[0, 0]
        for each in (task, other, task)
    ]
    assert losses[0] == losses[2] != losses[1]


def test_what_is_compiled_stays_for_as_long_as_its_functions_do_and_no_longer():
    seen = []
    task, make_optimizer = make(seen)
    first = programs.misses
    for _ in range(2):
        find("map")(task, make_optimizer)
    assert programs.misses == first + 1
    kept = len(programs._entries)
    del task, make_optimizer
    gc.collect()
    assert len(programs._entries) == kept - 1


MEMORY = """
import gc
import numpy as np
from test_leaks import find, make, sweep

def resident():
    gc.collect()
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20

for count in range(120):
    if count == 20:
        before = resident()
    find("map")(*make([]))
    sweep("loop")(*make([]))
print(resident() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the resident set from /proc")
def test_two_hundred_tasks_leave_the_resident_set_as_it_is():
    code = [sys.executable, "-c", MEMORY]
    done = subprocess.run(code, capture_output=True, text=True, check=True, cwd=Path(__file__).parent)
    assert float(done.stdout) < 40  # MiB; 4 a task when programs were kept

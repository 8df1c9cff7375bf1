"""What a search was asked to do: for its folder as strict JSON that another process can compare, and for its result."""

import dataclasses
import json
from typing import Any

import jax
import jaxlib
import numpy as np
import optax

from .._checks import describe, name_of
from .._engine import BatchSource
from .._sweeps import describe_call, make_grid
from .._sweeps import difference as difference_of_calls
from .._version import __version__
from ._course import Course
from ._search_setup import Setup

_ASKED = ("train_steps", "budget", "num_seeds")


def describe_search(setup: Setup, course: Course) -> dict[str, Any]:
    """The call, so that an equal description promises an equal answer. Traces a training step."""
    spec, task = setup.spec, setup.task
    source = BatchSource(task, [seed.data_key for seed in setup.seeds], course.longest)
    lrs = np.asarray([10.0**x for x in course.coarse])
    call = describe_call(
        spec=spec,
        grid=make_grid("find_lr", lrs, spec.make_optimizer, setup.dtype),
        key=setup.key,
        num_steps=course.train_steps,
        eval_every=course.longest,
        stop=None,
        executor=setup.executor,
        mesh=setup.mesh,
        seeds=setup.seeds,
        first_batches=source.first,
        arrays=task.arrays,
        shared=source.shared,
        evaluation=setup.evaluation,
    )
    asked = {name: getattr(course, name) for name in _ASKED}
    ends = {"min_lr": 10.0 ** course.coarse[0], "max_lr": 10.0 ** course.coarse[-1]}
    constants = {f"constants.{name}": value for name, value in dataclasses.asdict(course.constants).items()}
    everything = call | asked | ends | constants | {"lrjax": __version__}
    return json.loads(json.dumps(everything))  # tuples as lists, as a file gives them back


def difference(here: dict[str, Any], now: dict[str, Any]) -> str:
    """The first way in which two calls differ, in words; empty if they do not."""
    constants = [name for name in now if name.startswith("constants.")]
    for name in (*_ASKED, "min_lr", "max_lr", *constants, "lrjax"):
        if here.get(name) != now[name]:
            return f"{name}: {here.get(name)} there, {now[name]} now"
    return difference_of_calls(here, now)


def fingerprint(setup: Setup, course: Course, executor: str) -> dict[str, Any]:
    """What another run must share to give the same numbers."""
    key, device = setup.key, jax.local_devices()[0]
    data = jax.random.key_data(key) if jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key) else key
    return {
        "lrjax": __version__,
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "optax": optax.__version__,
        "numpy": np.__version__,
        "backend": device.platform,
        "device": device.device_kind,
        "executor": executor,
        "optimizer": name_of(setup.spec.make_optimizer),
        "loss_fn": name_of(setup.spec.loss_fn),
        "parameter_shapes": [describe(leaf) for leaf in jax.tree.leaves(setup.seeds[0].params)],
        "num_seeds": course.num_seeds,
        "key": np.asarray(data).ravel().tolist(),
    }

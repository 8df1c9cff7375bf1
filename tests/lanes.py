"""Trials with their states, for tests of what an optimizer and a task become."""

import dataclasses
import functools
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np

import lrjax
from lrjax._engine import LaneRunner


def train_lanes(
    task: lrjax.Task, factory: Any, lrs: Any, *, key: Any, num_steps: int, num_seeds: int = 1, executor: Any = "map"
) -> SimpleNamespace:
    """For each seed the states after `num_steps`, with a leading trial axis, and the losses there."""
    if task.batches_between is None:
        task = dataclasses.replace(task, batches_between=functools.partial(_between, task.sample_batches))
    shapes = [(num_seeds, len(lrs))]
    runner = LaneRunner("test", task, factory, key=key, executor=executor, shapes=shapes)
    runner.longest = runner.accumulation.updates(num_steps)
    losses = runner.train(lrs, runner.longest, num_seeds)
    states = [[runner.states.lanes[seed, float(lr)] for lr in lrs] for seed in range(num_seeds)]
    stacked = tuple(jax.tree.map(lambda *leaves: np.stack(leaves), *lanes) for lanes in states)
    return SimpleNamespace(states=stacked, metrics={"loss": losses[None]}, runner=runner)


def _between(sample_batches: Any, key: Any, start: int, stop: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[start:], sample_batches(key, stop))

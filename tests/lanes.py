"""Trials with their states, and rounds with their pieces in reach, for tests of the engine."""

import dataclasses
import functools
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
from inside import LaneRunner

import lrjax


def train_lanes(
    task: lrjax.Task, factory: Any, lrs: Any, *, key: Any, num_steps: int, num_seeds: int = 1, executor: Any = "map"
) -> SimpleNamespace:
    """For each seed the states after `num_steps` batches, with a leading trial axis, and the losses there."""
    if task.batches_between is None:
        task = dataclasses.replace(task, batches_between=functools.partial(_between, task.sample_batches))
    shapes = [(num_seeds, len(lrs))]
    runner = LaneRunner("test", task, factory, key=key, executor=executor, shapes=shapes)
    runner.longest = runner.experiment.accumulation.updates(num_steps)
    losses = runner.train(lrs, runner.longest, num_seeds)
    states = [[runner.states.lanes[seed, float(lr)] for lr in lrs] for seed in range(num_seeds)]
    stacked = tuple(jax.tree.map(lambda *leaves: np.stack(leaves), *lanes) for lanes in states)
    return SimpleNamespace(states=stacked, metrics={"loss": losses[None]}, runner=runner)


def _between(sample_batches: Any, key: Any, start: int, stop: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[start:], sample_batches(key, stop))


class SampledRounds:
    """What `LaneRunner.sample` runs at some horizons, which count batches."""

    def __init__(self, task: lrjax.Task, factory: Any, *, horizons: Any, num_seeds: int, **options: Any):
        self.runner = LaneRunner("test", task, factory, **options)
        self.asked = (tuple(horizons), num_seeds)
        self.rounds, self.reference = self.runner.rounds(*self.asked, True)
        self.execution, self.memory_model = self.runner.execution, self.rounds.memory_model

    @property
    def experiment(self) -> Any:
        """What is trained."""
        return self.rounds.experiment

    def run(self, lrs: Any) -> Any:
        """A round."""
        return self.runner.sample(lrs, *self.asked, in_batches=True)

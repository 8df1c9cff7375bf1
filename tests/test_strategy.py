"""Strategies of one's own: what they may ask for, and what they are told."""

import dataclasses

import jax
import numpy as np
import optax
from problems import regression
from tiny import check_message

import lrjax
from lrjax import Request

KEY = jax.random.key(0)


class Script:
    """Asks for what is written down; takes the lowest loss of the last stage."""

    def __init__(self, *requests):
        self.requests = requests

    def propose(self, stages, context):
        asked = sum(len(stage.rounds) for stage in stages)
        return self.requests[asked] if asked < len(self.requests) else None

    def choose(self, stages, context):
        last = stages[-1]
        return 10.0 ** last.log10_lrs[last.losses.mean(axis=0).argmin()]


def find(*requests):
    return lrjax.find_lr(regression(), optax.sgd, Script(*requests), key=KEY, executor="map")


def test_a_later_request_may_carry_more_lanes_than_the_first():
    few = Request(log10_lrs=[-2.0, -1.0], num_steps=4, carry=True)
    more = Request(log10_lrs=[-2.0, -1.5, -1.0, -0.5], num_steps=8, carry=True)
    both, alone = find(few, more), find(more)
    np.testing.assert_array_equal(both.stages[-1].losses, alone.stages[-1].losses)
    assert both.cost.updates == 2 * 4 + 2 * 4 + 2 * 8


def test_a_later_request_may_carry_more_seeds_if_the_first_says_so():
    one = Request(log10_lrs=[-2.0, -1.0], num_steps=4, carry=True)
    two = Request(log10_lrs=[-2.0, -1.0], num_steps=8, num_seeds=2, carry=True)
    check_message(lambda: find(one, two), ValueError, ["`Request(num_seeds=...)`", "at most 1", "programs=[(2, 2)]"])
    announced = find(dataclasses.replace(one, programs=((2, 2),)), two)
    np.testing.assert_array_equal(announced.stages[-1].losses, find(two).stages[-1].losses)


def test_a_round_that_joins_a_stage_brings_new_learning_rates():
    first = Request(log10_lrs=[-2.0, -1.0], num_steps=4)
    again = Request(log10_lrs=[-1.0, -0.5], num_steps=4, joins=True)
    check_message(lambda: find(first, again), ValueError, ["`Request(joins=True)`", "0.1", "Leave it out"])
    stages = find(first, Request(log10_lrs=[-1.5], num_steps=4, joins=True)).stages
    assert len(stages) == 1
    np.testing.assert_allclose(stages[0].log10_lrs, [-2.0, -1.5, -1.0])

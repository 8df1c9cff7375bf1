"""Bad input of the schedules and of what carries them: each error says where, what was got, and what to do."""

import inspect
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import check_message

import lrjax
from lrjax import schedules

FLAT, NAN = schedules.constant(0.1), float("nan")
TRAPEZOID = schedules.warmup_stable_decay(1.0, warmup_steps=1, stable_steps=1, decay_steps=1)
PARAMS = jnp.ones(2)
FIXED, SCHEDULED = optax.adam(0.1).init(PARAMS), optax.adam(FLAT).init(PARAMS)
WHOLE, NUMBER = "must be a whole number >= 1 (optimizer updates)", "must be a finite number >= 0"
WORDS = "steps, epochs, examples, tokens and %"


def foreign(step):
    return 0.1 + 0.0 * step


def warmup_cosine(**arguments):
    return schedules.warmup_cosine(**({"peak_value": 1.0, "warmup_steps": 1, "total_steps": 10} | arguments))


def trapezoid(**arguments):
    good = {"peak_value": 1.0, "warmup_steps": 1, "stable_steps": 1, "decay_steps": 1}
    return schedules.warmup_stable_decay(**(good | arguments))


def nested(levels):
    return [nested(levels - 1)] if levels else 1


def from_spec(name="cosine_decay", **arguments):
    return schedules.from_spec({"name": name, **arguments})


def inside(durations, make):
    with durations:
        return make()


def decay_in(duration, **known):
    return lambda: inside(schedules.Durations(**known), lambda: schedules.cosine_decay(1.0, duration))


def with_x64(call):
    with jax.enable_x64(True):
        return call()


def traced(call, number=10):
    return jax.jit(call)(number)


def sgd(**hyperparams):
    return lrjax.schedules.scheduled(optax.sgd, **hyperparams)


def measured(**arguments):
    plateau = lrjax.schedules.reduce_on_plateau()
    return plateau.update(PARAMS, plateau.init(PARAMS), PARAMS, **arguments)


# what is called, the error, and parts of its message: where and the rule, what was got, what to do
CASES = {
    # numbers of steps
    "steps a whole float": (
        lambda: schedules.cosine_decay(1.0, 100.0),
        TypeError,
        ["`cosine_decay(decay_steps)`", WHOLE, "got 100.0 (float)", "Write 100."],
    ),
    "steps a float": (lambda: schedules.cosine_decay(1.0, 100.5), TypeError, [WHOLE, "got 100.5 (float)"]),
    "steps a bool": (
        lambda: schedules.linear_decay(1.0, 0.0, True),
        TypeError,
        ["`linear_decay(transition_steps)`", ">= 0", "got the bool True", "Pass a number"],
    ),
    "steps None": (
        lambda: schedules.k_decay(1.0, None, k=2.0),
        TypeError,
        ["`k_decay(decay_steps)`", WHOLE, "got None (NoneType)"],
    ),
    "steps a list": (
        lambda: schedules.tanh_decay(1.0, [10]),
        TypeError,
        ["`tanh_decay(decay_steps)`", WHOLE, "got [10] (list)"],
    ),
    "steps complex": (
        lambda: schedules.polynomial_decay(1.0, 0.0, 2.0, 10j),
        TypeError,
        ["`polynomial_decay(transition_steps)`", "whole number", "got 10j (complex)"],
    ),
    "steps nan": (
        lambda: schedules.exponential_decay(1.0, NAN, 0.5),
        TypeError,
        ["`exponential_decay(transition_steps)`", WHOLE, "got nan (float)"],
    ),
    "steps a float array": (
        lambda: schedules.inverse_time_decay(1.0, jnp.array(10.0), 0.5),
        TypeError,
        ["`inverse_time_decay(transition_steps)`", "whole number", "got 10.0 (float32[])", "Cast it to jnp.int32"],
    ),
    "steps a traced float": (
        lambda: traced(lambda steps: schedules.cosine_decay(1.0, steps)(3), 10.5),
        TypeError,
        ["`cosine_decay(decay_steps)`", "whole number", "got float32[]", "Cast it to jnp.int32"],
    ),
    "steps an array": (
        lambda: schedules.step_decay(1.0, factor=0.5, every=jnp.array([10, 20])),
        ValueError,
        ["`step_decay(every=...)`", "one number, of shape ()", "got int32[2]", "lrjax.schedules.stack"],
    ),
    "steps zero": (
        lambda: schedules.step_decay(1.0, factor=0.5, every=0),
        ValueError,
        ["`step_decay(every=...)`", WHOLE, "got 0"],
    ),
    "steps negative": (
        lambda: schedules.inverse_sqrt_decay(1.0, warmup_steps=-1, timescale=10),
        ValueError,
        ["`inverse_sqrt_decay(warmup_steps=...)`", ">= 0 (optimizer updates)", "got -1"],
    ),
    "steps beyond int32": (
        lambda: schedules.one_cycle(1.0, total_steps=2**31),
        ValueError,
        ["`one_cycle(total_steps=...)`", "below 2**31 steps", "got 2,147,483,648", "jax_enable_x64"],
    ),
    "steps beyond int64": (
        lambda: with_x64(lambda: schedules.one_cycle(1.0, total_steps=2**63)),
        ValueError,
        ["`one_cycle(total_steps=...)`", "below 2**63 steps", "got 9,223,372,036,854,775,808"],
    ),
    "a sum of steps beyond int32": (
        lambda: trapezoid(warmup_steps=2**30, stable_steps=2**30),
        ValueError,
        ["`warmup_stable_decay(warmup_steps + stable_steps + decay_steps)`", "got 2,147,483,649", "jax_enable_x64"],
    ),
    "tokens per step a float": (
        lambda: schedules.power_decay(0.1, batch_size=8, tokens_per_step=4096.0),
        TypeError,
        ["`power_decay(tokens_per_step=...)`", "whole number >= 1", "got 4096.0 (float)", "Write 4096."],
    ),
    "one step of a ramp": (
        lambda: schedules.range_test_ramp(1e-7, 1.0, 1),
        ValueError,
        ["`range_test_ramp(num_steps)`", "whole number >= 2", "got 1"],
    ),
    "cycle_mult zero": (
        lambda: schedules.cosine_restarts(1.0, 10, cycle_mult=0),
        ValueError,
        ["`cosine_restarts(cycle_mult=...)`", "a finite number >= 1", "got 0"],
    ),
    "cycle_mult below 1": (
        lambda: schedules.cosine_restarts(1.0, 10, cycle_mult=0.5),
        ValueError,
        ["`cosine_restarts(cycle_mult=...)`", "a finite number >= 1", "got 0.5"],
    ),
    # values
    "value a string": (
        lambda: schedules.constant("0.1"),
        TypeError,
        ["`constant(value)`", "a finite number", "got '0.1' (str)"],
    ),
    "value a bool": (
        lambda: schedules.constant(True),
        TypeError,
        ["`constant(value)`", "a finite number", "got True (bool)"],
    ),
    "value None": (
        lambda: schedules.triangular(None, 1.0, 10),
        TypeError,
        ["`triangular(base_value)`", NUMBER, "got None (NoneType)"],
    ),
    "value a list": (
        lambda: schedules.constant([0.1]),
        TypeError,
        ["`constant(value)`", "a finite number", "got [0.1] (list)"],
    ),
    "value complex": (
        lambda: schedules.triangular2(0.0, 1j, 10),
        TypeError,
        ["`triangular2(peak_value)`", NUMBER, "got 1j (complex)"],
    ),
    "value a traced bool": (
        lambda: traced(lambda value: schedules.cosine_decay(value, 10)(3), True),
        TypeError,
        ["`cosine_decay(init_value)`", NUMBER, "got bool[]"],
    ),
    "value an array": (
        lambda: schedules.one_cycle(jnp.array([0.1, 0.2]), total_steps=10),
        ValueError,
        ["`one_cycle(peak_value)`", "one number, of shape ()", "got float32[2]", "`jax.vmap`"],
    ),
    "value negative": (
        lambda: schedules.linear_decay(-0.1, 0.0, 10),
        ValueError,
        ["`linear_decay(init_value)`", NUMBER, "got -0.1"],
    ),
    "value nan": (lambda: warmup_cosine(peak_value=NAN), ValueError, ["`warmup_cosine(peak_value)`", NUMBER, "nan"]),
    "value inf": (
        lambda: schedules.warmup(FLAT, 10, init_value=np.inf),
        ValueError,
        ["`warmup(init_value=...)`", NUMBER, "got inf"],
    ),
    "value beyond float32": (
        lambda: schedules.step_decay(1e39, factor=0.5, every=10),
        ValueError,
        ["`step_decay(init_value)`", "that float32 can hold", "got 1e+39"],
    ),
    "factor zero": (
        lambda: schedules.exponential_decay(1.0, 10, 0.0),
        ValueError,
        ["`exponential_decay(decay_rate)`", "a finite number > 0", "got 0"],
    ),
    "timescale zero": (
        lambda: schedules.inverse_sqrt_decay(1.0, timescale=0),
        ValueError,
        ["`inverse_sqrt_decay(timescale=...)`", "a finite number > 0", "got 0"],
    ),
    "exponent positive": (
        lambda: schedules.power_decay(0.1, batch_size=8, tokens_per_step=64, exponent=0.5),
        ValueError,
        ["`power_decay(exponent=...)`", "a finite number < 0", "got 0.5"],
    ),
    "gamma above 1": (
        lambda: schedules.exp_range(0.0, 1.0, 10, gamma=1.01),
        ValueError,
        ["`exp_range(gamma=...)`", "above 0 and at most 1", "got 1.01"],
    ),
    "fraction above 1": (
        lambda: schedules.cyclic_exponential_decay(
            1.0, decay_rate=0.5, transition_steps=10, cycle_steps=10, floor_fraction=10
        ),
        ValueError,
        ["`cyclic_exponential_decay(floor_fraction=...)`", "from 0 to 1", "got 10"],
    ),
    "pct_start 1.5": (
        lambda: schedules.one_cycle(1.0, total_steps=10, pct_start=1.5),
        ValueError,
        ["`one_cycle(pct_start=...)`", "from 0 to 1", "got 1.5"],
    ),
    "pct_start above a half in three phases": (
        lambda: schedules.one_cycle_momentum(10, pct_start=0.6, three_phase=True),
        ValueError,
        ["`one_cycle_momentum(pct_start=...)`", "from 0 to 0.5", "got 0.6"],
    ),
    "div_factor below 1": (
        lambda: schedules.one_cycle(1.0, total_steps=10, div_factor=0.04),
        ValueError,
        ["`one_cycle(div_factor=...)`", "a finite number >= 1", "got 0.04"],
    ),
    "momentum above 1": (
        lambda: schedules.triangular_momentum(10, max_momentum=9),
        ValueError,
        ["`triangular_momentum(max_momentum=...)`", "from 0 to 1", "got 9"],
    ),
    "an exponential warmup from zero": (
        lambda: schedules.warmup(FLAT, 10, shape="exponential"),
        ValueError,
        ["`warmup(init_value=...)`", "above 0 where shape='exponential'", "got 0"],
    ),
    "an exponential decay to zero": (
        lambda: schedules.cooldown_from(FLAT, 10, 10, cooldown="exponential"),
        ValueError,
        ["`cooldown_from(end_value=...)`", "above 0 where cooldown='exponential'", "got 0"],
    ),
    # the order of two arguments
    "base above peak": (
        lambda: schedules.triangular(1.0, 0.1, 10),
        ValueError,
        ["`triangular(base_value=...)`", "not be above peak_value=0.1", "got 1.", "Exchange the two"],
    ),
    "min_lr above max_lr": (
        lambda: schedules.range_test_ramp(1.0, 1e-7, 10),
        ValueError,
        ["`range_test_ramp(min_lr=...)`", "be below max_lr=1e-07", "got 1.", "Exchange the two"],
    ),
    "min_value above max_value": (
        lambda: schedules.clip(FLAT, min_value=2.0, max_value=1.0),
        ValueError,
        ["`clip(min_value=...)`", "not be above max_value=1", "got 2.", "Exchange the two"],
    ),
    "min_momentum above max_momentum": (
        lambda: schedules.one_cycle_momentum(10, min_momentum=0.9, max_momentum=0.8),
        ValueError,
        ["`one_cycle_momentum(min_momentum=...)`", "not be above max_momentum=0.8", "got 0.9", "Exchange the two"],
    ),
    "warmup longer than the whole": (
        lambda: warmup_cosine(warmup_steps=100),
        ValueError,
        ["`warmup_cosine(warmup_steps=...)`", "below total_steps=10, which includes it", "got 100"],
    ),
    "a floor above the start": (
        lambda: schedules.exponential_decay(1.0, 10, 0.5, end_value=2.0),
        ValueError,
        ["`exponential_decay(end_value=...)`", "not be above init_value=1 for decay_rate=0.5", "got 2"],
    ),
    # choices
    "shape misspelt": (
        lambda: schedules.one_cycle(1.0, total_steps=10, shape="cos"),
        ValueError,
        ["`one_cycle(shape=...)`", "one of 'cosine', 'linear'", "got 'cos'"],
    ),
    "cooldown misspelt": (
        lambda: trapezoid(cooldown="sqr"),
        ValueError,
        ["`warmup_stable_decay(cooldown=...)`", "'sqrt', 'square'", "got 'sqr'"],
    ),
    "kind misspelt": (
        lambda: schedules.piecewise_interpolate([1.0, 2.0], [10], kind="cubic"),
        ValueError,
        ["`piecewise_interpolate(kind=...)`", "one of 'linear', 'cosine'", "got 'cubic'"],
    ),
    "mode misspelt": (
        lambda: schedules.range_test_ramp(1e-7, 1.0, 10, mode="log"),
        ValueError,
        ["`range_test_ramp(mode=...)`", "one of 'exponential', 'linear'", "got 'log'"],
    ),
    "clock misspelt": (
        lambda: schedules.join([FLAT], [], clock="global"),
        ValueError,
        ["`join(clock=...)`", "one of 'local', 'absolute'", "got 'global'"],
    ),
    "convention misspelt": (
        lambda: warmup_cosine(convention="pytorch"),
        ValueError,
        ["`warmup_cosine(convention=...)`", "one of 'optax', 'torch', 'keras', 'hf'", "got 'pytorch'"],
    ),
    "convention of an unknown framework": (
        lambda: schedules.cosine_restarts(1.0, 10, convention="timm"),
        ValueError,
        ["`cosine_restarts(convention=...)`", "must be one of", "'torch'", "got 'timm'"],
    ),
    "convention of a framework without this schedule": (
        lambda: trapezoid(convention="torch"),
        ValueError,
        ["`warmup_stable_decay(convention=...)`", "one of 'optax', 'hf'", "got 'torch'"],
    ),
    "a number for a flag": (
        lambda: schedules.one_cycle(1.0, total_steps=10, three_phase=1),
        TypeError,
        ["`one_cycle(three_phase=...)`", "must be True or False", "got 1 (int)"],
    ),
    "a traced flag": (
        lambda: traced(lambda flag: schedules.warmup(FLAT, 3, skip_zero=flag)(1), True),
        TypeError,
        ["`warmup(skip_zero=...)`", "must be True or False", "got a traced bool[]"],
    ),
    # tables
    "boundaries unsorted": (
        lambda: schedules.piecewise_constant([1.0, 2.0, 3.0], [10, 5]),
        ValueError,
        ["`piecewise_constant(boundaries)`", "strictly increasing", "got 10 before 5 at index 0", "Sort them"],
    ),
    "boundaries too many": (
        lambda: schedules.piecewise_interpolate([1.0, 2.0], [10, 20]),
        ValueError,
        ["`piecewise_interpolate(boundaries)`", "one step between each two pieces: 1 for 2 pieces", "got 2"],
    ),
    "boundary at zero": (
        lambda: schedules.join([FLAT, FLAT], [0]),
        ValueError,
        ["`join(boundaries)[0]`", WHOLE, "got 0"],
    ),
    "boundaries a number": (
        lambda: schedules.join([FLAT, FLAT], 10),
        TypeError,
        ["`join(boundaries)`", "must be a list of steps", "got 10 (int)"],
    ),
    "no values": (
        lambda: schedules.piecewise_constant([], []),
        ValueError,
        ["`piecewise_constant(values)`", "at least one number", "got none"],
    ),
    "values a dict": (
        lambda: schedules.piecewise_constant({0: 1.0}, [10]),
        TypeError,
        ["`piecewise_constant(values)`", "must be a list of numbers", "got {0: 1.0} (dict)"],
    ),
    "one value negative": (
        lambda: schedules.piecewise_constant([1.0, -2.0], [10]),
        ValueError,
        ["`piecewise_constant(values)[1]`", NUMBER, "got -2"],
    ),
    # schedules of schedules
    "a number to join": (
        lambda: schedules.join([FLAT, 0.5], [10]),
        TypeError,
        ["`join(schedules)[1]`", "must be a schedule", "got 0.5 (float)", "Write lrjax.schedules.constant(0.5)"],
    ),
    "a number to multiply by": (
        lambda: schedules.multiply(FLAT, 2),
        TypeError,
        ["`multiply(*schedules)[1]`", "must be a schedule", "got 2 (int)", "Write lrjax.schedules.constant(2)"],
    ),
    "a traced number to warm up to": (
        lambda: traced(lambda value: schedules.warmup(value, 3)(1), 0.1),
        TypeError,
        ["`warmup(schedule)`", "must be a schedule", "got a traced float32[]", "Write lrjax.schedules.constant("],
    ),
    "an optimizer for a schedule": (
        lambda: schedules.cooldown_from(optax.sgd(0.1), 10, 10),
        TypeError,
        ["`cooldown_from(schedule)`", "must be a schedule", "(GradientTransformationExtraArgs)"],
    ),
    "nothing to join": (lambda: schedules.join([], []), ValueError, ["`join(schedules)`", "at least one", "got none"]),
    "nothing to add": (schedules.add, ValueError, ["`add(*schedules)`", "at least one schedule", "got none"]),
    "nothing to multiply": (
        schedules.multiply,
        ValueError,
        ["`multiply(*schedules)`", "at least one schedule", "got none"],
    ),
    "no bound": (
        lambda: schedules.clip(FLAT),
        ValueError,
        ["`clip` needs min_value, max_value or both", "got neither"],
    ),
    "shifted backwards": (
        lambda: schedules.shift(FLAT, -5),
        ValueError,
        ["`shift(steps)`", ">= 0 (optimizer updates)", "got -5"],
    ),
    "stretched from nothing": (
        lambda: schedules.stretch(FLAT, 0, 10),
        ValueError,
        ["`stretch(old_steps)`", WHOLE, "got 0"],
    ),
    "repeated never": (
        lambda: schedules.repeat(FLAT, 10, times=0),
        ValueError,
        ["`repeat(times=...)`", "whole number >= 1 (cycles)", "got 0"],
    ),
    "somebody else's schedule in a stack": (
        lambda: schedules.stack([FLAT, foreign]),
        TypeError,
        ["`stack(schedules)`", "schedules of this package", "got <function foreign", "Make it of lrjax.schedules"],
    ),
    "two kinds in a stack": (
        lambda: schedules.stack([FLAT, schedules.step_decay(1.0, factor=0.5, every=10)]),
        ValueError,
        ["`stack(schedules)`", "one kind with the same choices", "got constant and, at index 1, step_decay"],
    ),
    "two choices in a stack": (
        lambda: schedules.stack([trapezoid(), trapezoid(cooldown="linear")]),
        ValueError,
        ["`stack(schedules)`", "the same choices", "[cooldown=sqrt]", "at index 1", "[cooldown=linear]"],
    ),
    "a stack in a stack": (
        lambda: schedules.stack([FLAT, schedules.stack([FLAT, FLAT])]),
        ValueError,
        ["`stack(schedules)`", "numbers of one shape", "got ['float', 'float32[2]']"],
    ),
    "another kind extended": (
        lambda: schedules.extend(FLAT, 10),
        TypeError,
        ["`extend(schedule)`", "made by `warmup_stable_decay`", "got Partial(constant", "Only that one has a stable"],
    ),
    "extended beyond int32": (
        lambda: schedules.extend(TRAPEZOID, 2**31 - 2),
        ValueError,
        ["`extend(more_steps)`", "below 2**31 steps", "got 2,147,483,649", "jax_enable_x64"],
    ),
    # durations
    "no batch": (
        lambda: schedules.Durations(batch_size=0),
        ValueError,
        ["`Durations(batch_size=...)`", "whole number >= 1 (examples)", "got 0"],
    ),
    "a dataset in words": (
        lambda: schedules.Durations(dataset_size="50k"),
        TypeError,
        ["`Durations(dataset_size=...)`", "whole number >= 1 (examples)", "got '50k' (str)"],
    ),
    "a batch above the dataset": (
        lambda: schedules.Durations(batch_size=128, dataset_size=100),
        ValueError,
        ["`Durations(batch_size=...)`", "not be above dataset_size=100", "got 128", "Pass drop_last=False"],
    ),
    "a duration outside": (
        lambda: schedules.cosine_decay(1.0, "3 epochs"),
        ValueError,
        ["`cosine_decay(decay_steps)` is '3 epochs'", "not known here", "Write `with lrjax.schedules.Durations("],
    ),
    "an unknown unit": (
        lambda: schedules.triangular_momentum("3 weeks"),
        ValueError,
        ["`triangular_momentum(up_steps)`", WORDS, "got '3 weeks'", 'Write for example "3 epochs"'],
    ),
    "a number as a string": (
        lambda: schedules.cosine_decay(1.0, "100"),
        ValueError,
        ["`cosine_decay(decay_steps)`", WORDS, "got '100'", 'Write for example "3 epochs"'],
    ),
    "a negative duration": (
        lambda: schedules.Durations().steps("-3 steps"),
        ValueError,
        ["`Durations.steps(duration)`", WORDS, "got '-3 steps'"],
    ),
    "a float duration": (
        lambda: schedules.Durations().steps(3.0),
        TypeError,
        ["`Durations.steps(duration)`", ">= 0 (optimizer updates)", "got 3.0 (float)", "Write 3."],
    ),
    "a huge duration": (
        lambda: schedules.Durations().steps("1e18 steps"),
        ValueError,
        ["`Durations.steps(duration)`", "below 1e18", "got '1e18 steps'"],
    ),
    "no steps in words": (decay_in("0 steps"), ValueError, ["`cosine_decay(decay_steps)`", WHOLE, "got 0"]),
    "too many steps in words": (
        decay_in("1e10 steps"),
        ValueError,
        ["`cosine_decay(decay_steps)`", "below 2**31", "got 10,000,000,000", "jax_enable_x64"],
    ),
    "epochs without a batch": (
        decay_in("1 epoch", dataset_size=10),
        ValueError,
        ["`cosine_decay(decay_steps)` is '1 epoch'", "batch_size is not known", "Durations(batch_size=..., ...)"],
    ),
    "epochs without a dataset": (
        decay_in("1 epoch", batch_size=10),
        ValueError,
        ["`cosine_decay(decay_steps)` is '1 epoch'", "dataset_size is not known", "Durations(dataset_size=..., ...)"],
    ),
    "tokens without a length": (
        decay_in("1e6 tokens", batch_size=10),
        ValueError,
        ["is '1e6 tokens'", "sequence_length is not known", "Write Durations(sequence_length=..., ...)"],
    ),
    "percent of nothing": (
        decay_in("10%", batch_size=10, dataset_size=100),
        ValueError,
        ["`cosine_decay(decay_steps)` is '10%'", "total_steps is not known", "Durations(total_steps=..., ...)"],
    ),
    # specs
    "somebody else's schedule as a spec": (
        lambda: schedules.to_spec(foreign),
        TypeError,
        ["`to_spec(schedule)`", "a schedule of lrjax.schedules", "got <function foreign", "no name and numbers"],
    ),
    "somebody else's schedule inside a spec": (
        lambda: schedules.to_spec(schedules.warmup(foreign, 3)),
        TypeError,
        ["`to_spec(schedule)`", "a schedule of lrjax.schedules", "got <function foreign", "no name and numbers"],
    ),
    "a spec of a stack": (
        lambda: schedules.to_spec(schedules.stack([FLAT, FLAT])),
        TypeError,
        ["`to_spec(schedule)`", "one schedule", "got numbers of shape (2,)", "each of the stacked"],
    ),
    "a spec of a traced schedule": (
        lambda: traced(lambda value: schedules.to_spec(schedules.constant(value)), 0.1),
        TypeError,
        ["`to_spec(schedule)`", "known numbers", "got a traced one", "outside jit"],
    ),
    "a spec without a name": (
        lambda: schedules.from_spec({"value": 0.1}),
        TypeError,
        ["`from_spec(spec)`", 'a dict with the key "name"', "got {'value': 0.1}"],
    ),
    "a spec of None": (lambda: schedules.from_spec(None), TypeError, ["`from_spec(spec)`", "a dict", "got None"]),
    "broken JSON": (
        lambda: schedules.from_spec('{"name": "constant", '),
        ValueError,
        ["`from_spec(spec)`", "must be JSON", 'got \'{"name": "constant", \'', "line 1 column 22"],
    ),
    "a name misspelt": (
        lambda: from_spec("cosine_deacy"),
        ValueError,
        ["`cosine_deacy` is not a schedule", "Did you mean cosine_decay?"],
    ),
    "a name misspelt inside": (
        lambda: from_spec("warmup", schedule={"name": "constnt", "value": 0.1}, warmup_steps=3),
        ValueError,
        ["`constnt` is not a schedule", "Did you mean constant?"],
    ),
    "an unknown name": (
        lambda: from_spec("zigzag"),
        ValueError,
        ["`zigzag` is not a schedule", "There are constant, linear_decay"],
    ),
    "an argument missing": (
        lambda: from_spec(init_value=1.0),
        TypeError,
        ["`cosine_decay` lacks decay_steps", "It is cosine_decay(init_value, decay_steps, *, end_value=0.0"],
    ),
    "an argument unknown": (
        lambda: from_spec(init_value=1.0, decay_steps=10, alpha=0.1),
        TypeError,
        ["`cosine_decay` has no argument alpha", "It is cosine_decay(init_value, decay_steps"],
    ),
    "an argument misspelt": (
        lambda: from_spec(init_value=1.0, decay_step=10),
        TypeError,
        ["`cosine_decay` lacks decay_steps and has no argument decay_step", "It is cosine_decay("],
    ),
    "a spec with a bad number": (
        lambda: from_spec(init_value={"float64": -1.0}, decay_steps=10),
        ValueError,
        ["`cosine_decay(init_value)`", NUMBER, "got -1"],
    ),
    "a spec with a number for a schedule": (
        lambda: from_spec("repeat", schedule=0.1, cycle_steps=10),
        TypeError,
        ["`repeat(schedule)`", "must be a schedule", "got 0.1 (float)", "Write lrjax.schedules.constant(0.1)"],
    ),
    # looking at a schedule
    "described for a float": (
        lambda: schedules.describe(FLAT, 100.0),
        TypeError,
        ["`describe(total_steps)`", WHOLE, "got 100.0 (float)", "Write 100."],
    ),
    "described for nothing": (
        lambda: schedules.describe(FLAT, 0),
        ValueError,
        ["`describe(total_steps)`", WHOLE, "got 0"],
    ),
    "described for a traced number": (
        lambda: traced(lambda total: schedules.describe(FLAT, total)),
        TypeError,
        ["`describe(total_steps)`", "must be known", "got a traced number", "outside jit and vmap"],
    ),
    "validated for a traced number": (
        lambda: traced(lambda total: schedules.validate(FLAT, total)),
        TypeError,
        ["`validate(total_steps)`", "must be known", "got a traced number", "outside jit and vmap"],
    ),
    "validated for unknown epochs": (
        lambda: schedules.validate(FLAT, "90 epochs"),
        ValueError,
        ["`validate(total_steps)` is '90 epochs'", "not known here", "Write `with lrjax.schedules.Durations("],
    ),
    "described what is no function": (
        lambda: schedules.describe("cosine", 10),
        TypeError,
        ["schedule", "`describe(schedule)` must be a schedule", "got 'cosine' (str)"],
    ),
    "described a schedule of two numbers": (
        lambda: schedules.describe(lambda step: jnp.ones(2) * step, 10),
        TypeError,
        ["must return one number for one step", "got float32[2]"],
    ),
    # optimizers
    "a hyperparameter that it does not take": (
        lambda: sgd(lr=FLAT),
        TypeError,
        ["`scheduled(make_optimizer)`", "must take lr by keyword", "sgd takes learning_rate, momentum"],
    ),
    "no hyperparameter": (
        sgd,
        TypeError,
        ["`scheduled` needs at least one hyperparameter", "scheduled(optax.sgd, learning_rate=schedule)"],
    ),
    "an optimizer for its factory": (
        lambda: lrjax.schedules.scheduled(optax.sgd(0.1), learning_rate=FLAT),
        TypeError,
        ["`scheduled(make_optimizer)`", "`make_optimizer(**hyperparams) -> optimizer`", "got GradientTransformation"],
    ),
    "a factory without return": (
        lambda: lrjax.schedules.scheduled(lambda learning_rate: None, learning_rate=0.1).init(PARAMS),
        TypeError,
        ["`scheduled(make_optimizer)`", "must return an Optax optimizer", "<lambda> returned None (NoneType)"],
    ),
    "a hyperparameter in words": (
        lambda: sgd(learning_rate="cosine"),
        TypeError,
        ["`scheduled(learning_rate=...)`", "a schedule or a finite number", "got 'cosine' (str)", "functools.partial"],
    ),
    "a flag as a hyperparameter": (
        lambda: sgd(learning_rate=FLAT, nesterov=True),
        TypeError,
        [
            "`scheduled(nesterov=...)`",
            "a schedule or a finite number",
            "got True (bool)",
            "functools.partial(make_optimizer",
        ],
    ),
    "two learning rates": (
        lambda: sgd(learning_rate=jnp.ones(2)),
        ValueError,
        ["`scheduled(learning_rate=...)`", "one number, of shape ()", "got float32[2]"],
    ),
    "a mask as a schedule": (
        lambda: lrjax.schedules.scheduled(optax.adamw, learning_rate=FLAT, mask=lambda params: {"w": True, "b": False}),
        TypeError,
        ["`scheduled(mask=...)`", "a function from step to number", "<lambda> failed", "functools.partial"],
    ),
    "a schedule of two numbers": (
        lambda: sgd(learning_rate=lambda step: jnp.ones(2)),
        TypeError,
        ["`scheduled(learning_rate=...)`", "a function from step to one number", "got one to float32[2]"],
    ),
    "a schedule of no step": (
        lambda: sgd(learning_rate=lambda: 0.1),
        TypeError,
        ["`scheduled(learning_rate=...)`", "a function from step to number", "<lambda> failed on a step", "takes 0"],
    ),
    "the hyperparameters of a fixed optimizer": (
        lambda: lrjax.schedules.current_hyperparams(FIXED),
        ValueError,
        [
            "`current_hyperparams(opt_state)`",
            "found no hyperparameters in tuple",
            "lrjax.schedules.scheduled(optax.adam",
        ],
    ),
    "the hyperparameters of a step alone": (
        lambda: lrjax.schedules.current_hyperparams(SCHEDULED),
        ValueError,
        ["`current_hyperparams(opt_state)`", "(step 0)", "Pass schedule=..., or use lrjax.schedules.scheduled"],
    ),
    "a fixed optimizer at another step": (
        lambda: lrjax.schedules.at_step(FIXED, 3),
        ValueError,
        ["`at_step(opt_state)`", "found no schedule in tuple"],
    ),
    "a resume at a negative step": (
        lambda: lrjax.schedules.check_resume(SCHEDULED, SCHEDULED, step=-1),
        ValueError,
        ["`check_resume(step=...)`", ">= 0 (optimizer updates)", "got -1"],
    ),
    "at a negative step": (
        lambda: lrjax.schedules.at_step(SCHEDULED, -1),
        ValueError,
        ["`at_step(step)`", ">= 0 (optimizer updates)", "got -1"],
    ),
    "at a float step": (
        lambda: lrjax.schedules.at_step(SCHEDULED, 100.0),
        TypeError,
        ["`at_step(step)`", "whole number", "got 100.0 (float)", "Write 100."],
    ),
    "at unknown epochs": (
        lambda: lrjax.schedules.at_step(SCHEDULED, "3 epochs"),
        ValueError,
        ["`at_step(step)` is '3 epochs'", "not known here", "Write `with lrjax.schedules.Durations("],
    ),
    # plateaus
    "patience negative": (
        lambda: lrjax.schedules.reduce_on_plateau(patience=-1),
        ValueError,
        ["`reduce_on_plateau(patience=...)`", "whole number >= 0 (measurements)", "got -1"],
    ),
    "patience in words": (
        lambda: lrjax.schedules.reduce_on_plateau(patience="3 epochs"),
        TypeError,
        ["`reduce_on_plateau(patience=...)`", "whole number >= 0 (measurements)", "got '3 epochs' (str)"],
    ),
    "factor one": (
        lambda: lrjax.schedules.reduce_on_plateau(factor=1.0),
        ValueError,
        ["`reduce_on_plateau(factor=...)`", "above 0 and below 1", "got 1"],
    ),
    "plateau mode misspelt": (
        lambda: lrjax.schedules.reduce_on_plateau(mode="minimum"),
        ValueError,
        ["`reduce_on_plateau(mode=...)`", "one of 'min', 'max'", "got 'minimum'"],
    ),
    "a lowest rate of an unknown one": (
        lambda: lrjax.schedules.reduce_on_plateau(min_lr=1e-5),
        ValueError,
        ["`reduce_on_plateau(min_lr=...)`", "needs base_lr", "needs base_lr, the learning rate of the optimizer"],
    ),
    "a lowest rate above the rate": (
        lambda: lrjax.schedules.reduce_on_plateau(min_lr=0.1, base_lr=0.01),
        ValueError,
        ["`reduce_on_plateau(min_lr=...)`", "not be above base_lr=0.01", "got 0.1"],
    ),
    "an update without the metric": (
        measured,
        TypeError,
        ["`reduce_on_plateau` needs the metric at every update", "optimizer.update(..., value=loss)"],
    ),
    "an update with two metrics": (
        lambda: measured(value=jnp.ones(2)),
        ValueError,
        ["`reduce_on_plateau` needs one number", "got `value` of shape (2,)", "Take its mean"],
    ),
    # steps at a call
    "at a bool": (lambda: FLAT(True), TypeError, ["`schedule(step)` must be given a number", "got True (bool)"]),
    "at an array of bools": (
        lambda: FLAT(np.array([True, False])),
        TypeError,
        ["`schedule(step)` must be given a number of steps or an array", "got bool[2]"],
    ),
    "at a string": (
        lambda: FLAT("3"),
        TypeError,
        ["`schedule(step)` must be given a number of steps or an array of them"],
    ),
    "at a traced complex number": (
        lambda: traced(schedules.warmup(FLAT, 3), 1j),
        TypeError,
        ["`schedule(step)` must be given a number of steps or an array of them", "got complex64"],
    ),
    "a NumPy bool is 1.0": (lambda: schedules.constant(np.True_), TypeError, ["`constant(value)`", "True"]),
    "an array of a bool is 1.0": (
        lambda: schedules.warmup(FLAT, 3, init_value=jnp.array(True)),
        TypeError,
        ["`warmup(init_value=...)`", "bool"],
    ),
    "an array of a bool is a hyperparameter": (
        lambda: sgd(learning_rate=jnp.array(True)),
        TypeError,
        ["`scheduled(learning_rate=...)`", "bool"],
    ),
    "cycles in words": (
        lambda: schedules.repeat(FLAT, 10, times="3 steps"),
        TypeError,
        ["`repeat(times=...)`", "(cycles)", "got '3 steps'"],
    ),
    "a factor in words": (
        lambda: schedules.cosine_restarts(1.0, 10, cycle_mult="2 steps"),
        TypeError,
        ["`cosine_restarts(cycle_mult=...)`", "a finite number >= 1", "got '2 steps'"],
    ),
    "tokens per step become updates": (
        lambda: inside(
            schedules.Durations(batch_size=8, sequence_length=16),
            lambda: schedules.power_decay(0.1, batch_size=8, tokens_per_step="4096 tokens"),
        ),
        TypeError,
        ["`power_decay(tokens_per_step=...)`", "got '4096 tokens'"],
    ),
    "an array as a choice": (
        lambda: schedules.one_cycle(1.0, total_steps=10, shape=np.array(["cosine", "linear"])),
        TypeError,
        ["`one_cycle(shape=...)`", "one of 'cosine', 'linear'", "got array("],
    ),
    "a NumPy float as a count is not shown": (
        lambda: schedules.cosine_decay(1.0, np.float64(97.5)),
        TypeError,
        ["`cosine_decay(decay_steps)`", "97.5"],
    ),
    "equal ends of a ramp": (
        lambda: schedules.range_test_ramp(0.1, 0.1, 10),
        ValueError,
        ["`range_test_ramp(min_lr=...)`", "max_lr=0.1", "got 0.1"],
    ),
    "equal ends of a tangent": (
        lambda: schedules.tanh_decay(1.0, 10, lower=3.0, upper=3.0),
        ValueError,
        ["`tanh_decay(lower=...)`", "upper=3", "got 3"],
    ),
    "drop_last a string": (
        lambda: schedules.Durations(drop_last="no"),
        TypeError,
        ["`Durations(drop_last=...)`", "must be True or False", "got 'no' (str)"],
    ),
    "a duration beyond floats": (
        lambda: schedules.Durations().steps("1e400 steps"),
        ValueError,
        ["`Durations.steps(duration)`", "below 1e18", "1e400"],
    ),
    "a file that is not there": (
        lambda: schedules.from_spec("cosine_decay"),
        ValueError,
        ["`from_spec(spec)`", "'cosine_decay'"],
    ),
    "a list as JSON": (lambda: schedules.from_spec("[1]"), TypeError, ["`from_spec(spec)`", '"name"', "[1]"]),
    "a name that is a list": (lambda: from_spec(["constant"]), TypeError, ["name", "['constant']"]),
    "a float64 in words": (
        lambda: from_spec("constant", value={"float64": "high"}),
        TypeError,
        ["`constant(value)`", "'high'"],
    ),
    "a truth value in float64": (
        lambda: from_spec("constant", value={"float64": True}),
        TypeError,
        ["got True (bool)"],
    ),
    "a spec 40 deep": (
        lambda: schedules.from_spec(
            '{"name": "repeat", "cycle_steps": 9, "schedule": ' * 40 + json.dumps({"name": "constant"}) + "}" * 40
        ),
        ValueError,
        ["`from_spec(spec)`", "nested at most 32 deep"],
    ),
    "lists 400 deep": (lambda: from_spec("constant", value=nested(400)), ValueError, ["nested at most 32 deep"]),
    "a spec with a key twice": (
        lambda: schedules.from_spec('{"name": "constant", "value": 1, "value": 2}'),
        ValueError,
        ["`from_spec(spec)`", "must be JSON", "the key 'value' is there twice"],
    ),
    "a spec with NaN": (
        lambda: schedules.from_spec('{"name": "constant", "value": NaN}'),
        ValueError,
        ["`from_spec(spec)`", "must be JSON", "NaN is not strict JSON"],
    ),
    "a number of schedules": (
        lambda: from_spec("multiply", schedules=3),
        TypeError,
        ["`multiply(", "must be a list of schedules", "got 3 (int)"],
    ),
    "a number described": (
        lambda: schedules.describe(0.1, 10),
        TypeError,
        ["`describe(schedule)`", "got 0.1 (float)", "lrjax.schedules.constant(0.1)"],
    ),
    "a number validated": (
        lambda: schedules.validate(0.1, 10),
        TypeError,
        ["`validate(schedule)`", "got 0.1 (float)", "lrjax.schedules.constant(0.1)"],
    ),
    "a schedule of None described": (
        lambda: schedules.describe(lambda step: None, 10),
        TypeError,
        ["one number", "None"],
    ),
    "a complex schedule described": (
        lambda: schedules.describe(lambda step: 1j * step, 10),
        TypeError,
        ["one number", "complex64"],
    ),
    "a stack described": (
        lambda: schedules.describe(schedules.stack([FLAT, FLAT]), 10),
        ValueError,
        ["shape (2,)", "jax.vmap"],
    ),
    "a stack called": (lambda: schedules.stack([FLAT, FLAT])(5), ValueError, ["shape (2,)", "jax.vmap"]),
    "a traced schedule described": (
        lambda: traced(lambda value: schedules.describe(schedules.constant(value), 10), 0.1),
        TypeError,
        ["`describe(schedule)`", "traced", "outside jit"],
    ),
    "a mask made with tree.map": (
        lambda: lrjax.schedules.scheduled(
            optax.adamw, learning_rate=FLAT, mask=lambda params: jax.tree.map(jnp.isfinite, params)
        ),
        TypeError,
        ["`scheduled(mask=...)`", "bool", "functools.partial"],
    ),
    "a complex hyperparameter": (
        lambda: sgd(learning_rate=lambda step: 1j * step),
        TypeError,
        ["`scheduled(learning_rate=...)`", "complex64"],
    ),
    "a hyperparameter of nan without its rule": (
        lambda: sgd(learning_rate=NAN),
        ValueError,
        ["`scheduled(learning_rate=...)`", "finite", "got nan"],
    ),
    "the hyperparameters at a number": (
        lambda: lrjax.schedules.current_hyperparams(SCHEDULED, schedule=0.1),
        TypeError,
        ["`current_hyperparams(schedule=...)`", "got 0.1 (float)"],
    ),
    "at a step that the state cannot count": (
        lambda: with_x64(lambda: lrjax.schedules.at_step(SCHEDULED, 2**40)),
        ValueError,
        ["`at_step(step)`", "2**31", "got 1,099,511,627,776"],
    ),
    "patience beyond int32": (
        lambda: lrjax.schedules.reduce_on_plateau(patience=2**40),
        ValueError,
        ["`reduce_on_plateau(patience=...)`", "at most 2,147,483,647"],
    ),
    "a metric in words": (lambda: measured(value="low"), TypeError, ["`reduce_on_plateau`", "one number", "'low'"]),
    "a metric as a string": (lambda: measured(value="1.5"), TypeError, ["`reduce_on_plateau`", "one number", "'1.5'"]),
    "a complex metric": (lambda: measured(value=1j), TypeError, ["`reduce_on_plateau`", "one number", "1j"]),
    "a step that is a string is not shown": (
        lambda: FLAT("3"),
        TypeError,
        ["`schedule(step)` must be given", "got '3' (str)"],
    ),
    "a step that is None is not shown": (lambda: FLAT(None), TypeError, ["`schedule(step)` must be given", "got None"]),
}


@pytest.mark.parametrize(("call", "error", "parts"), CASES.values(), ids=CASES.keys())
def test_bad_input_is_explained(call, error, parts):
    check_message(call, error, parts)


PUBLIC = {name for name, value in vars(schedules).items() if inspect.isfunction(value) and name[0] != "_"} | {
    "Durations"
}


def test_every_function_has_a_case():
    first_parts = {parts[0] for _, _, parts in CASES.values()}
    assert {
        name for name in PUBLIC if not any(part.startswith((f"`{name}(", f"`{name}`")) for part in first_parts)
    } == set()


@pytest.mark.parametrize("name", ["warmup", "cooldown_from", "clip", "shift", "stretch", "repeat"])
def test_a_number_for_a_schedule_is_answered_with_constant(name):
    lengths = {"clip": (), "stretch": (10, 20), "cooldown_from": (10, 20)}.get(name, (10,))
    bounds = {"min_value": 0.0} if name == "clip" else {}
    wanted = [f"`{name}(schedule)`", "must be a schedule", "got 0.5 (float)", "Write lrjax.schedules.constant(0.5)."]
    check_message(lambda: getattr(schedules, name)(0.5, *lengths, **bounds), TypeError, wanted)


def test_messages_stay_short():
    with pytest.raises(TypeError) as caught:
        schedules.extend(schedules.piecewise_constant([0.1] * 1000, range(1, 1000)), 10)
    assert len(str(caught.value)) < 2000

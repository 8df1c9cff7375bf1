"""Every schedule with its choices, as a function of one length T, beside a float64 reference written from its formula.

The references share no code with the package: whole steps are counted with Python's integers, the rest is NumPy.
"""

import inspect
import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrjax import schedules

FACTORIES = {
    name: value
    for name, value in vars(schedules).items()
    if name[0] != "_"
    and inspect.isfunction(value)
    and inspect.signature(value).return_annotation == inspect.signature(schedules.constant).return_annotation
    and name not in ("extend", "from_spec", "stack")
}
"""Every function that makes a schedule from arguments that its spec has."""

PEAK, END = 0.3, 0.01


class Case(NamedTuple):
    """`make(T)` is the schedule; `reference(T, t)` its value at step t; `pins(T)` steps whose value is exact."""

    make: Callable[[int], Any]
    reference: Callable[[int, int], float]
    pins: Callable[[int], dict[int, float]]
    edges: Callable[[int], tuple[int, ...]] = lambda T: (0, T)
    shortest: int = 1
    peak: float = PEAK
    longest: int = 10**9 - 1


def u(t: int, T: int) -> float:
    return min(max(t, 0), T) / T if T else 1.0


def mix(weight: float, one: float = PEAK, zero: float = END) -> float:
    return zero + (one - zero) * weight


def cos(p: float) -> float:
    return (1 + math.cos(math.pi * p)) / 2


FALLS: dict[str, Callable[[float], float]] = {
    "linear": lambda p: 1 - p,
    "cosine": cos,
    "sqrt": lambda p: 1 - math.sqrt(p),
    "square": lambda p: 1 - p * p,
    "mirror_cosine": lambda p: 2 * (1 - p) - cos(p),
    "rex": lambda p: (1 - p) / (0.5 + 0.5 * (1 - p)),
    "megatron": lambda p: 2 * 0.5**p - 1,
    "timm": lambda p: (0.1**p - 0.1) / 0.9,
}


def fall(shape: str, p: float, one: float = PEAK, zero: float = END) -> float:
    return one * (zero / one) ** p if shape == "exponential" else mix(FALLS[shape](p), one, zero)


def rise(shape: str, t: int, T: int, one: float, zero: float) -> float:
    if shape == "log":
        return one + (zero - one) * math.log(t + 1) / math.log(T + 1)
    return fall(shape, t / T, one, zero)


def triangle(t: int, up: int, down: int) -> tuple[float, int]:
    cycle, since = divmod(t, up + down)
    return (since / up if since <= up else (up + down - since) / down), cycle


def restarts(T: int, t: int, mult: float, decay: float, keras: bool, peak: float = PEAK) -> float:
    start, length, cycle = 0, T, 0
    if mult == 1:
        cycle, start = t // T, t // T * T
    while mult > 1 and t >= start + length:
        start, length, cycle = start + length, length * mult, cycle + 1
    wave = cos((t - start) / length)
    if keras:
        return END + (peak - END) * decay**cycle * wave
    return mix(wave, max(peak * decay**cycle, END))


def whole_part(fraction: float, T: int) -> int:
    return int(fraction * T)


def one_cycle(T: int, t: int, shape: str, three: bool, torch: bool, values: tuple[float, float, float]) -> float:
    low, high, last = values
    first = 0.3 * T - 1 if torch else whole_part(0.3, T)
    end = T - 1 if torch else T
    knots = [(0.0, low), (first, high), *([(2 * first, low)] if three else []), (end, last)]
    for (begin, one), (stop, two) in itertools.pairwise(knots):
        if t < stop or (t == stop and begin < stop):
            return fall(shape, (t - begin) / (stop - begin), one, two) if t > begin else one
    return last


def wsd(T: int, t: int, shape: str, low: float) -> float:
    warm, stable = T // 10, T // 2
    if t < warm:
        return mix(t / warm, PEAK, low)
    return fall(shape, u(t - warm - stable, T - warm - stable))


def warm_cosine(T: int, t: int, late: int, first: float | None = 0.002) -> float:
    warm = T // 10
    if t < warm and first is None:
        return PEAK * (t + 1) / warm
    if t < warm:
        return mix(t / max(warm - late, 1), PEAK, first)
    return fall("cosine", u(t + late - warm, T - warm))


def thirds(T: int) -> tuple[int, int]:
    return max(T // 3, 1), max(T // 3, 1) + max(T // 2, 1)


def stairs_of(T: int, t: int, right: bool = True) -> float:
    first, second = thirds(T)
    return (PEAK, 0.1, END)[(t >= first) + (t >= second) if right else (t > first) + (t > second)]


def between(T: int, t: int, shape: str) -> float:
    first, second = thirds(T)
    if t >= second:
        return END
    return fall(shape, t / first, 0.1, PEAK) if t < first else fall(shape, (t - first) / (second - first), PEAK, END)


def power_law(T: int, t: int) -> float:
    return min(PEAK, 8 * 4.6 * max(t * 64 * min(T, 10**6), 1) ** -0.51)


def ced(T: int, t: int, floor: float) -> float:
    wave = (1 + math.cos(2 * math.pi * (t % T) / T)) / 2
    return PEAK * 0.5 ** (t / (2 * T)) * (floor + (1 - floor) * wave)


def ends(first: float = PEAK, last: float = END) -> Callable[[int], dict[int, float]]:
    return lambda T: {0: first, T: last, 3 * T + 5: last}


def wsd_edges(T: int) -> tuple[int, ...]:
    return (0, T // 10, T // 10 + T // 2, T)


def one_cycle_edges(T: int) -> tuple[int, ...]:
    return (0, whole_part(0.3, T) - 1, whole_part(0.3, T), 2 * whole_part(0.3, T), T - 1, T)


CASES: dict[str, Case] = {
    "constant": Case(lambda T: schedules.constant(PEAK), lambda T, t: PEAK, lambda T: {0: PEAK, T: PEAK}),
    "linear_decay": Case(lambda T: schedules.linear_decay(PEAK, END, T), lambda T, t: mix(1 - u(t, T)), ends()),
    "linear_decay begin": Case(
        lambda T: schedules.linear_decay(PEAK, END, T, transition_begin=7),
        lambda T, t: mix(1 - u(t - 7, T)),
        lambda T: {0: PEAK, 7: PEAK, T + 7: END},
        lambda T: (0, 7, T + 7),
    ),
    "linear warmup": Case(lambda T: schedules.linear_decay(0.0, PEAK, T), lambda T, t: PEAK * u(t, T), ends(0.0, PEAK)),
    "polynomial_decay 2": Case(
        lambda T: schedules.polynomial_decay(PEAK, END, 2.0, T), lambda T, t: mix((1 - u(t, T)) ** 2), ends()
    ),
    "polynomial_decay 0.5": Case(
        lambda T: schedules.polynomial_decay(PEAK, END, 0.5, T), lambda T, t: mix((1 - u(t, T)) ** 0.5), ends()
    ),
    "polynomial_decay 10": Case(
        lambda T: schedules.polynomial_decay(PEAK, END, 10.0, T), lambda T, t: mix((1 - u(t, T)) ** 10), ends()
    ),
    "polynomial_decay cycle": Case(
        lambda T: schedules.polynomial_decay(PEAK, END, 1.0, T, cycle=True),
        lambda T, t: mix(1 - t / (T * max(-(-t // T), 1))),
        lambda T: {0: PEAK, T: END, 2 * T: END},
        lambda T: (0, T, 2 * T),
        longest=10**8 - 1,
    ),
    "exponential_decay": Case(
        lambda T: schedules.exponential_decay(PEAK, T, 0.5), lambda T, t: PEAK * 0.5 ** (t / T), lambda T: {0: PEAK}
    ),
    "exponential_decay begin": Case(
        lambda T: schedules.exponential_decay(PEAK, T, 0.9, transition_begin=5, end_value=END),
        lambda T, t: max(PEAK * np.float64(np.float32(0.9)) ** (max(t - 5, 0) / T), END),
        lambda T: {0: PEAK, 5: PEAK},
        lambda T: (0, 5, T + 5),
    ),
    "exponential_decay staircase": Case(
        lambda T: schedules.exponential_decay(PEAK, T, 0.5, staircase=True),
        lambda T, t: PEAK * 0.5 ** (t // T),
        lambda T: {0: PEAK, T - 1: PEAK, T: 0.5 * PEAK, 2 * T - 1: 0.5 * PEAK, 2 * T: 0.25 * PEAK},
        lambda T: (0, T, 2 * T, 7 * T),
    ),
    "inverse_time_decay": Case(
        lambda T: schedules.inverse_time_decay(PEAK, T, 2.0), lambda T, t: PEAK / (1 + 2 * t / T), lambda T: {0: PEAK}
    ),
    "inverse_time_decay staircase": Case(
        lambda T: schedules.inverse_time_decay(PEAK, T, 3.0, staircase=True, power=0.5),
        lambda T, t: PEAK / (1 + 3 * (t // T)) ** 0.5,
        lambda T: {0: PEAK, T - 1: PEAK, T: 0.5 * PEAK},
        lambda T: (0, T, 2 * T, 5 * T),
    ),
    "step_decay": Case(
        lambda T: schedules.step_decay(PEAK, factor=0.5, every=T),
        lambda T, t: PEAK * 0.5 ** (t // T),
        lambda T: {0: PEAK, T - 1: PEAK, T: 0.5 * PEAK, 3 * T: 0.125 * PEAK},
        lambda T: (0, T, 2 * T, 9 * T),
    ),
    "piecewise_constant": Case(
        lambda T: schedules.piecewise_constant([PEAK, 0.1, END], thirds(T)),
        stairs_of,
        lambda T: {0: PEAK, thirds(T)[0]: 0.1, thirds(T)[1] - 1: 0.1, thirds(T)[1]: END},
        thirds,
    ),
    "piecewise_constant keras": Case(
        lambda T: schedules.piecewise_constant([PEAK, 0.1, END], thirds(T), convention="keras"),
        lambda T, t: stairs_of(T, t, right=False),
        lambda T: {0: PEAK, thirds(T)[0]: PEAK, thirds(T)[0] + 1: 0.1 if T > 3 else stairs_of(T, 2, right=False)},
        thirds,
    ),
    **{
        f"piecewise_interpolate {kind}": Case(
            lambda T, kind=kind: schedules.piecewise_interpolate([0.1, PEAK, END], thirds(T), kind=kind),
            lambda T, t, kind=kind: between(T, t, kind),
            lambda T: {0: 0.1, thirds(T)[0]: PEAK, thirds(T)[1]: END, 9 * T + 9: END},
            thirds,
        )
        for kind in ("linear", "cosine")
    },
    "cosine_decay": Case(
        lambda T: schedules.cosine_decay(PEAK, T, end_value=END), lambda T, t: mix(cos(u(t, T))), ends()
    ),
    "cosine_decay exponent": Case(
        lambda T: schedules.cosine_decay(PEAK, T, exponent=1.5), lambda T, t: PEAK * cos(u(t, T)) ** 1.5, ends(PEAK, 0)
    ),
    "cosine_decay exponent 9": Case(
        lambda T: schedules.cosine_decay(PEAK, T, exponent=9.0), lambda T, t: PEAK * cos(u(t, T)) ** 9, ends(PEAK, 0)
    ),
    "inverse_sqrt_decay": Case(
        lambda T: schedules.inverse_sqrt_decay(PEAK, warmup_steps=T, timescale=50.0),
        lambda T, t: PEAK * t / T if t < T else PEAK / math.sqrt(1 + (t - T) / 50),
        lambda T: {0: 0.0, T: PEAK},
    ),
    "tanh_decay": Case(
        lambda T: schedules.tanh_decay(PEAK, T, end_value=END),
        lambda T, t: END if t >= T else mix((1 - math.tanh(-7 + 10 * u(t, T))) / 2),
        lambda T: {T: END, 5 * T: END},
    ),
    "k_decay cosine": Case(
        lambda T: schedules.k_decay(PEAK, T, k=1.5, end_value=END), lambda T, t: mix(cos(u(t, T) ** 1.5)), ends()
    ),
    "k_decay polynomial": Case(
        lambda T: schedules.k_decay(PEAK, T, k=2.0, end_value=END, shape="polynomial", power=2.0),
        lambda T, t: mix((1 - u(t, T) ** 2) ** 2),
        ends(),
    ),
    "k_decay 9": Case(
        lambda T: schedules.k_decay(PEAK, T, k=9.0, end_value=END), lambda T, t: mix(cos(u(t, T) ** 9)), ends()
    ),
    "power_decay": Case(
        lambda T: schedules.power_decay(PEAK, batch_size=8, tokens_per_step=64 * min(T, 10**6)),
        power_law,
        lambda T: {0: PEAK},
    ),
    **{
        f"warmup {shape}{' skip_zero' * skip}": Case(
            lambda T, shape=shape, skip=skip: schedules.warmup(
                schedules.cosine_decay(PEAK, 2 * T, end_value=END), T, init_value=0.002, shape=shape, skip_zero=skip
            ),
            lambda T, t, shape=shape, skip=skip: (
                rise(shape, t + skip, T, 0.002, PEAK) if t < T else mix(cos(u(t - T, 2 * T)))
            ),
            lambda T, skip=skip: ({} if skip else {0: 0.002}) | {T: PEAK, 3 * T: END},
            lambda T: (0, T, 3 * T),
        )
        for shape in ("linear", "cosine", "exponential", "sqrt", "log")
        for skip in (False, True)
    },
    "warmup_cosine": Case(
        lambda T: schedules.warmup_cosine(PEAK, warmup_steps=T // 10, total_steps=T, init_value=0.002, end_value=END),
        lambda T, t: warm_cosine(T, t, 0),
        lambda T: {T // 10: PEAK, T: END, 2 * T: END},
        lambda T: (0, T // 10, T),
    ),
    **{
        f"warmup_cosine hf{' from 0.002' * (first is not None)}": Case(
            lambda T, first=first: schedules.warmup_cosine(
                PEAK, warmup_steps=T // 10, total_steps=T, init_value=first, end_value=END, convention="hf"
            ),
            lambda T, t, first=first: warm_cosine(T, t, 1, first),
            lambda T, first=first: (
                ({0: first} if first and T >= 10 else {})
                | ({T // 10 - 1: PEAK} if T >= 20 else {})
                | {T - 1: END, T: END}
            ),
            lambda T: (0, T // 10 - 1, T // 10, T),
        )
        for first in (None, 0.002)
    },
    **{
        f"warmup_stable_decay {shape}": Case(
            lambda T, shape=shape: schedules.warmup_stable_decay(
                PEAK,
                warmup_steps=T // 10,
                stable_steps=T // 2,
                decay_steps=T - T // 10 - T // 2,
                end_value=END,
                cooldown=shape,
            ),
            lambda T, t, shape=shape: wsd(T, t, shape, 0.0),
            lambda T: {T // 10: PEAK, T // 10 + T // 2: PEAK, T: END, 2 * T: END},
            wsd_edges,
        )
        for shape in (*FALLS, "exponential")
    },
    "warmup_stable_decay hf": Case(
        lambda T: schedules.warmup_stable_decay(
            PEAK,
            warmup_steps=T // 10,
            stable_steps=T // 2,
            decay_steps=T - T // 10 - T // 2,
            end_value=END,
            cooldown="cosine",
            convention="hf",
        ),
        lambda T, t: wsd(T, t, "cosine", END),
        lambda T: {T // 10: PEAK, T: END},
        wsd_edges,
    ),
    "cooldown_from": Case(
        lambda T: schedules.cooldown_from(schedules.linear_decay(PEAK, 0.0, 4 * T), T, 2 * T, end_value=END),
        lambda T, t: PEAK * (1 - t / (4 * T)) if t < T else fall("sqrt", u(t - T, 2 * T), 0.75 * PEAK),
        lambda T: {0: PEAK, 3 * T: END},
        lambda T: (0, T, 3 * T),
        longest=10**8 - 1,
    ),
    **{
        f"cosine_restarts x{mult} {convention}": Case(
            lambda T, mult=mult, convention=convention: schedules.cosine_restarts(
                PEAK, T, cycle_mult=mult, peak_decay=0.5, end_value=END, convention=convention
            ),
            lambda T, t, mult=mult, convention=convention: restarts(T, t, mult, 0.5, convention == "keras"),
            lambda T, mult=mult, convention=convention: (
                {0: PEAK} | ({T: 0.5 * PEAK, T + mult * T: 0.25 * PEAK} if convention == "optax" else {})
            ),
            lambda T, mult=mult: (0, T, T + mult * T, T + mult * T + mult**2 * T),
        )
        for mult in (1, 2, 3)
        for convention in ("optax", "keras")
    },
    **{
        f"cosine_restarts grow {convention}": Case(
            lambda T, convention=convention: schedules.cosine_restarts(
                0.25 * PEAK, T, cycle_mult=2, peak_decay=1.5, end_value=END, convention=convention
            ),
            lambda T, t, convention=convention: restarts(T, t, 2, 1.5, convention == "keras", 0.25 * PEAK),
            lambda T: {0: 0.25 * PEAK},
            lambda T: (0, T, 3 * T, 7 * T),
            peak=2 * PEAK,
        )
        for convention in ("optax", "keras")
    },
    "cosine_restarts x1.5": Case(
        lambda T: schedules.cosine_restarts(PEAK, 4 * T, cycle_mult=1.5, peak_decay=0.5, end_value=END),
        lambda T, t: restarts(4 * T, t, 1.5, 0.5, False),
        lambda T: {0: PEAK, 4 * T: 0.5 * PEAK, 10 * T: 0.25 * PEAK, 19 * T: 0.125 * PEAK},
        lambda T: (0, 4 * T, 10 * T, 19 * T),
        longest=400,
    ),
    "triangular": Case(
        lambda T: schedules.triangular(END, PEAK, T, down_steps=2 * T),
        lambda T, t: mix(triangle(t, T, 2 * T)[0]),
        lambda T: {0: END, T: PEAK, 3 * T: END, 4 * T: PEAK},
        lambda T: (0, T, 3 * T, 4 * T),
        longest=10**8 - 1,
    ),
    "triangular2": Case(
        lambda T: schedules.triangular2(0.0, PEAK, T),
        lambda T, t: PEAK * triangle(t, T, T)[0] * 0.5 ** triangle(t, T, T)[1],
        lambda T: {0: 0.0, T: PEAK, 2 * T: 0.0, 3 * T: 0.5 * PEAK, 5 * T: 0.25 * PEAK},
        lambda T: (0, T, 2 * T, 3 * T, 5 * T),
    ),
    "exp_range": Case(
        lambda T: schedules.exp_range(END, PEAK, T, gamma=0.5),
        lambda T, t: mix(triangle(t, T, T)[0] * 0.5**t),
        lambda T: {0: END, 2 * T: END},
        lambda T: (0, T, 2 * T, 3 * T),
    ),
    **{
        f"one_cycle {shape} {phases} {convention}": Case(
            lambda T, shape=shape, phases=phases, convention=convention: schedules.one_cycle(
                PEAK,
                total_steps=T,
                div_factor=8.0,
                final_div_factor=64.0,
                shape=shape,
                three_phase=phases == 3,
                convention=convention,
            ),
            lambda T, t, shape=shape, phases=phases, convention=convention: one_cycle(
                T, t, shape, phases == 3, convention == "torch", (PEAK / 8, PEAK, PEAK / 512)
            ),
            lambda T, convention=convention: (
                {T: PEAK / 512} | ({0: PEAK / 8, whole_part(0.3, T): PEAK} if convention == "optax" else {})
            ),
            one_cycle_edges,
            shortest=4,
        )
        for shape in ("cosine", "linear")
        for phases in (2, 3)
        for convention in ("optax", "torch")
    },
    "one_cycle_momentum": Case(
        lambda T: schedules.one_cycle_momentum(T),
        lambda T, t: one_cycle(T, t, "cosine", False, False, (0.95, 0.85, 0.95)),
        lambda T: {0: 0.95, whole_part(0.3, T): 0.85, T: 0.95},
        one_cycle_edges,
        shortest=4,
        peak=0.95,
    ),
    "one_cycle_momentum 3 torch": Case(
        lambda T: schedules.one_cycle_momentum(T, three_phase=True, shape="linear", convention="torch"),
        lambda T, t: 0.95 if t >= 2 * (0.3 * T - 1) else one_cycle(T, t, "linear", True, True, (0.95, 0.85, 0.95)),
        lambda T: {T - 1: 0.95, T: 0.95},
        one_cycle_edges,
        shortest=4,
        peak=0.95,
    ),
    "triangular_momentum": Case(
        lambda T: schedules.triangular_momentum(T, down_steps=2 * T),
        lambda T, t: mix(triangle(t, T, 2 * T)[0], 0.8, 0.9),
        lambda T: {0: 0.9, T: 0.8, 3 * T: 0.9},
        lambda T: (0, T, 3 * T, 4 * T),
        peak=0.9,
        longest=10**8 - 1,
    ),
    **{
        f"cyclic_exponential_decay {floor}": Case(
            lambda T, floor=floor: schedules.cyclic_exponential_decay(
                PEAK, decay_rate=0.5, transition_steps=2 * T, cycle_steps=T, floor_fraction=floor
            ),
            lambda T, t, floor=floor: ced(T, t, floor),
            lambda T, floor=floor: {0: PEAK, 2 * T: 0.5 * PEAK} | ({T // 2: 0.0} if floor == 0 and T % 2 == 0 else {}),
            lambda T: (0, T // 2, T, 2 * T),
        )
        for floor in (0.0, 0.125)
    },
    "range_test_ramp": Case(
        lambda T: schedules.range_test_ramp(1e-7, PEAK, T),
        lambda T, t: 1e-7 * (PEAK / 1e-7) ** u(t, T - 1),
        lambda T: {0: 1e-7, T - 1: PEAK, 5 * T: PEAK},
        shortest=2,
    ),
    "range_test_ramp linear": Case(
        lambda T: schedules.range_test_ramp(END, PEAK, T, mode="linear"),
        lambda T, t: mix(u(t, T - 1)),
        lambda T: {0: END, T - 1: PEAK, 5 * T: PEAK},
        shortest=2,
    ),
    "join": Case(
        lambda T: schedules.join(
            [
                schedules.linear_decay(0.0, PEAK, T),
                schedules.step_decay(PEAK, factor=0.5, every=T),
                schedules.constant(END),
            ],
            [T, 4 * T],
        ),
        lambda T, t: PEAK * t / T if t < T else PEAK * 0.5 ** ((t - T) // T) if t < 4 * T else END,
        lambda T: {0: 0.0, T: PEAK, 2 * T: 0.5 * PEAK, 3 * T: 0.25 * PEAK, 4 * T - 1: 0.25 * PEAK, 4 * T: END},
        lambda T: (0, T, 2 * T, 3 * T, 4 * T),
        longest=10**8 - 1,
    ),
    "join absolute": Case(
        lambda T: schedules.join(
            [schedules.constant(PEAK), schedules.linear_decay(PEAK, END, 2 * T)], [T], clock="absolute"
        ),
        lambda T, t: PEAK if t < T else mix(1 - u(t, 2 * T)),
        lambda T: {0: PEAK, T - 1: PEAK, 2 * T: END},
        lambda T: (0, T, 2 * T),
    ),
    "add": Case(
        lambda T: schedules.add(schedules.constant(-0.5 * PEAK), schedules.linear_decay(1.5 * PEAK, PEAK, T)),
        lambda T, t: PEAK - 0.5 * PEAK * u(t, T),
        lambda T: {},
        peak=1.5 * PEAK,
    ),
    "multiply": Case(
        lambda T: schedules.multiply(schedules.constant(0.5), schedules.linear_decay(PEAK, 0.0, T)),
        lambda T, t: 0.5 * PEAK * (1 - u(t, T)),
        ends(0.5 * PEAK, 0.0),
    ),
    "clip": Case(
        lambda T: schedules.clip(schedules.linear_decay(2.0, 0.0, T), min_value=END, max_value=PEAK),
        lambda T, t: min(max(2 - 2 * u(t, T), END), PEAK),
        ends(),
        peak=2.0,
    ),
    "shift": Case(
        lambda T: schedules.shift(schedules.linear_decay(PEAK, END, T), 5),
        lambda T, t: mix(1 - u(t - 5, T)),
        lambda T: {0: PEAK, 5: PEAK, T + 5: END},
        lambda T: (0, 5, T + 5),
    ),
    "shift earlier": Case(
        lambda T: schedules.shift(schedules.linear_decay(PEAK, END, T + 5), 5, earlier=True),
        lambda T, t: mix(1 - u(t + 5, T + 5)),
        lambda T: {T: END, 2 * T: END},
    ),
    "stretch": Case(
        lambda T: schedules.stretch(schedules.step_decay(PEAK, factor=0.5, every=T), 3, 7),
        lambda T, t: PEAK * 0.5 ** (t * 3 // (7 * T)),
        lambda T: {0: PEAK, -(-7 * T // 3) - 1: PEAK, -(-7 * T // 3): 0.5 * PEAK, 7 * T: 0.125 * PEAK},
        lambda T: (0, 7 * T // 3, 14 * T // 3, 7 * T),
    ),
    "repeat": Case(
        lambda T: schedules.repeat(schedules.linear_decay(PEAK, END, T), T, times=3),
        lambda T, t: END if t >= 3 * T else mix(1 - (t % T) / T),
        lambda T: {0: PEAK, T: PEAK, 2 * T: PEAK, 3 * T: END, 5 * T: END},
        lambda T: (0, T, 2 * T, 3 * T),
    ),
}


def steps_of(case: Case, T: int) -> np.ndarray:
    """The edges, the pins and their neighbours, a few between them, and steps beyond the end."""
    near = {step + offset for step in (*case.edges(T), *case.pins(T)) for offset in (-1, 0, 1)}
    near |= {T // 4, T // 3 + 1, 2 * T // 3, 7 * T + 3}
    return np.array(sorted(step for step in near if 0 <= step < 2**31), np.int64)


def ulp(peak: float) -> float:
    return float(np.spacing(np.float32(peak)))


def in_all_modes(
    made: list[Any], steps: np.ndarray, *, compile_each: bool = True, foreign: bool = False
) -> dict[str, np.ndarray]:
    """The values of every schedule at its row of steps, shape (schedules, steps), for each way of evaluating them.

    Under "jit" the schedule is a constant of the program, as in a training step; under "argument" it is an input.

    Args:
      made: the schedules.
      steps: their steps, shape (schedules, steps).
      compile_each: whether "jit" is done for scalars too, which takes long to compile.
      foreign: somebody else's: not asked for arrays of steps, which not all take, and no argument.
    """
    rows = jnp.asarray(steps, jnp.int32)
    single = lambda one: lambda step: jnp.asarray(one(step))  # noqa: E731

    def each(values: Callable[[Any, Any], Any]) -> np.ndarray:
        return np.stack([np.asarray(values(one, row)) for one, row in zip(made, rows, strict=True)])

    mapped = jax.vmap if foreign else lambda function: function
    together = jax.jit(lambda rows: [mapped(single(one))(row) for one, row in zip(made, rows, strict=True)])
    found = {
        "eager": np.array([[float(one(int(step))) for step in row] for one, row in zip(made, steps, strict=True)]),
        "jit vmap" if foreign else "jit array": np.stack([np.asarray(row) for row in together(rows)]),
    }
    if compile_each:
        scalars = jax.jit(lambda step: [single(one)(step[index]) for index, one in enumerate(made)])
        found["jit"] = np.stack([np.array(scalars(column)) for column in rows.T], axis=1)
    if not foreign:
        call, every = jax.jit(lambda one, step: one(step)), schedules.stack(made)
        found["array"] = each(lambda one, row: one(row))
        found["argument"] = each(lambda one, row: [call(one, step) for step in np.asarray(row)])
        found["argument, vmap"] = np.asarray(jax.jit(jax.vmap(lambda one, row: jax.vmap(one)(row)))(every, rows))
    return found


class Count(NamedTuple):
    """How many values were compared, and in words which are off by more than rounding, and which pins by any bit."""

    compared: int
    pinned: int
    far: list[str]
    inexact: list[str]

    @property
    def wrong(self) -> list[str]:
        return self.far + self.inexact


def count_mismatches(case: Case, make: Callable[[int], Any], lengths: list[int], **modes: bool) -> Count:
    """Compare with the reference: 4 ulp of the peak, and every bit where the formula pins the value."""
    grids = [steps_of(case, T) for T in lengths]
    width = max(map(len, grids))
    steps = np.stack([np.r_[grid, np.full(width - len(grid), grid[-1])] for grid in grids])
    truth = np.array([[case.reference(T, int(step)) for step in row] for T, row in zip(lengths, steps, strict=True)])
    exact = np.full(steps.shape, np.nan, np.float32)
    for row, T in enumerate(lengths):
        for step, value in case.pins(T).items():
            exact[row, steps[row] == step] = value
    compared, far, inexact = 0, [], []
    for mode, values in in_all_modes([make(T) for T in lengths], steps, **modes).items():
        compared += values.size
        values = values.astype(np.float32)
        off = ~(np.abs(values - truth) <= 4 * ulp(case.peak))
        bits = ~np.isnan(exact) & (values != exact) & ~off
        for kind, where in ((far, off), (inexact, bits)):
            kind += [
                f"{mode}: T={lengths[row]}, step {steps[row, at]}: {values[row, at]!r}, not {truth[row, at]!r}"
                for row, at in np.argwhere(where)
            ]
    return Count(compared, int((~np.isnan(exact)).sum()), far, inexact)

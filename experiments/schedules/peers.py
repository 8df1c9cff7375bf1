"""The schedules of other trainers: how each is configured there, the formula of its source in float64, our line for it.

One list for the table of docs/coming_from.md, for what docs/comparison.md says is missing, and for the counts of
`coverage.py`. PyTorch, Keras, transformers, timm and Optax were run themselves for the frozen values of
`tests/oracles/schedules.json`. The other formulas are written down from sources or documentation of 2023 to 2026 and
were not run: an option that changed since is not seen.

A formula takes t, the number of updates done: 0 for the first one.
"""

import bisect
import math
from collections.abc import Callable
from math import cos, log, pi, sqrt
from typing import NamedTuple


class Row(NamedTuple):
    """A configuration elsewhere; `ours` is Python with the names of `lrjax.schedules`, `formula` what theirs gives."""

    library: str
    theirs: str
    ours: str
    formula: Callable[[int], float]
    note: str = ""
    steps: int = 150


class Missing(NamedTuple):
    """What another library has and we have not, and why."""

    library: str
    theirs: str
    why: str


def half(x: float) -> float:
    """Half a cosine from 1 to 0, held at both ends."""
    return 0.5 * (1 + cos(pi * min(max(x, 0), 1)))


def line(x: float, start: float, end: float) -> float:
    """A straight line, held at both ends."""
    return start + (end - start) * min(max(x, 0), 1)


def mix(weight: float) -> float:
    """From 0.03 to 0.3."""
    return 0.03 + 0.27 * weight


def triangle(t: int, up: int, down: int) -> tuple[float, int]:
    """The height on PyTorch's triangle, and the cycle."""
    cycle, since = divmod(t, up + down)
    return (since / up if since <= up else 1 - (since - up) / down), cycle


def restarts(t: float, first: float, mult: float) -> tuple[float, int]:
    """How far the cycle is, and which it is."""
    cycle, start, length = 0, 0.0, first
    while t >= start + length:
        start, length, cycle = start + length, length * mult, cycle + 1
    return (t - start) / length, cycle


def wsd(t: int, decay: Callable[[float], float], low: float = 0.0, start: float = 0.0) -> float:
    """10 steps of warmup, 70 of 0.3, 20 of decay."""
    return line(t / 10, start, 0.3) if t < 80 else low + (0.3 - low) * decay(min((t - 80) / 20, 1))


def warm(t: int, after: float, start: float = 0.0) -> float:
    """A linear warmup of 10 steps to 0.3."""
    return line(t / 10, start, 0.3) if t < 10 else after


def product(t: int) -> float:
    """What MultiplicativeLR makes of 1 - 0.5 / epoch."""
    return 0.3 * math.prod(1 - 0.5 / epoch for epoch in range(1, min(t, 4) + 1))


def torchtitan(t: int, shape: Callable[[float], float], low: float = 0.0) -> float:
    """10 + 70 + 20 updates; both lengths are one more than their steps."""
    if t < 10:
        return 0.3 * (t + 1) / 11
    return 0.3 if t < 80 else 0.3 * (low + (1 - low) * shape((min(t, 100) + 1 - 80) / 21))


def keras_restarts(t: int, mult: float) -> float:
    """CosineDecayRestarts(0.3, 10, t_mul, m_mul=0.5, alpha=0.1)."""
    x, cycle = restarts(t, 10, mult)
    return 0.3 * (0.9 * 0.5**cycle * half(x) + 0.1)


def deepspeed_cycle(t: int) -> float:
    """OneCycle: 20 up, 30 down, then the decay; all one step ahead."""
    if t >= 50:
        return 0.03 / (1 + 0.5 * (t - 49) / 10)
    return line((t + 1) / 20, 0.03, 0.3) if t < 20 else line((t - 19) / 30, 0.3, 0.03)


def deepspeed_cosine(t: int) -> float:
    """WarmupCosineLR(total_num_steps=100, warmup_num_steps=10), one step ahead after its warmup."""
    return 0.3 * log(t + 1) / log(10) if t < 10 else 0.3 * max(1e-4 + (1 - 1e-4) * half((t - 9) / 90), 0)


def wsds(t: int) -> float:
    """OLMo-core's WSDS(period_lengths=[60, 40], warmup=10, decay=20): a period's last step belongs to it."""
    if t < 10:
        return 0.03 * t
    return 0.3 * min(1, max((60 if t <= 60 else 100) - t, 0) / 20)


PYTORCH = [
    (
        "ConstantLR(opt, factor=0.5, total_iters=5)",
        "piecewise_constant([0.15, 0.3], [5])",
        lambda t: 0.15 if t < 5 else 0.3,
    ),
    ("LinearLR(opt, 0.1, 1.0, total_iters=10)", "linear_decay(0.03, 0.3, 10)", lambda t: line(t / 10, 0.03, 0.3)),
    ("ExponentialLR(opt, gamma=0.9)", "exponential_decay(0.3, 1, 0.9)", lambda t: 0.3 * 0.9**t),
    ("StepLR(opt, 30, gamma=0.1)", "step_decay(0.3, factor=0.1, every=30)", lambda t: 0.3 * 0.1 ** (t // 30)),
    (
        "MultiStepLR(opt, [30, 60], gamma=0.1)",
        "piecewise_constant([0.3, 0.03, 0.003], [30, 60])",
        lambda t: 0.3 * 0.1 ** bisect.bisect_right([30, 60], t),
    ),
    (
        "PolynomialLR(opt, 50, power=2.0)",
        "polynomial_decay(0.3, 0.0, 2.0, 50)",
        lambda t: 0.3 * (1 - min(t, 50) / 50) ** 2,
    ),
    (
        "CosineAnnealingLR(opt, T_max=50, eta_min=0.003)",
        "cosine_decay(0.3, 50, end_value=0.003)",
        lambda t: 0.003 + 0.297 * half(t / 50),
        "after `T_max` PyTorch's rises again, ours stays",
        50,
    ),
    (
        "CosineAnnealingWarmRestarts(opt, 10, T_mult=2, eta_min=0.003)",
        "cosine_restarts(0.3, 10, cycle_mult=2, end_value=0.003)",
        lambda t: 0.003 + 0.297 * half(restarts(t, 10, 2)[0]),
    ),
    (
        'CyclicLR(opt, 0.03, 0.3, 8, mode="triangular")',
        "triangular(0.03, 0.3, 8)",
        lambda t: 0.03 + 0.27 * triangle(t, 8, 8)[0],
    ),
    (
        'CyclicLR(opt, 0.03, 0.3, 8, 12, mode="triangular2")',
        "triangular2(0.03, 0.3, 8, down_steps=12)",
        lambda t: 0.03 + 0.27 * triangle(t, 8, 12)[0] / 2 ** triangle(t, 8, 12)[1],
    ),
    (
        'CyclicLR(opt, 0.03, 0.3, 8, mode="exp_range", gamma=0.99)',
        "exp_range(0.03, 0.3, 8, gamma=0.99)",
        lambda t: 0.03 + 0.27 * triangle(t, 8, 8)[0] * 0.99**t,
    ),
    (
        'CyclicLR(opt, 0.03, 0.3, 8, scale_fn=lambda t: 0.5 ** (t / 20), scale_mode="iterations")',
        "add(constant(0.03), multiply(triangular(0.0, 0.27, 8), exponential_decay(1.0, 20, 0.5)))",
        lambda t: 0.03 + 0.27 * triangle(t, 8, 8)[0] * 0.5 ** (t / 20),
    ),
    (
        'CyclicLR(..., mode="triangular"), its momentum',
        "triangular_momentum(8, max_momentum=0.9, min_momentum=0.8)",
        lambda t: 0.9 - 0.1 * triangle(t, 8, 8)[0],
    ),
    (
        'CyclicLR(..., mode="triangular2"), its momentum',
        "add(constant(0.9), multiply(constant(-0.1), triangular2(0.0, 1.0, 8)))",
        lambda t: 0.9 - 0.1 * triangle(t, 8, 8)[0] / 2 ** triangle(t, 8, 8)[1],
    ),
    (
        'CyclicLR(..., mode="exp_range", gamma=0.99), its momentum',
        "add(constant(0.9), multiply(constant(-0.1), exp_range(0.0, 1.0, 8, gamma=0.99)))",
        lambda t: 0.9 - 0.1 * triangle(t, 8, 8)[0] * 0.99**t,
    ),
    (
        "OneCycleLR(opt, 0.3, total_steps=100)",
        'one_cycle(0.3, total_steps=100, convention="torch")',
        lambda t: (
            0.3 * (0.04 + 0.96 * (1 - half(t / 29))) if t <= 29 else 4e-6 * 0.3 + 0.3 * (1 - 4e-6) * half((t - 29) / 70)
        ),
        "the peak is at step 0.3 N - 1, the end at the last update; then PyTorch raises",
        99,
    ),
    (
        "MultiplicativeLR(opt, lambda epoch: 0.95)",
        "exponential_decay(0.3, 1, 0.95)",
        lambda t: 0.3 * 0.95**t,
    ),
    (
        "MultiplicativeLR(opt, lambda epoch: 1 - 0.5 / epoch), 4 epochs",
        "piecewise_constant(list(0.3 * np.cumprod([1, 1/2, 3/4, 5/6, 7/8])), [1, 2, 3, 4])",
        product,
    ),
    (
        "SequentialLR([LinearLR(opt, 0.1, total_iters=10), ExponentialLR(opt, 0.9)], [10])",
        "warmup(exponential_decay(0.3, 1, 0.9), 10, init_value=0.03)",
        lambda t: warm(t, 0.3 * 0.9 ** (t - 10), 0.03),
    ),
    (
        "ChainedScheduler([ConstantLR(opt, 0.5, 5), ExponentialLR(opt, 0.9)])",
        "multiply(piecewise_constant([0.5, 1.0], [5]), exponential_decay(0.3, 1, 0.9))",
        lambda t: 0.3 * 0.9**t * (0.5 if t < 5 else 1),
    ),
]
RESTARTS = "`m_mul` scales the height above the floor; Keras finds the cycle by a logarithm, and may miss a restart"
KERAS = [
    (
        "ExponentialDecay(0.3, 10, 0.5, staircase=True)",
        "exponential_decay(0.3, 10, 0.5, staircase=True)",
        lambda t: 0.3 * 0.5 ** (t // 10),
    ),
    ("InverseTimeDecay(0.3, 10, 0.5)", "inverse_time_decay(0.3, 10, 0.5)", lambda t: 0.3 / (1 + 0.5 * t / 10)),
    (
        "PolynomialDecay(0.3, 50, 0.01, power=2.0)",
        "polynomial_decay(0.3, 0.01, 2.0, 50)",
        lambda t: 0.01 + 0.29 * (1 - min(t, 50) / 50) ** 2,
    ),
    (
        "PolynomialDecay(0.3, 50, 0.01, cycle=True)",
        "polynomial_decay(0.3, 0.01, 1.0, 50, cycle=True)",
        lambda t: 0.01 + 0.29 * (1 - t / (50 * max(math.ceil(t / 50), 1))),
    ),
    (
        "PiecewiseConstantDecay([30, 60], [0.3, 0.03, 0.003])",
        'piecewise_constant([0.3, 0.03, 0.003], [30, 60], convention="keras")',
        lambda t: (0.3, 0.03, 0.003)[(t > 30) + (t > 60)],
        "a boundary is the last step of the old value",
    ),
    (
        "CosineDecay(0.3, 100, alpha=0.1)",
        "cosine_decay(0.3, 100, end_value=0.03)",
        lambda t: mix(half(t / 100)),
    ),
    (
        "CosineDecay(0.0, 90, warmup_target=0.3, warmup_steps=10)",
        "warmup_cosine(0.3, warmup_steps=10, total_steps=100)",
        lambda t: warm(t, 0.3 * half((t - 10) / 90)),
        "`decay_steps` does not count the warmup, `total_steps` does",
    ),
    (
        "CosineDecayRestarts(0.3, 10, t_mul=2.0, m_mul=0.5, alpha=0.1)",
        'cosine_restarts(0.3, 10, cycle_mult=2, peak_decay=0.5, end_value=0.03, convention="keras")',
        lambda t: keras_restarts(t, 2),
        RESTARTS,
    ),
    (
        "CosineDecayRestarts(0.3, 10, t_mul=1.5, m_mul=0.5, alpha=0.1)",
        'cosine_restarts(0.3, 10, cycle_mult=1.5, peak_decay=0.5, end_value=0.03, convention="keras")',
        lambda t: keras_restarts(t, 1.5),
        RESTARTS,
    ),
]
HF = [
    ("constant", "constant(0.3)", lambda t: 0.3),
    ("constant_with_warmup", "warmup(constant(0.3), 10)", lambda t: warm(t, 0.3)),
    ("linear", "warmup(linear_decay(0.3, 0.0, 90), 10)", lambda t: warm(t, line((t - 10) / 90, 0.3, 0))),
    ("cosine", "warmup_cosine(0.3, warmup_steps=10, total_steps=100)", lambda t: warm(t, 0.3 * half((t - 10) / 90))),
    (
        "cosine_with_restarts, num_cycles=3",
        "warmup(stretch(repeat(cosine_decay(0.3, 90), 90, times=3), 270, 90), 10)",
        lambda t: warm(t, 0.0 if t >= 100 else 0.3 * half(3 * (t - 10) / 90 % 1)),
        "equal cycles, whatever the length; 0 at the end",
    ),
    (
        "polynomial, lr_end=1e-7, power=2.0",
        "warmup(polynomial_decay(0.3, 1e-7, 2.0, 90), 10)",
        lambda t: warm(t, 1e-7 + (0.3 - 1e-7) * line((t - 10) / 90, 1, 0) ** 2),
    ),
    (
        "inverse_sqrt",
        "inverse_sqrt_decay(0.3, warmup_steps=10, timescale=10)",
        lambda t: warm(t, 0.3 / sqrt(max(t, 10) / 10)),
        "`timescale` is the warmup unless given",
    ),
    (
        "cosine_with_min_lr, min_lr=0.03",
        "warmup_cosine(0.3, warmup_steps=10, total_steps=100, end_value=0.03)",
        lambda t: warm(t, mix(half((t - 10) / 90))),
    ),
    (
        "cosine_warmup_with_min_lr, min_lr=0.03",
        'warmup_cosine(0.3, warmup_steps=10, total_steps=100, end_value=0.03, convention="hf")',
        lambda t: 0.03 * (t + 1) if t < 10 else mix(half((t - 9) / 90)),
        "one step ahead of all others",
    ),
    (
        "warmup_stable_decay, min_lr_ratio=0.1",
        'warmup_stable_decay(0.3, warmup_steps=10, stable_steps=70, decay_steps=20, end_value=0.03, cooldown="cosine", '
        'convention="hf")',
        lambda t: wsd(t, half, 0.03, 0.03),
        "the warmup begins at the floor",
    ),
]
TIMM = [
    (
        "CosineLRScheduler(t_initial=100, lr_min=0.003, warmup_t=10, warmup_prefix=True)",
        "warmup(cosine_decay(0.3, 100, end_value=0.003), 10)",
        lambda t: warm(t, 0.003 + 0.297 * half((t - 10) / 100)),
    ),
    (
        "CosineLRScheduler(t_initial=100, lr_min=0.003, warmup_t=10)",
        'join([linear_decay(0.0, 0.3, 10), cosine_decay(0.3, 100, end_value=0.003)], [10], clock="absolute")',
        lambda t: warm(t, 0.003 + 0.297 * half(t / 100)),
        "without `warmup_prefix` the cosine runs from step 0 on below the warmup",
    ),
    (
        "CosineLRScheduler(t_initial=10, cycle_mul=1.5, cycle_decay=0.5, cycle_limit=9)",
        "cosine_restarts(0.3, 10, cycle_mult=1.5, peak_decay=0.5)",
        lambda t: 0.3 * 0.5 ** restarts(t, 10, 1.5)[1] * half(restarts(t, 10, 1.5)[0]),
    ),
    (
        "CosineLRScheduler(t_initial=100, k_decay=1.5)",
        "k_decay(0.3, 100, k=1.5)",
        lambda t: 0.3 * half((min(t, 100) / 100) ** 1.5),
    ),
    (
        "TanhLRScheduler(t_initial=100, lb=-7.0, ub=3.0)",
        "tanh_decay(0.3, 100)",
        lambda t: 0.0 if t >= 100 else 0.15 * (1 - math.tanh(-7 * (1 - t / 100) + 3 * t / 100)),
    ),
    (
        "PolyLRScheduler(t_initial=100, power=0.5, lr_min=0.003)",
        "polynomial_decay(0.3, 0.003, 0.5, 100)",
        lambda t: 0.003 + 0.297 * (1 - min(t, 100) / 100) ** 0.5,
    ),
    (
        "StepLRScheduler(decay_t=30, decay_rate=0.1)",
        "step_decay(0.3, factor=0.1, every=30)",
        lambda t: 0.3 * 0.1 ** (t // 30),
    ),
    (
        "MultiStepLRScheduler(decay_t=[30, 60], decay_rate=0.1)",
        "piecewise_constant([0.3, 0.03, 0.003], [29, 59])",
        lambda t: 0.3 * 0.1 ** bisect.bisect_right([30, 60], t + 1),
        "drops one step early",
    ),
    *(
        (
            f"WSDLRScheduler(t_initial=90, decay_t=20, lr_min=0.03, warmup_t=10, decay_fn={theirs!r})",
            "warmup_stable_decay(0.3, warmup_steps=10, stable_steps=70, decay_steps=20, end_value=0.03, "
            f'cooldown="{ours}")',
            lambda t, shape=shape: wsd(t, shape, 0.03),
        )
        for theirs, ours, shape in (
            ("linear", "linear", lambda p: 1 - p),
            ("1-sqrt", "sqrt", lambda p: 1 - sqrt(p)),
            ("cosine", "cosine", half),
            ("exp", "timm", lambda p: (0.1**p - 0.1) / 0.9),
        )
    ),
    (
        "WSDLRScheduler(..., decay_fn='power', decay_power=3.0)",
        'warmup(join([constant(0.3), k_decay(0.3, 20, k=3.0, end_value=0.03, shape="polynomial")], [70]), 10)',
        lambda t: wsd(t, lambda p: 1 - p**3, 0.03),
    ),
    (
        "WSDLRScheduler(..., decay_fn='linear', stable_fn='rsqrt')",
        "add(multiply(add(inverse_sqrt_decay(0.3, warmup_steps=10, timescale=10), constant(-0.03)), "
        "linear_decay(1.0, 0.0, 20, transition_begin=80)), constant(0.03))",
        lambda t: warm(t, 0.03 + (0.3 / sqrt(1 + max(t - 10, 0) / 10) - 0.03) * line((t - 80) / 20, 1, 0)),
        "the stable part keeps falling through the decay",
    ),
]
DEEPSPEED = [
    (
        "WarmupLR(warmup_max_lr=0.3, warmup_num_steps=10)",
        'warmup(constant(0.3), 9, shape="log")',
        lambda t: 0.3 * log(t + 1) / log(10) if t < 10 else 0.3,
        "logarithmic unless told otherwise, and complete one step early",
    ),
    ('WarmupLR(..., warmup_type="linear")', "warmup(constant(0.3), 10)", lambda t: warm(t, 0.3)),
    (
        "WarmupDecayLR(total_num_steps=100, warmup_max_lr=0.3, warmup_num_steps=10)",
        'warmup(linear_decay(0.3, 0.0, 90, transition_begin=1), 9, shape="log")',
        lambda t: 0.3 * log(t + 1) / log(10) if t < 10 else line((t - 10) / 90, 0.3, 0),
    ),
    (
        "WarmupCosineLR(total_num_steps=100, warmup_num_steps=10)",
        'warmup(cosine_decay(0.3, 90, end_value=3e-5), 9, shape="log")',
        deepspeed_cosine,
        "one step ahead: the end comes at the last update",
    ),
    (
        "OneCycle(0.03, 0.3, cycle_first_step_size=20, cycle_second_step_size=30, decay_step_size=10, "
        "decay_lr_rate=0.5)",
        "shift(join([piecewise_interpolate([0.03, 0.3, 0.03], [20, 50]), inverse_time_decay(0.03, 10, 0.5)], [50]), 1, "
        "earlier=True)",
        deepspeed_cycle,
        "one step ahead",
    ),
    (
        "LRRangeTest(lr_range_test_min_lr=0.001, lr_range_test_step_size=10, lr_range_test_step_rate=1.0)",
        "linear_decay(0.0011, 0.0161, 150)",
        lambda t: 0.001 * (1 + (t + 1) / 10),
        "one step ahead; it rises for ever, ours for as long as it is told",
    ),
]
MEGATRON = [
    (
        "--lr-decay-style linear --lr-warmup-iters 10 --min-lr 0.03",
        "warmup(linear_decay(0.3, 0.03, 90), 10)",
        lambda t: warm(t, line((t - 10) / 90, 0.3, 0.03)),
        "`--lr-decay-iters` counts the warmup",
    ),
    (
        "--lr-decay-style cosine --lr-warmup-init 0.001",
        "warmup_cosine(0.3, warmup_steps=10, total_steps=100, init_value=0.001, end_value=0.03)",
        lambda t: warm(t, mix(half((t - 10) / 90)), 0.001),
    ),
    (
        "--lr-decay-style inverse-square-root --min-lr 0.1",
        "warmup(clip(inverse_sqrt_decay(0.3, timescale=10), min_value=0.1), 10)",
        lambda t: 0.1 if t > 100 else warm(t, max(0.1, 0.3 * sqrt(10 / max(t, 1)))),
    ),
    *(
        (
            f"--lr-decay-style WSD --lr-wsd-decay-style {theirs}",
            "warmup_stable_decay(0.3, warmup_steps=10, stable_steps=70, decay_steps=20, end_value=0.03, "
            f'cooldown="{ours}")',
            lambda t, shape=shape: wsd(t, shape, 0.03),
            'its "exponential" is not ours',
        )
        for theirs, ours, shape in (
            ("linear", "linear", lambda p: 1 - p),
            ("cosine", "cosine", half),
            ("minus_sqrt", "sqrt", lambda p: 1 - sqrt(p)),
            ("exponential", "megatron", lambda p: 2 * 0.5**p - 1),
        )
    ),
    (
        "--weight-decay-incr-style cosine, 0.01 to 0.1",
        "cosine_decay(0.01, 100, end_value=0.1)",
        lambda t: 0.01 + 0.09 * (1 - half(t / 100)),
        "give it to `scheduled(optax.adamw, weight_decay=...)`",
    ),
]
NEMO = [
    (
        "CosineAnnealing(max_steps=100, warmup_steps=10, min_lr=0.03)",
        "multiply(warmup(constant(1.0), 11, skip_zero=True), shift(cosine_decay(0.3, 90, end_value=0.03), 10))",
        lambda t: 0.3 * (t + 1) / 11 if t <= 10 else mix(half((t - 10) / 90)),
        "the warmup is one step longer and one ahead, the decay is not",
    ),
    (
        "InverseSquareRootAnnealing(max_steps=150, warmup_steps=10)",
        "multiply(warmup(constant(1.0), 11, skip_zero=True), shift(inverse_sqrt_decay(0.3, timescale=11), 10))",
        lambda t: 0.3 * (t + 1) / 11 if t <= 10 else 0.3 / sqrt((t + 1) / 11),
    ),
    (
        "NoamHoldAnnealing(max_steps=150, warmup_steps=10, hold_steps=20, decay_rate=0.5)",
        "multiply(warmup(constant(1.0), 11, skip_zero=True), shift(inverse_sqrt_decay(0.3, timescale=10), 30))",
        lambda t: 0.3 * (t + 1) / 11 if t <= 10 else 0.3 if t < 30 else 0.3 * sqrt(10 / (t - 20)),
    ),
]
TORCHTITAN = [
    *(
        (
            f'warmup_steps=10, decay_ratio=0.2, decay_type="{theirs}", lr_min={low}',
            "multiply(warmup(constant(0.3), 11, skip_zero=True), "
            f'shift(cooldown_from(constant(1.0), 80, 21, end_value={low}, cooldown="{theirs}"), 1, earlier=True))',
            lambda t, shape=shape, low=low: torchtitan(t, shape, low),
            "warmup and decay are a step longer than asked and a step ahead: neither 0 is used",
            100,
        )
        for theirs, shape, low in (
            ("linear", lambda p: 1 - p, 0.0),
            ("sqrt", lambda p: 1 - sqrt(p), 0.1),
            ("cosine", half, 0.1),
        )
    ),
]
MAXTEXT = [
    (
        "learning_rate_schedule_steps: 100, warmup_steps_fraction: 0.1, cosine_learning_rate_final_fraction: 0.1",
        "join([warmup_cosine(0.3, warmup_steps=10, total_steps=100, end_value=0.03), constant(0.0)], [100])",
        lambda t: 0.0 if t >= 100 else warm(t, mix(half((t - 10) / 90))),
        "0 after the schedule's steps",
    ),
]
LEVANTER = [
    (
        'lr_schedule: "cosine", warmup: 10, min_lr_ratio: 0.1',
        "warmup(cosine_decay(0.3, 90, end_value=0.03), 10)",
        lambda t: warm(t, mix(half((t - 10) / 90))),
    ),
    (
        'lr_schedule: "linear", warmup: 10, decay: 20, min_lr_ratio: 0.1',
        'warmup_stable_decay(0.3, warmup_steps=10, stable_steps=70, decay_steps=20, end_value=0.03, cooldown="linear")',
        lambda t: wsd(t, lambda p: 1 - p, 0.03),
    ),
    (
        'lr_schedule: "inv", min_lr_ratio: 0.1',
        "clip(inverse_time_decay(0.3, 100, 9.0), min_value=0.03, max_value=0.3 / 1.09)",
        lambda t: max(0.3 / (9 * max(t, 1) / 100 + 1), 0.03),
        "levanter's first update has the rate of its second",
    ),
    (
        "lr_schedule: {type: inv_sqrt, timescale: 20}, warmup: 10",
        "warmup(shift(inverse_sqrt_decay(0.3, timescale=20), 10), 10)",
        lambda t: warm(t, 0.3 * min(1, sqrt(20 / max(t, 1)))),
        "the time counts the warmup, and the peak is held up to `timescale`",
    ),
    (
        "lr_schedule: {type: power, batch_size: 8, seq_length: 64}",
        "power_decay(0.3, batch_size=8, tokens_per_step=8 * 64)",
        lambda t: min(0.3, 8 * 4.6 * max(t * 512, 1) ** -0.51),
        "by tokens; levanter's is inf at step 0 but for its minimum",
    ),
    (
        'lr_schedule: "cosine", cycles: 2, rewarmup: 5 (100 steps)',
        "join([cosine_decay(0.3, 50), warmup(cosine_decay(0.3, 45), 5)], [50])",
        lambda t: 0.3 * half(t / 50) if t < 50 else line((t - 50) / 5, 0, 0.3) if t < 55 else 0.3 * half((t - 55) / 45),
    ),
]
OLMO = [
    ("ConstantWithWarmup(warmup_steps=10)", "warmup(constant(0.3), 10)", lambda t: warm(t, 0.3)),
    (
        "WSD(warmup_steps=10, decay_steps=20), 100 steps",
        'warmup_stable_decay(0.3, warmup_steps=10, stable_steps=70, decay_steps=20, cooldown="linear")',
        lambda t: wsd(t, lambda p: 1 - p),
    ),
    (
        "WSDS(period_lengths=[60, 40], warmup=10, decay=20)",
        'join([warmup_stable_decay(0.3, warmup_steps=10, stable_steps=30, decay_steps=20, cooldown="linear"), '
        'cooldown_from(constant(0.3), 19, 20, cooldown="linear")], [61])',
        wsds,
        "every period ends at 0; its last step belongs to it",
    ),
    (
        "LinearWithWarmup(warmup_steps=10, alpha_f=0.1)",
        "warmup(linear_decay(0.3, 0.03, 90), 10)",
        lambda t: warm(t, line((t - 10) / 90, 0.3, 0.03)),
    ),
    (
        "CosWithWarmup(warmup_steps=10, alpha_f=0.1)",
        "warmup_cosine(0.3, warmup_steps=10, total_steps=100, end_value=0.03)",
        lambda t: warm(t, mix(half((t - 10) / 90))),
    ),
    (
        "CosWithWarmupAndLinearDecay(warmup_steps=10, alpha_f=0.1, decay_steps=20)",
        "cooldown_from(warmup_cosine(0.3, warmup_steps=10, total_steps=100, end_value=0.03), 80, 20, "
        'cooldown="linear")',
        lambda t: warm(t, mix(half((t - 10) / 90)) if t < 80 else (mix(half(7 / 9))) * line((t - 80) / 20, 1, 0)),
    ),
    (
        "InvSqrtWithWarmup(warmup_steps=10, alpha_f=0.1)",
        "warmup(add(constant(0.03), inverse_sqrt_decay(0.27, timescale=10)), 10)",
        lambda t: warm(t, 0.03 + 0.27 * sqrt(10 / max(t, 10))),
    ),
    (
        "ExponentialScheduler(lr_min=1e-6), 100 steps",
        "range_test_ramp(1e-6, 0.3, 101)",
        lambda t: 1e-6 * (0.3 / 1e-6) ** min(t / 100, 1),
    ),
]
BIG_VISION = [
    (
        'decay_type="cosine", warmup_steps=10',
        "warmup_cosine(0.3, warmup_steps=10, total_steps=100)",
        lambda t: 0.3 * half((t - 10) / 90) * min(1, t / 10),
    ),
    (
        'decay_type="linear", linear_end=0.03, warmup_steps=10',
        "multiply(warmup(constant(1.0), 10), linear_decay(0.3, 0.03, 90, transition_begin=10))",
        lambda t: line((t - 10) / 90, 0.3, 0.03) * min(1, t / 10),
    ),
    (
        'decay_type="rsqrt", timescale=20, warmup_steps=10, cooldown_steps=20',
        "multiply(inverse_sqrt_decay(0.3, warmup_steps=10, timescale=20), "
        "linear_decay(1.0, 0.0, 20, transition_begin=80))",
        lambda t: 0.3 / sqrt(1 + max(t - 10, 0) / 20) * min(1, t / 10) * line((100 - t) / 20, 0, 1),
    ),
    (
        'decay_type="stair", steps=[30, 60], mults=[0.1, 0.01]',
        "piecewise_constant([0.3, 0.03, 0.003], [30, 60])",
        lambda t: 0.3 * (1, 0.1, 0.01)[(t >= 30) + (t >= 60)],
        "`mults` are of the base, not of one another",
    ),
]
FAIRSEQ = [
    (
        "inverse_sqrt, --warmup-updates 10",
        "inverse_sqrt_decay(0.3, warmup_steps=10, timescale=10)",
        lambda t: warm(t, 0.3 * sqrt(10 / max(t, 10))),
    ),
    (
        "cosine, --lr-period-updates 10 --t-mult 2 --lr-shrink 0.5 --warmup-updates 10, --min-lr 0.03",
        "warmup(multiply(cosine_restarts(0.3, 10, cycle_mult=2, end_value=0.03), "
        "piecewise_constant([1.0, 0.5, 0.25, 0.125], [10, 30, 70])), 10)",
        lambda t: warm(
            t, 0.5 ** restarts(t - 10, 10, 2)[1] * (mix(half(restarts(t - 10, 10, 2)[0]))) if t >= 10 else 0
        ),
        "the floor shrinks with the peak",
    ),
    (
        "triangular, --max-lr 0.3 --lr-period-updates 16 --lr-shrink 0.5",
        "add(constant(0.03), multiply(triangular(0.0, 1.0, 8), "
        "add(step_decay(0.3, factor=0.5, every=16), constant(-0.03))))",
        lambda t: 0.03 + (0.3 * 0.5 ** (t // 16) - 0.03) * triangle(t, 8, 8)[0],
        "only the peak shrinks",
    ),
    (
        "triangular, ... --shrink-min",
        "multiply(triangular(0.03, 0.3, 8), step_decay(1.0, factor=0.5, every=16))",
        lambda t: 0.5 ** (t // 16) * (0.03 + 0.27 * triangle(t, 8, 8)[0]),
    ),
    (
        "tri_stage, --warmup-steps 10 --hold-steps 40 --decay-steps 50 --init-lr-scale 0.01 --final-lr-scale 0.01",
        "warmup(exponential_decay(0.3, 50, 0.01, transition_begin=40, end_value=0.003), 10, init_value=0.003)",
        lambda t: warm(t, 0.3 * 0.01 ** min(max(t - 50, 0) / 50, 1), 0.003),
    ),
    (
        "polynomial_decay, --warmup-updates 10 --total-num-update 100 --end-learning-rate 0.003 --power 2",
        "warmup(polynomial_decay(0.3, 0.003, 2.0, 90), 10)",
        lambda t: warm(t, 0.003 + 0.297 * line((t - 10) / 90, 1, 0) ** 2),
    ),
]
COMPOSER = [
    ("StepScheduler('30ba', gamma=0.1)", "step_decay(0.3, factor=0.1, every=30)", lambda t: 0.3 * 0.1 ** (t // 30)),
    ("ExponentialScheduler(0.5, '10ba')", "exponential_decay(0.3, 10, 0.5)", lambda t: 0.3 * 0.5 ** (t / 10)),
    (
        "LinearWithWarmupScheduler('10ba', t_max='100ba')",
        "warmup(linear_decay(0.3, 0.0, 90), 10)",
        lambda t: warm(t, line((t - 10) / 90, 0.3, 0)),
    ),
    (
        "CosineAnnealingWithWarmupScheduler('10ba', t_max='100ba', alpha_f=0.1)",
        "warmup_cosine(0.3, warmup_steps=10, total_steps=100, end_value=0.03)",
        lambda t: warm(t, mix(half((t - 10) / 90))),
    ),
    (
        "MultiStepWithWarmupScheduler('10ba', ['30ba', '60ba'])",
        'join([linear_decay(0.0, 0.3, 10), piecewise_constant([0.3, 0.03, 0.003], [30, 60])], [10], clock="absolute")',
        lambda t: warm(t, 0.3 * 0.1 ** ((t >= 30) + (t >= 60))),
        "milestones count from the start of training",
    ),
    (
        "PolynomialWithWarmupScheduler(2, '10ba', t_max='100ba')",
        "warmup(polynomial_decay(0.3, 0.0, 2.0, 90), 10)",
        lambda t: warm(t, 0.3 * line((t - 10) / 90, 1, 0) ** 2),
    ),
]
NANOCHAT = [
    (
        "nanochat: --warmup-steps 10 --warmdown-ratio 0.65 --final-lr-frac 0.05",
        'cooldown_from(warmup(constant(0.3), 10, skip_zero=True), 35, 65, end_value=0.015, cooldown="linear")',
        lambda t: 0.03 * (t + 1) if t < 10 else line((t - 35) / 65, 0.3, 0.015),
        "the first update is not at 0",
    ),
    (
        "modded-nanogpt: cooldown_frac=0.4",
        'cooldown_from(constant(0.3), 60, 40, end_value=0.03, cooldown="linear")',
        lambda t: line((t - 60) / 40, 0.3, 0.03),
    ),
]
PAPERS = [
    (
        "REX (Chen et al. 2022), 100 steps",
        'cooldown_from(constant(0.3), 0, 100, cooldown="rex")',
        lambda t: 0.3 * (1 - min(t, 100) / 100) / (0.5 + 0.5 * (1 - min(t, 100) / 100)),
    ),
    (
        "WSD in two stages: at 60 of a training of 100 the base is halved",
        'cooldown_from(join([warmup(constant(0.3), 10), constant(0.15)], [60]), 80, 20, cooldown="sqrt")',
        lambda t: warm(t, 0.3 if t < 60 else 0.15 * (1 - sqrt(min(max(t - 80, 0) / 20, 1)))),
    ),
    (
        "lr by the square root of a batch size of 64, from 40 on of 256",
        "multiply(cosine_decay(0.3, 100), piecewise_constant([1.0, (256 / 64) ** 0.5], [40]))",
        lambda t: 0.3 * half(t / 100) * (1 if t < 40 else 2),
    ),
    (
        "Noam (Vaswani et al. 2017), width 512, warmup 10",
        "inverse_sqrt_decay((512 * 10) ** -0.5, warmup_steps=10, timescale=10)",
        lambda t: 512**-0.5 * min(max(t, 1e-9) ** -0.5, t * 10**-1.5),
    ),
]


LIBRARIES = {
    "PyTorch": PYTORCH,
    "Keras": KERAS,
    "Hugging Face, `get_scheduler`": HF,
    "timm": TIMM,
    "DeepSpeed": DEEPSPEED,
    "Megatron-LM": MEGATRON,
    "NeMo": NEMO,
    "torchtitan": TORCHTITAN,
    "MaxText": MAXTEXT,
    "levanter": LEVANTER,
    "OLMo-core": OLMO,
    "big_vision": BIG_VISION,
    "fairseq": FAIRSEQ,
    "Composer": COMPOSER,
    "nanochat and modded-nanogpt": NANOCHAT,
    "Papers": PAPERS,
}
ROWS = [Row(library, *row) for library, rows in LIBRARIES.items() for row in rows]

MISSING = [
    Missing("timm", "`noise_range_t`, `noise_pct`, `noise_std`", "a rate with noise is no function of the step"),
    Missing(
        "Hugging Face", '`get_scheduler("greedy")`', "steered by the loss, up and down; `reduce_on_plateau` goes down"
    ),
    Missing("PyTorch", "`MultiplicativeLR` without a known length", "a product over all steps before"),
    Missing("PyTorch", "`CosineAnnealingLR` beyond `T_max`", "ours stays at the end instead of rising again"),
    Missing("Composer", "`CosineAnnealingWarmRestarts(t_mult=1.5)`", "its cycles are cut to whole batches one by one"),
    Missing("ignite", "`StateParamScheduler`, `BatchSizeScheduler`", "they change no hyperparameter of an optimizer"),
]

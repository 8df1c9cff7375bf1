"""Our schedules under the names and arguments of Optax's, so that Optax's own tests can run on them."""

import itertools
from types import SimpleNamespace
from typing import Any

import lrjax
from lrjax import schedules


def _steps_and_values(
    init_value: float, boundaries_and_scales: dict[int, float] | None
) -> tuple[list[int], list[float]]:
    """Optax's scales multiply up; ours are the values themselves."""
    pairs = sorted((boundaries_and_scales or {}).items())
    return [step for step, _ in pairs], list(
        itertools.accumulate((init_value, *(scale for _, scale in pairs)), lambda x, y: x * y)
    )


def _piecewise_constant(init_value: Any, boundaries_and_scales: Any = None) -> Any:
    steps, values = _steps_and_values(init_value, boundaries_and_scales)
    return schedules.piecewise_constant(values, steps)


def _piecewise_interpolate(interpolate_type: Any, init_value: Any, boundaries_and_scales: Any = None) -> Any:
    steps, values = _steps_and_values(init_value, boundaries_and_scales)
    return schedules.piecewise_interpolate(values, steps, kind=interpolate_type)


def _cosine_decay(init_value: Any, decay_steps: Any, alpha: Any = 0.0, exponent: Any = 1.0) -> Any:
    return schedules.cosine_decay(init_value, decay_steps, end_value=alpha * init_value, exponent=exponent)


def _warmup_cosine(
    init_value: Any, peak_value: Any, warmup_steps: Any, decay_steps: Any, end_value: Any = 0.0, exponent: Any = 1.0
) -> Any:
    decay = schedules.cosine_decay(peak_value, decay_steps - warmup_steps, end_value=end_value, exponent=exponent)
    return schedules.warmup(decay, warmup_steps, init_value=init_value)


def _sgdr(cosine_kwargs: Any) -> Any:
    ends = list(itertools.accumulate(cycle["decay_steps"] for cycle in cosine_kwargs))
    return schedules.join([_warmup_cosine(**cycle) for cycle in cosine_kwargs], ends[:-1])


def _cosine_onecycle(transition_steps: Any, peak_value: Any, **settings: Any) -> Any:
    return schedules.one_cycle(peak_value, total_steps=transition_steps, **settings)


def _linear_onecycle(
    transition_steps: Any,
    peak_value: Any,
    pct_start: Any = 0.3,
    pct_final: Any = 0.85,
    div_factor: Any = 25.0,
    final_div_factor: Any = 1e4,
) -> Any:
    low = peak_value / div_factor
    steps = [int(pct_start * transition_steps), int(pct_final * transition_steps), transition_steps]
    return schedules.piecewise_interpolate([low, peak_value, low, low / final_div_factor], steps)


def _reduce_on_plateau(*, rtol: Any, atol: Any, min_scale: Any, **same: Any) -> Any:
    assert atol == 0
    return lrjax.schedules.reduce_on_plateau(threshold=rtol, min_lr=min_scale, base_lr=1.0, convention="optax", **same)


def _plateau_state(*, best_value: Any, plateau_count: Any, cooldown_count: Any, avg_value: Any, **same: Any) -> Any:
    return lrjax.schedules.PlateauState(
        best=best_value, bad=plateau_count, cooldown=cooldown_count, total=avg_value, **same
    )


SCHEDULE = SimpleNamespace(
    constant_schedule=schedules.constant,
    polynomial_schedule=schedules.polynomial_decay,
    linear_schedule=schedules.linear_decay,
    exponential_decay=schedules.exponential_decay,
    cosine_decay_schedule=_cosine_decay,
    warmup_cosine_decay_schedule=_warmup_cosine,
    sgdr_schedule=_sgdr,
    piecewise_constant_schedule=_piecewise_constant,
    piecewise_interpolate_schedule=_piecewise_interpolate,
    cosine_onecycle_schedule=_cosine_onecycle,
    linear_onecycle_schedule=_linear_onecycle,
)
JOIN = SimpleNamespace(join_schedules=schedules.join)
PLATEAU = SimpleNamespace(reduce_on_plateau=_reduce_on_plateau, ReduceLROnPlateauState=_plateau_state)

MODULES = {
    "optax.schedules._schedule_test": {"_schedule": SCHEDULE},
    "optax.schedules._join_test": {"_join": JOIN, "_schedule": SCHEDULE},
    "optax.contrib._reduce_on_plateau_test": {"_reduce_on_plateau": PLATEAU},
}
"""Optax's test modules, which its package has, and what stands in them for the modules under test."""

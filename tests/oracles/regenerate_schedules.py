"""Write schedules.json: the learning rates and momenta that the peers' own schedules give.

    pip install torch==2.13.0 keras timm transformers optax  # timm needs the torchvision that fits this torch
    python tests/oracles/regenerate_schedules.py  # three minutes on one core; 370 kB

It writes the JSON next to itself: a list of cases, each with our schedule and its arguments, the peer and its version,
the steps, and the peer's values there to ten digits. `tests/test_schedule_oracles.py` reads it.

- PyTorch, transformers: `.step()` again and again on an optimizer with one parameter, read before every step.
- timm: `.step(t)`, then read.
- Keras, Optax: the schedule called with one Python int after another, in float64. Keras rounds its cosines to float32
  all the same: `tolerance_ulp` is 8 there.
- pytorch-lr-finder: its formulas, transcribed here.
- What no peer has: the formula of our docstring, in float64.

Factors that are raised to high powers are float32 numbers (`single`), so that both sides begin with the same one.
Each peer is imported where its cases are made, because pytest imports this file when it looks for doctests.
"""

import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

OUT = Path(__file__).with_name("schedules.json")
SHORT = 120
"""Up to this many steps, all of them are sampled."""
PEERS = {
    "torch": "PyTorch",
    "keras": "Keras",
    "timm": "timm",
    "transformers": "transformers",
    "optax": "Optax",
}
"""The name of each distribution."""

Curve = Callable[[list[int]], list[float]]
Spec = dict[str, Any]


def single(number: float) -> float:
    """The nearest float32 number."""
    return float(np.float32(number))


def ours(schedule: str, /, **arguments: Any) -> Spec:
    """One of our schedules, alone or inside another one."""
    return {"schedule": schedule, "arguments": arguments}


def sample(end: int, *boundaries: int, after: bool = True) -> list[int]:
    """Every step up to `end`, or of a long one about sixty and the neighbours of each boundary; some afterwards."""
    steps = set(range(end + 1)) if end <= SHORT else set(np.linspace(0, end, 61).astype(int).tolist())
    for boundary in (0, end, *boundaries):
        steps |= {boundary - 1, boundary, boundary + 1}
    if after:
        steps |= {end + 2, 2 * end, 5 * end + 3}
    return sorted(step for step in steps if step >= 0 and (after or step <= end))


def case(peer: str, name: str, spec: Spec, steps: list[int], curve: Curve, ulp: int | None = None) -> Spec:
    """One entry of the file; `ulp` if the tolerance is not the usual one."""
    label = f"{PEERS[peer]} {version(peer).split('+')[0]}" if peer in PEERS else peer
    values = [float(f"{value:.10g}") for value in curve(steps)]
    tolerance = {} if ulp is None else {"tolerance_ulp": ulp}
    name = f"{spec['schedule']}-{label.split()[0]}-{name}"
    return {"name": name, "peer": label, **spec, "steps": steps, "values": values, **tolerance}


def each(function: Callable[[int], Any], *, exact: bool = True) -> Curve:
    """The curve of a function of one step, which answers in float64 if `exact`."""

    def value(step: int) -> float:
        found = np.asarray(function(step))
        assert not exact or found.dtype == np.float64, found.dtype
        return float(found)

    return lambda steps: [value(step) for step in steps]


def stepping(lr: float, make: Callable[[Any], Any], *, read: str = "lr", adam: bool = False) -> Curve:
    """The curve of a PyTorch scheduler, which `make` makes for an optimizer."""

    def curve(steps: list[int]) -> list[float]:
        optimizer = make_optimizer(lr, adam=adam)
        scheduler = make(optimizer)
        group = optimizer.param_groups[0]
        seen = []
        for step in range(steps[-1] + 1):
            seen.append(group["betas"][0] if read == "beta1" else group[read])
            if step < steps[-1]:
                optimizer.step()
                scheduler.step()
        return [seen[step] for step in steps]

    return curve


def make_optimizer(lr: float, *, adam: bool = False) -> Any:
    """An optimizer with one parameter and no gradient."""
    import torch

    weights = [torch.nn.Parameter(torch.zeros(1))]
    return torch.optim.Adam(weights, lr) if adam else torch.optim.SGD(weights, lr, momentum=0.9)


def torch_decays() -> Iterator[Spec]:
    """PyTorch's schedulers that fall or rise once."""
    from torch.optim import lr_scheduler as torch

    def make(name: str, spec: Spec, steps: list[int], lr: float, scheduler: Callable, **settings: Any) -> Spec:
        return case("torch", name, spec, steps, stepping(lr, partial(scheduler, **settings)))

    spec = ours("constant", value=0.3)
    yield make("factor_1", spec, sample(20), 0.3, torch.ConstantLR, factor=1.0)
    for lr, start, end, length in (
        (0.1, 1.0, 0.3, 41),
        (1.0, 0.25, 1.0, 47),
        (3e-4, 1.0, 0.01, 97),
        (2, 0.5, 0.1, 999),
    ):
        spec = ours("linear_decay", init_value=lr * start, end_value=lr * end, transition_steps=length)
        settings = {"start_factor": start, "end_factor": end, "total_iters": length}
        yield make(f"{length}", spec, sample(length), lr, torch.LinearLR, **settings)
    for lr, length, power in ((0.1, 41, 2.0), (1.0, 47, 0.5), (3e-3, 97, 0.9), (2.0, 999, 3.0)):
        spec = ours("polynomial_decay", init_value=lr, end_value=0.0, power=power, transition_steps=length)
        yield make(f"{length}", spec, sample(length), lr, torch.PolynomialLR, total_iters=length, power=power)
    for lr, rate in ((0.1, single(0.97)), (1.0, 0.5), (3e-4, single(1.02)), (2.0, single(0.99))):
        spec = ours("exponential_decay", init_value=lr, decay_rate=rate, transition_steps=1)
        yield make(f"{rate:.2f}", spec, sample(97, after=False), lr, torch.ExponentialLR, gamma=rate)
    for lr, factor, every in ((0.1, 0.1, 30), (1.0, 0.5, 41), (0.3, single(0.9), 7), (1.0, 2.0, 47)):
        spec = ours("step_decay", init_value=lr, factor=factor, every=every)
        steps = sample(4 * every, every, 2 * every, 3 * every, after=False)
        yield make(f"{every}", spec, steps, lr, torch.StepLR, step_size=every, gamma=factor)
    for lr, milestones, factor in ((0.1, [30, 60, 90], 0.1), (1.0, [41, 47, 97], 0.5), (2.0, [1, 2, 300], 0.3)):
        values = [lr * factor**index for index in range(len(milestones) + 1)]
        spec = ours("piecewise_constant", values=values, boundaries=milestones, convention="torch")
        steps = sample(milestones[-1] + 5, *milestones)
        name = "-".join(map(str, milestones))
        yield make(name, spec, steps, lr, torch.MultiStepLR, milestones=milestones, gamma=factor)
    spec = ours("piecewise_constant", values=[0.1, 0.3], boundaries=[5], convention="torch")
    yield make("5", spec, sample(12), 0.3, torch.ConstantLR, factor=1 / 3, total_iters=5)
    for lr, length, end in ((0.1, 41, 0.0), (1.0, 47, 0.05), (3e-4, 97, 3e-5), (2.0, 999, 1e-3)):
        # not after the end, where PyTorch's learning rate rises again
        spec = ours("cosine_decay", init_value=lr, decay_steps=length, end_value=end)
        steps = sample(length, after=False)
        yield make(f"{length}", spec, steps, lr, torch.CosineAnnealingLR, T_max=length, eta_min=end)


def torch_sequences() -> Iterator[Spec]:
    """PyTorch's warmups, chains and restarts."""
    from torch.optim import lr_scheduler as torch

    def make(name: str, spec: Spec, steps: list[int], lr: float, scheduler: Callable, **settings: Any) -> Spec:
        return case("torch", name, spec, steps, stepping(lr, partial(scheduler, **settings)))

    def warmed(optimizer: Any, *, warmup_steps: int, start: float, then: Callable) -> Any:
        rise = torch.LinearLR(optimizer, start, 1.0, warmup_steps)
        return torch.SequentialLR(optimizer, [rise, then(optimizer)], [warmup_steps])

    for lr, start, warmup_steps in ((0.1, 0.1, 10), (1.0, 1 / 3, 41), (3e-4, 1e-8, 47)):
        spec = ours("warmup", schedule=ours("constant", value=lr), warmup_steps=warmup_steps, init_value=lr * start)
        then = partial(torch.ConstantLR, factor=1.0)
        yield make(
            f"{warmup_steps}", spec, sample(warmup_steps), lr, warmed, warmup_steps=warmup_steps, start=start, then=then
        )
    decay = ours("exponential_decay", init_value=0.5, decay_rate=0.9375, transition_steps=1)
    spec = ours("warmup", schedule=decay, warmup_steps=7, init_value=0.005)
    then = partial(torch.ExponentialLR, gamma=0.9375)
    yield make("exponential", spec, sample(60, 7), 0.5, warmed, warmup_steps=7, start=0.01, then=then)
    decay = ours("step_decay", init_value=0.5, factor=0.5, every=11)
    spec = ours("warmup", schedule=decay, warmup_steps=13, init_value=0.1)
    then = partial(torch.StepLR, step_size=11, gamma=0.5)
    yield make("stairs", spec, sample(60, 13, 24, 35), 0.5, warmed, warmup_steps=13, start=0.2, then=then)
    for lr, start, warmup_steps, total, end in (
        (0.1, 0.1, 10, 97, 0.0),
        (1.0, 1e-3, 41, 88, 0.05),
        (3e-4, 1e-8, 5, 47, 3e-5),
        (2.0, 0.5, 100, 999, 1e-3),
    ):
        spec = ours(
            "warmup_cosine",
            peak_value=lr,
            warmup_steps=warmup_steps,
            total_steps=total,
            init_value=lr * start,
            end_value=end,
            convention="torch",
        )
        then = partial(torch.CosineAnnealingLR, T_max=total - warmup_steps, eta_min=end)
        steps = sample(total, warmup_steps, after=False)
        yield make(f"{total}", spec, steps, lr, warmed, warmup_steps=warmup_steps, start=start, then=then)

    def in_turn(optimizer: Any) -> Any:
        pieces = [torch.ConstantLR(optimizer, 0.25, 1000), torch.ExponentialLR(optimizer, 0.875)]
        return torch.SequentialLR(optimizer, pieces, [9])

    def at_once(optimizer: Any) -> Any:
        factors = [torch.ConstantLR(optimizer, 0.25, 9), torch.ExponentialLR(optimizer, 0.875)]
        return torch.ChainedScheduler(factors, optimizer)

    decay = ours("exponential_decay", init_value=0.5, decay_rate=0.875, transition_steps=1)
    spec = ours("join", schedules=[ours("constant", value=0.125), decay], boundaries=[9])
    yield make("9", spec, sample(40, 9), 0.5, in_turn)
    stairs = ours("piecewise_constant", values=[0.25, 1.0], boundaries=[9])
    spec = ours("multiply", schedules=[stairs, decay])
    yield make("9", spec, sample(40, 9), 0.5, at_once)
    for lr, first, mult, end, last, restarts in (
        (0.1, 41, 1, 0.0, 100, []),
        (1.0, 10, 2, 0.01, 330, [10, 30, 70, 150, 310]),
        (1.0, 1, 3, 0.0, 1100, [1, 4, 13, 40, 121, 364, 1093]),
        (0.3, 7, 3, 0.05, 290, [7, 28, 91, 280]),
        (3e-4, 13, 2, 1e-5, 120, []),
        (1.0, 1, 1, 0.5, 12, []),
    ):
        spec = ours("cosine_restarts", peak_value=lr, first_cycle_steps=first, cycle_mult=mult, end_value=end)
        settings = {"T_0": first, "T_mult": mult, "eta_min": end}
        steps = sample(last, *restarts, after=False)
        yield make(f"{first}-times_{mult}", spec, steps, lr, torch.CosineAnnealingWarmRestarts, **settings)


def torch_cycles() -> Iterator[Spec]:
    """PyTorch's CyclicLR and its momentum."""
    from torch.optim import lr_scheduler as torch

    gamma = single(0.99)
    for low, high, up, down in ((0.01, 0.1, 4, None), (0.1, 1.0, 7, 13), (0.0, 3e-3, 41, 6), (0.2, 0.3, 97, 47)):
        whole = up + (down or up)
        steps = sample(4 * whole, *(cycle * whole + edge for cycle in range(4) for edge in (0, up)), after=False)
        for mode in ("triangular", "triangular2", "exp_range"):
            spec = ours(mode, base_value=low, peak_value=high, up_steps=up, down_steps=down)
            if mode == "exp_range":
                spec["arguments"]["gamma"] = gamma
            scheduler = partial(torch.CyclicLR, base_lr=low, max_lr=high, mode=mode, gamma=gamma)
            scheduler = partial(scheduler, step_size_up=up, step_size_down=down)
            yield case("torch", f"{up}-{down or up}", spec, steps, stepping(1.0, scheduler))
    for low, high, up, down, adam in ((0.8, 0.9, 4, None, False), (0.85, 0.95, 7, 13, True), (0.0, 0.99, 41, 6, False)):
        spec = ours("triangular_momentum", up_steps=up, max_momentum=high, min_momentum=low, down_steps=down)
        scheduler = partial(torch.CyclicLR, base_lr=0.1, max_lr=1.0, base_momentum=low, max_momentum=high)
        curve = stepping(
            1.0,
            partial(scheduler, step_size_up=up, step_size_down=down),
            read="beta1" if adam else "momentum",
            adam=adam,
        )
        yield case("torch", f"{up}-{down or up}", spec, sample(3 * (up + (down or up)), after=False), curve)


def torch_one_cycles() -> Iterator[Spec]:
    """PyTorch's OneCycleLR and its momentum. Not after the last step N - 1: the lr rises again, then it raises."""
    from torch.optim import lr_scheduler as torch

    strategies = {"cosine": "cos", "linear": "linear"}
    settings = (
        (1.0, 100, 0.3, 25.0, 1e4),
        (0.1, 97, 0.25, 10.0, 1e3),
        (3e-3, 41, 0.4, 25.0, 50.0),
        (2, 999, 0.1, 4, 7),
    )
    for (peak, total, pct, div, final), shape, three in product(settings, strategies, (False, True)):
        shared = {"pct_start": pct, "three_phase": three}
        scheduler = partial(
            torch.OneCycleLR, max_lr=peak, total_steps=total, anneal_strategy=strategies[shape], **shared
        )
        scheduler = partial(scheduler, div_factor=div, final_div_factor=final)
        shared |= {"total_steps": total, "shape": shape, "convention": "torch"}
        steps = sample(total - 1, int(pct * total) - 1, int(2 * pct * total) - 2, after=False)
        name = f"{total}-{shape}-{'three' if three else 'two'}"
        spec = ours("one_cycle", peak_value=peak, div_factor=div, final_div_factor=final, **shared)
        yield case("torch", name, spec, steps, stepping(1.0, scheduler))
        if total in (97, 999):
            momentum = stepping(1.0, scheduler, read="momentum")
            yield case("torch", name, ours("one_cycle_momentum", **shared), steps, momentum)
    shared = {"total_steps": 47, "pct_start": 0.45, "max_momentum": 0.9}
    scheduler = partial(torch.OneCycleLR, max_lr=1.0, base_momentum=0.5, **shared)
    spec = ours("one_cycle_momentum", min_momentum=0.5, convention="torch", **shared)
    yield case("torch", "47-beta1", spec, sample(46, after=False), stepping(1.0, scheduler, read="beta1", adam=True))


def hf_cases() -> Iterator[Spec]:
    """The `get_..._schedule` of transformers. Not after the end of a cosine, where it rises again."""
    from transformers import optimization as hf

    def make(name: str, spec: Spec, steps: list[int], lr: float, get: Callable, *lengths: int, **settings: Any) -> Spec:
        scheduler = lambda optimizer: get(optimizer, *lengths, **settings)  # noqa: E731
        return case("transformers", name, spec, steps, stepping(lr, scheduler))

    def warmed(schedule: Spec, warmup_steps: int) -> Spec:
        return ours("warmup", schedule=schedule, warmup_steps=warmup_steps)

    yield make("0.3", ours("constant", value=0.3), sample(20), 0.3, hf.get_constant_schedule)
    for lr, rise in ((0.1, 10), (3e-4, 47), (1.0, 0)):
        spec = warmed(ours("constant", value=lr), rise)
        yield make(f"{rise}-constant", spec, sample(rise + 5, rise), lr, hf.get_constant_schedule_with_warmup, rise)
    for lr, rise, total in ((0.1, 10, 97), (3e-4, 41, 88), (1.0, 0, 47), (2.0, 100, 999)):
        fall = total - rise
        spec = warmed(ours("linear_decay", init_value=lr, end_value=0.0, transition_steps=fall), rise)
        name = f"{rise}-linear-{total}"
        yield make(name, spec, sample(total, rise), lr, hf.get_linear_schedule_with_warmup, rise, total)
    spec = ours("linear_decay", init_value=0.5, end_value=0.0, transition_steps=97)
    yield make("97", spec, sample(97), 0.5, hf.get_linear_schedule_with_warmup, 0, 97)
    for lr, rise, total, end, power in ((0.1, 10, 97, 1e-7, 1.0), (1.0, 6, 47, 0.05, 2.0), (3e-4, 0, 41, 1e-5, 0.5)):
        spec = ours("polynomial_decay", init_value=lr, end_value=end, power=power, transition_steps=total - rise)
        spec = warmed(spec, rise) if rise else spec
        settings = {"lr_end": end, "power": power}
        get = hf.get_polynomial_decay_schedule_with_warmup
        yield make(f"{rise}-polynomial-{total}", spec, sample(total, rise), lr, get, rise, total, **settings)
    for lr, rise, total, end in ((0.1, 10, 97, 0.0), (3e-4, 41, 88, 3e-5), (1.0, 0, 47, 0.1), (2.0, 100, 999, 1e-3)):
        lengths = {"warmup_steps": rise, "total_steps": total}
        spec = ours("warmup_cosine", peak_value=lr, **lengths)
        steps = sample(total, rise, after=False)
        yield make(f"{rise}-{total}-to_0", spec, steps, lr, hf.get_cosine_schedule_with_warmup, rise, total)
        spec = ours("warmup_cosine", peak_value=lr, end_value=end, **lengths)
        get = hf.get_cosine_with_min_lr_schedule_with_warmup
        yield make(f"{rise}-{total}-to_{end}", spec, steps, lr, get, rise, total, min_lr=end)
        spec = ours("warmup_cosine", peak_value=lr, end_value=end, convention="hf", **lengths)
        get = hf.get_cosine_with_min_lr_schedule_with_warmup_lr_rate
        steps = sample(total - 1, rise, after=False)
        yield make(f"{rise}-{total}-one_ahead", spec, steps, lr, get, rise, total, min_lr=end)
        for rate in (0.0, 0.25):
            spec = ours("warmup_cosine", peak_value=lr, init_value=rate * lr, end_value=end, convention="hf", **lengths)
            settings = {"min_lr": end, "warmup_lr_rate": rate}
            yield make(f"{rise}-{total}-one_ahead-from_{rate}", spec, steps, lr, get, rise, total, **settings)
    for lr, rise, cycles, length in ((0.1, 10, 3, 30), (1.0, 0, 2, 41)):
        spec = warmed(ours("cosine_restarts", peak_value=lr, first_cycle_steps=length), rise)
        total = rise + cycles * length
        steps = sample(total - 1, after=False)
        get = hf.get_cosine_with_hard_restarts_schedule_with_warmup
        yield make(f"{rise}-restarts-{length}", spec, steps, lr, get, rise, total, num_cycles=cycles)
    for lr, rise, timescale in ((0.1, 10, None), (1.0, 41, 7), (3e-4, 0, None), (0.01, 97, 1000)):
        spec = ours("inverse_sqrt_decay", peak_value=lr, warmup_steps=rise, timescale=timescale or rise or 10_000)
        steps = sample(5 * (rise or 97), rise)
        yield make(f"{rise}", spec, steps, lr, hf.get_inverse_sqrt_schedule, rise, timescale=timescale)
    shapes = {"linear": "linear", "cosine": "cosine", "sqrt": "1-sqrt"}
    for (lr, rise, flat, fall, ratio), shape in product(
        ((1.0, 10, 50, 20, 0.1), (3e-4, 7, 13, 41, 0.0), (0.1, 0, 0, 47, 0.01), (2.0, 100, 500, 399, 0.25)), shapes
    ):
        spec = ours(
            "warmup_stable_decay",
            peak_value=lr,
            warmup_steps=rise,
            stable_steps=flat,
            decay_steps=fall,
            end_value=lr * ratio,
            cooldown=shape,
            convention="hf",
        )
        settings = {"num_stable_steps": flat, "decay_type": shapes[shape], "min_lr_ratio": ratio}
        steps = sample(rise + flat + fall, rise, rise + flat)
        yield make(f"{rise}-{flat}-{fall}-{shape}", spec, steps, lr, hf.get_wsd_schedule, rise, fall, **settings)


def timm_cases() -> Iterator[Spec]:
    """timm's schedulers; their warmup is taken with `warmup_prefix=True`."""
    from timm import scheduler as timm

    def make(name: str, spec: Spec, steps: list[int], lr: float, kind: Callable, **settings: Any) -> Spec:
        def curve(steps: list[int]) -> list[float]:
            optimizer = make_optimizer(lr)
            scheduler = kind(optimizer, **settings)
            values = []
            for step in steps:
                scheduler.step(step)
                values.append(optimizer.param_groups[0]["lr"])
            return values

        return case("timm", name, spec, steps, curve)

    settings = ((0.1, 41, 0.0), (1.0, 47, 0.05), (3e-4, 97, 3e-5))
    for lr, length, end in settings:
        spec = ours("cosine_decay", init_value=lr, decay_steps=length, end_value=end)
        yield make(f"{length}", spec, sample(length), lr, timm.CosineLRScheduler, t_initial=length, lr_min=end)
    for (lr, length, end), (lower, upper) in zip(settings, ((-7.0, 3.0), (-6.0, 3.0), (-4.0, 4.0)), strict=True):
        spec = ours("tanh_decay", init_value=lr, decay_steps=length, end_value=end, lower=lower, upper=upper)
        shape = {"lb": lower, "ub": upper}
        yield make(f"{length}", spec, sample(length), lr, timm.TanhLRScheduler, t_initial=length, lr_min=end, **shape)
    for (lr, length, end), k in product(settings, (0.5, 1.5, 3.0)):
        shape = {"t_initial": length, "lr_min": end, "k_decay": k}
        spec = ours("k_decay", init_value=lr, decay_steps=length, k=k, end_value=end)
        yield make(f"{length}-cosine-{k}", spec, sample(length), lr, timm.CosineLRScheduler, **shape)
    for (lr, length, end), k, power in zip(settings, (1.5, 2.0, 0.75), (0.5, 1.0, 3.0), strict=True):
        shape = {"t_initial": length, "lr_min": end, "power": power}
        spec = ours("k_decay", init_value=lr, decay_steps=length, k=k, end_value=end, shape="polynomial", power=power)
        yield make(f"{length}-polynomial-{k}", spec, sample(length), lr, timm.PolyLRScheduler, k_decay=k, **shape)
        spec = ours("polynomial_decay", init_value=lr, end_value=end, power=power, transition_steps=length)
        yield make(f"{length}", spec, sample(length), lr, timm.PolyLRScheduler, **shape)
    for lr, rise, total, start, end in ((0.1, 10, 97, 0.0, 0.0), (1.0, 41, 88, 0.01, 0.1), (3e-4, 5, 46, 1e-6, 1e-5)):
        spec = ours(
            "warmup_cosine", peak_value=lr, warmup_steps=rise, total_steps=total, init_value=start, end_value=end
        )
        shape = {"warmup_t": rise, "warmup_lr_init": start, "warmup_prefix": True, "lr_min": end}
        yield make(f"{total}", spec, sample(total, rise), lr, timm.CosineLRScheduler, t_initial=total - rise, **shape)
    for lr, factor, every, rise in ((0.1, 0.1, 30, 0), (1.0, single(0.9), 7, 0), (0.3, 0.5, 11, 5)):
        spec = ours("step_decay", init_value=lr, factor=factor, every=every)
        spec = ours("warmup", schedule=spec, warmup_steps=rise, init_value=0.01) if rise else spec
        shape = {
            "decay_t": every,
            "decay_rate": factor,
            "warmup_t": rise,
            "warmup_lr_init": 0.01,
            "warmup_prefix": True,
        }
        yield make(f"{every}", spec, sample(4 * every + rise, after=False), lr, timm.StepLRScheduler, **shape)
    # fewer than 121 first cycles: with a factor of 3, timm's logarithm misses that restart
    for lr, first, mult, decay, end in ((0.1, 41, 1, 1.0, 0.0), (1.0, 10, 2, 0.5, 0.01), (3e-3, 7, 3, 0.8, 1e-5)):
        spec = ours(
            "cosine_restarts", peak_value=lr, first_cycle_steps=first, cycle_mult=mult, peak_decay=decay, end_value=end
        )
        shape = {"t_initial": first, "cycle_mul": mult, "cycle_decay": decay, "cycle_limit": 100, "lr_min": end}
        yield make(f"{first}-times_{mult}", spec, sample(119, after=False), lr, timm.CosineLRScheduler, **shape)
    shapes = {"linear": ("linear", 1.0), "cosine": ("cosine", 1.0), "sqrt": ("1-sqrt", 1.0), "square": ("power", 2.0)}
    for (lr, rise, flat, fall, end), shape in product(((1.0, 10, 50, 20, 0.1), (3e-4, 7, 13, 41, 0.0)), shapes):
        lengths = {"warmup_steps": rise, "stable_steps": flat, "decay_steps": fall}
        spec = ours("warmup_stable_decay", peak_value=lr, end_value=end, cooldown=shape, **lengths)
        kind, power = shapes[shape]
        lengths = {"t_initial": flat + fall, "decay_t": fall, "warmup_t": rise}
        how = {"lr_min": end, "decay_fn": kind, "decay_power": power}
        steps = sample(rise + flat + fall, rise, rise + flat)
        yield make(f"{rise}-{flat}-{fall}-{shape}", spec, steps, lr, timm.WSDLRScheduler, **lengths, **how)


def keras_cases() -> Iterator[Spec]:
    """Keras's schedules; all its cosines are computed in float32."""
    os.environ["KERAS_BACKEND"] = "jax"
    from keras import config
    from keras.optimizers import schedules as keras

    config.set_floatx("float64")

    def make(name: str, spec: Spec, steps: list[int], kind: Callable, **settings: Any) -> Spec:
        rounded = "Cosine" in kind.__name__
        return case("keras", name, spec, steps, each(kind(**settings), exact=not rounded), 8 if rounded else None)

    for lr, length, end, power in ((0.1, 41, 0.01, 2.0), (1.0, 47, 0.0, 0.5), (3e-3, 97, 1e-4, 3.0)):
        shape = {"initial_learning_rate": lr, "decay_steps": length, "end_learning_rate": end}
        spec = ours("linear_decay", init_value=lr, end_value=end, transition_steps=length)
        yield make(f"{length}", spec, sample(length), keras.PolynomialDecay, **shape)
        spec = ours("polynomial_decay", init_value=lr, end_value=end, power=power, transition_steps=length)
        yield make(f"{length}", spec, sample(length), keras.PolynomialDecay, power=power, **shape)
    for (lr, length, rate), stairs in product(
        ((0.1, 10, single(0.96)), (1.0, 41, 0.5), (3e-3, 47, 1.25), (2.0, 97, single(0.1))), (False, True)
    ):
        name = f"{length}-stairs" if stairs else f"{length}"
        steps = sample(4 * length, length, 2 * length, 3 * length, after=False)
        shape = {"initial_learning_rate": lr, "decay_steps": length, "decay_rate": rate, "staircase": stairs}
        spec = ours("exponential_decay", init_value=lr, decay_rate=rate, transition_steps=length, staircase=stairs)
        yield make(name, spec, steps, keras.ExponentialDecay, **shape)
        spec = ours("inverse_time_decay", init_value=lr, decay_rate=rate, transition_steps=length, staircase=stairs)
        yield make(name, spec, steps, keras.InverseTimeDecay, **shape)
        if stairs and length == 41:
            spec = ours("step_decay", init_value=lr, factor=rate, every=length)
            yield make(f"{length}", spec, steps, keras.ExponentialDecay, **shape)
    for boundaries, values in (([5, 41], [1.0, 0.5, 0.1]), ([1, 47, 48, 97], [3e-3, 1e-3, 2e-3, 1e-4, 0.0])):
        spec = ours("piecewise_constant", values=values, boundaries=boundaries, convention="keras")
        name = "-".join(map(str, boundaries))
        steps = sample(boundaries[-1] + 5, *boundaries)
        yield make(name, spec, steps, keras.PiecewiseConstantDecay, boundaries=boundaries, values=values)
    for lr, length, alpha in ((0.1, 41, 0.0), (1.0, 47, 0.1), (3e-3, 97, 0.05)):
        spec = ours("cosine_decay", init_value=lr, decay_steps=length, end_value=lr * alpha)
        shape = {"decay_steps": length, "alpha": alpha}
        yield make(f"{length}", spec, sample(length), keras.CosineDecay, initial_learning_rate=lr, **shape)
        spec = ours(
            "warmup_cosine",
            peak_value=lr,
            warmup_steps=9,
            total_steps=9 + length,
            init_value=lr / 8,
            end_value=lr * alpha,
            convention="keras",
        )
        shape |= {"initial_learning_rate": lr / 8, "warmup_target": lr, "warmup_steps": 9}
        yield make(f"{length}", spec, sample(9 + length, 9), keras.CosineDecay, **shape)
    # fewer than 121 first cycles: with a factor of 3, Keras's logarithm misses that restart
    for lr, first, mult, decay, alpha in (
        (0.1, 41, 1, 1.0, 0.0),
        (0.5, 11, 1, 0.75, 0.1),
        (1.0, 10, 2, 0.5, 0.1),
        (0.3, 5, 2, 1.0, 0.01),
        (3e-3, 7, 3, 0.875, 0.05),
    ):
        spec = ours(
            "cosine_restarts",
            peak_value=lr,
            first_cycle_steps=first,
            cycle_mult=mult,
            peak_decay=decay,
            end_value=lr * alpha,
            convention="keras",
        )
        shape = {"first_decay_steps": first, "t_mul": float(mult), "m_mul": decay, "alpha": alpha}
        steps = sample(119, after=False)
        name = f"{first}-times_{mult}"
        yield make(name, spec, steps, keras.CosineDecayRestarts, initial_learning_rate=lr, **shape)


def optax_decays() -> Iterator[Spec]:
    """Optax's schedules from one value to another, or in pieces."""
    import optax

    def make(name: str, spec: Spec, steps: list[int], schedule: Callable) -> Spec:
        return case("optax", name, spec, steps, each(schedule))

    yield make("0.3", ours("constant", value=0.3), sample(5), optax.constant_schedule(0.3))
    for lr, end, length, begin, power in ((0.1, 0.01, 41, 0, 2.0), (0.0, 1.0, 47, 5, 0.5), (3e-3, 1e-4, 97, 20, 3.0)):
        shape = {"init_value": lr, "end_value": end, "transition_steps": length, "transition_begin": begin}
        steps = sample(begin + length, begin)
        yield make(f"{length}", ours("linear_decay", **shape), steps, optax.linear_schedule(**shape))
        shape |= {"power": power}
        yield make(f"{length}", ours("polynomial_decay", **shape), steps, optax.polynomial_schedule(**shape))
    for (lr, length, rate, begin, end), stairs in product(
        ((0.1, 10, single(0.96), 0, None), (1.0, 41, 0.5, 5, 0.1), (3e-3, 47, 1.25, 0, 5e-3), (2.0, 97, 0.5, 1, 0.0)),
        (False, True),
    ):
        shape = {"init_value": lr, "transition_steps": length, "decay_rate": rate, "staircase": stairs}
        shape |= {"transition_begin": begin, "end_value": end}
        steps = sample(begin + 4 * length, begin, *(begin + times * length for times in (1, 2, 3)), after=False)
        name = f"{length}-stairs" if stairs else f"{length}"
        yield make(name, ours("exponential_decay", **shape), steps, optax.exponential_decay(**shape))
    spec = ours("step_decay", init_value=0.1, factor=0.5, every=47)
    schedule = optax.exponential_decay(0.1, 47, 0.5, staircase=True)
    yield make("47", spec, sample(190, 47, 94, 141, 188, after=False), schedule)
    for lr, scales in (
        (0.1, {30: 0.1, 60: 0.1, 90: 0.5}),
        (1.0, {1: 0.5, 41: 0.0}),
        (3e-3, {47: 2.0, 48: 0.25, 97: 0.5}),
    ):
        values = [float(value) for value in np.cumprod([lr, *scales.values()])]
        shape = {"values": values, "boundaries": list(scales)}
        name, steps = "-".join(map(str, scales)), sample(max(scales), *scales)
        yield make(name, ours("piecewise_constant", **shape), steps, optax.piecewise_constant_schedule(lr, scales))
        for kind in ("linear", "cosine"):
            spec = ours("piecewise_interpolate", kind=kind, **shape)
            schedule = optax.piecewise_interpolate_schedule(kind, lr, scales)
            yield make(f"{name}-{kind}", spec, steps, schedule)
    for lr, length, alpha, exponent in ((0.1, 41, 0.0, 1.0), (1.0, 47, 0.1, 2.0), (3e-3, 97, 0.05, 0.5)):
        spec = ours("cosine_decay", init_value=lr, decay_steps=length, end_value=lr * alpha, exponent=exponent)
        yield make(f"{length}", spec, sample(length), optax.cosine_decay_schedule(lr, length, alpha, exponent))


def optax_sequences() -> Iterator[Spec]:
    """Optax's warmups, restarts and 1cycles."""
    import optax

    def make(name: str, spec: Spec, steps: list[int], schedule: Callable) -> Spec:
        return case("optax", name, spec, steps, each(schedule))

    spec = ours("warmup", schedule=ours("constant", value=0.1), warmup_steps=41, init_value=0.02)
    yield make("41", spec, sample(41), optax.warmup_constant_schedule(0.02, 0.1, 41))
    decay = ours("exponential_decay", init_value=0.1, decay_rate=0.75, transition_steps=13, staircase=True)
    spec = ours("warmup", schedule=decay, warmup_steps=7)
    yield make("7", spec, sample(60, 7, 20, 33), optax.warmup_exponential_decay_schedule(0, 0.1, 7, 13, 0.75, 0, True))
    decay = ours("linear_decay", init_value=0.5, end_value=0.1, transition_steps=30)
    spec = ours("join", schedules=[decay, ours("cosine_decay", init_value=1.0, decay_steps=41)], boundaries=[17])
    schedules = [optax.linear_schedule(0.5, 0.1, 30), optax.cosine_decay_schedule(1.0, 41)]
    yield make("17", spec, sample(58, 17), optax.join_schedules(schedules, [17]))
    for lr, rise, total, start, end in ((0.1, 10, 97, 0.0, 0.0), (1.0, 41, 88, 0.01, 0.1), (3e-4, 5, 47, 1e-5, 3e-5)):
        spec = ours(
            "warmup_cosine", peak_value=lr, warmup_steps=rise, total_steps=total, init_value=start, end_value=end
        )
        schedule = optax.warmup_cosine_decay_schedule(start, lr, rise, total, end)
        yield make(f"{total}", spec, sample(total, rise), schedule)
    for lr, first, mult, decay in ((1.0, 10, 2, 1.0), (0.1, 7, 3, 0.5)):
        spec = ours("cosine_restarts", peak_value=lr, first_cycle_steps=first, cycle_mult=mult, peak_decay=decay)
        cycles = [
            {"init_value": 0.0, "peak_value": lr * decay**index, "warmup_steps": 0, "decay_steps": first * mult**index}
            for index in range(4)
        ]
        steps = sample(first * (mult**4 - 1) // (mult - 1) - 1, *(first, first * (1 + mult)), after=False)
        yield make(f"{first}-times_{mult}", spec, steps, optax.sgdr_schedule(cycles))
    for peak, total, pct, div, final in (
        (1.0, 100, 0.3, 25.0, 1e4),
        (0.1, 97, 0.25, 10.0, 1e3),
        (3e-3, 41, 0.4, 4.0, 7.0),
    ):
        shape = {"peak_value": peak, "pct_start": pct, "div_factor": div, "final_div_factor": final}
        schedule = optax.cosine_onecycle_schedule(total, **shape)
        shape |= {"total_steps": total}
        yield make(f"{total}-cosine", ours("one_cycle", **shape), sample(total), schedule)
    # lengths for which int(2 pct N) is 2 int(pct N): there the second phase of ours is as long as the first
    for peak, total, pct, div, final in (
        (1.0, 100, 0.3, 25.0, 1e4),
        (0.1, 97, 0.3, 10.0, 1e3),
        (3e-3, 41, 0.3, 4.0, 7.0),
    ):
        shape = {"peak_value": peak, "pct_start": pct, "div_factor": div, "final_div_factor": final}
        schedule = optax.linear_onecycle_schedule(total, pct_final=2 * pct, **shape)
        shape |= {"total_steps": total, "shape": "linear", "three_phase": True}
        yield make(f"{total}-linear", ours("one_cycle", **shape), sample(total), schedule)
    for shape, total in (("cosine", 100), ("linear", 47)):
        spec = ours("one_cycle_momentum", total_steps=total, shape=shape)
        scales = {int(0.3 * total): 0.85 / 0.95, total: 0.95 / 0.85}
        schedule = optax.piecewise_interpolate_schedule(shape, 0.95, scales)
        yield make(f"{total}-{shape}", spec, sample(total), schedule)


def ramp_cases() -> Iterator[Spec]:
    """pytorch-lr-finder's two ramps, transcribed. It takes no step after the last."""
    for low, high, count in ((1e-7, 10.0, 100), (1e-5, 1.0, 41), (1e-3, 0.3, 2), (1e-6, 0.1, 1000)):
        for mode, formula in (("linear", ramp_linear), ("exponential", ramp_exponential)):
            spec = ours("range_test_ramp", min_lr=low, max_lr=high, num_steps=count, mode=mode)
            curve = each(partial(formula, base_lr=low, end_lr=high, num_iter=count))
            label = "pytorch-lr-finder 0.2.2, transcribed"
            yield case(label, f"{count}-{mode}", spec, sample(count - 1, after=False), curve)


def ramp_linear(last_epoch: int, base_lr: float, end_lr: float, num_iter: int) -> float:
    """`LinearLR.get_lr` of pytorch-lr-finder."""
    r = last_epoch / (num_iter - 1)
    return base_lr + r * (end_lr - base_lr)


def ramp_exponential(last_epoch: int, base_lr: float, end_lr: float, num_iter: int) -> float:
    """`ExponentialLR.get_lr` of pytorch-lr-finder."""
    r = last_epoch / (num_iter - 1)
    return base_lr * (end_lr / base_lr) ** r


def formula_cases() -> Iterator[Spec]:
    """What no peer has, from the formulas of the docstrings."""
    label = "float64 NumPy reference"
    for shape in (
        {"init_value": 1.0, "decay_rate": 0.5, "transition_steps": 100, "cycle_steps": 10},
        {"init_value": 0.1, "decay_rate": single(0.9), "transition_steps": 7, "cycle_steps": 41, "floor_fraction": 0.0},
        {"init_value": 3e-3, "decay_rate": 1.25, "transition_steps": 47, "cycle_steps": 13, "floor_fraction": 0.5},
        {"init_value": 2.0, "decay_rate": single(0.1), "transition_steps": 97, "cycle_steps": 1, "floor_fraction": 1.0},
    ):
        spec = ours("cyclic_exponential_decay", **shape)
        steps = sample(119, after=False)
        yield case(label, f"{shape['cycle_steps']}", spec, steps, each(partial(cyclic_exponential, **shape)))
    for shape in (
        {"max_value": 0.02, "batch_size": 128, "tokens_per_step": 128 * 4096},
        {"max_value": 1.0, "batch_size": 2.5, "tokens_per_step": 41},
        {"max_value": 0.1, "batch_size": 1.0, "tokens_per_step": 1000, "amplitude": 0.5, "exponent": -0.25},
    ):
        spec = ours("power_decay", **shape)
        steps = [*range(0, 99, 3), *(10**digits + more for digits in range(2, 7) for more in (-1, 0, 1))]
        yield case(label, f"{shape['tokens_per_step']}", spec, steps, each(partial(power_of_tokens, **shape)))


def cyclic_exponential(step, init_value, decay_rate, transition_steps, cycle_steps, floor_fraction=0.1) -> np.float64:
    """The docstring of `cyclic_exponential_decay`."""
    wave = 0.5 * (1.0 + np.cos(2.0 * np.pi * step / cycle_steps))
    envelope = init_value * np.float64(decay_rate) ** (step / transition_steps)
    return envelope * (floor_fraction + (1.0 - floor_fraction) * wave)


def power_of_tokens(step, max_value, batch_size, tokens_per_step, amplitude=4.6, exponent=-0.51) -> np.float64:
    """The docstring of `power_decay`."""
    tokens = max(step * tokens_per_step, 1)
    return np.minimum(max_value, batch_size * amplitude * np.float64(tokens) ** exponent)


SOURCES = (
    torch_decays,
    torch_sequences,
    torch_cycles,
    torch_one_cycles,
    hf_cases,
    timm_cases,
    keras_cases,
    optax_decays,
    optax_sequences,
    ramp_cases,
    formula_cases,
)


def main() -> None:
    """Ask every peer and write the file, one case to a line."""
    import jax

    jax.config.update("jax_enable_x64", True)
    lines = [json.dumps(found) for source in SOURCES for found in source()]
    OUT.write_text("[\n" + ",\n".join(lines) + "\n]\n")
    print(f"{len(lines)} cases, {OUT.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()

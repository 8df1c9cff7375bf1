"""What step sampling says of its choice, in sentences."""

import math

from .._curve import REASONS, Outcome, WarningName
from ._lane_curve import MEMORIES
from ._stage import Stage
from ._strategy import Choice, Context

DEFAULT_STEPS = 20
"""Updates of every learning rate in step sampling, at least: the paper's."""


def reason_for(choice: Choice, stages: tuple[Stage, ...], context: Context, *, started: bool) -> tuple[str, ...]:
    """Why step sampling chose what it chose, what it tried, and what it cannot know; see `StepSampling._started`."""
    stage = stages[-1]
    if context.start is not None:
        return _from_checkpoint(choice, stage, context)
    lines = _of_window(choice, stages)
    if stage.found and not started:
        lines.append(
            f"Nothing was learned yet: after {stage.num_steps} updates no learning rate is 5 % below what an untrained "
            "model and a constant predictor reach."
        )
    if context.train_steps is None:
        lines.append(
            f"Not known: how long the training is. {stage.num_steps} updates see its beginning; find_lr with "
            "train_steps searches for all of it."
        )
        memory = context.memory or 0.0
        if choice.lr > 0 and stage.num_steps >= round(MEMORIES * memory) > DEFAULT_STEPS:
            lines.append(
                f"Trials are long, as the optimizer remembers a gradient for {memory:.0f} updates, and the search took "
                f"{stage.spent} updates in all. That may be many trainings: find_lr with train_steps costs half of one "
                "(or 700 updates)."
            )
    if skipped := unjudged(stage, context.baseline_loss):
        lines.append(f"Not judged, as the loss is not positive: {', '.join(skipped)}.")
    return tuple(lines)


def unjudged(stage: Stage, baseline_loss: float | None) -> tuple[WarningName, ...]:
    """The warnings that are shares of a loss, where that loss is not positive."""
    reference = stage.initial if baseline_loss is None else min(stage.initial, baseline_loss)
    return () if reference > 0 or not stage.found else (WarningName.tiny_effect, WarningName.small_progress)


def _of_window(choice: Choice, stages: tuple[Stage, ...]) -> list[str]:
    stage = stages[-1]
    seeds = "one seed" if stage.num_seeds == 1 else f"{stage.num_seeds} seeds"
    tried = f"Tried: {len(stage.log10_lrs)} learning rates {stage.lr_range}, {stage.num_steps} updates each, {seeds}."
    if len(stages) > 1:
        lengths = ", ".join(str(one.num_steps) for one in stages[:-1])
        tried += f" After {lengths} updates learning had not started."
    if not math.isfinite(choice.lr):
        assert choice.outcome is not None
        return [choice.outcome.value, tried]
    low, high = float(stage.window.min_lr), float(stage.window.max_lr)
    lines = [
        f"Learning rate {choice.lr:.2e} ({choice.rule}: {REASONS.get(choice.rule, 'a rule of your own')}).",
        f"Between {low:.1e}, where the validation loss begins to fall, and {high:.1e}, where it is lowest, "
        f"training works; the best trial took the loss from {stage.initial:.4g} to {stage.reached:.4g}.",
        tried,
    ]
    if choice.interval is not None:
        lines.append(f"Seed by seed the pick lies between {choice.interval[0]:.1e} and {choice.interval[1]:.1e}.")
    if len(choice.drift) > 1:
        drift = ", ".join(f"{lr:.1e} after {steps}" for steps, lr in choice.drift.items())
        lines.append(f"The pick by number of updates: {drift}.")
    return lines


def _from_checkpoint(choice: Choice, stage: Stage, context: Context) -> tuple[str, ...]:
    tried = (
        f"Tried: {len(stage.log10_lrs)} learning rates {stage.lr_range}, {stage.num_steps} updates each from step "
        f"{context.start} of {context.train_steps}."
    )
    outcome = choice.outcome
    if outcome is Outcome.nothing_to_gain:
        return (
            f"Nothing to choose: no learning rate lowers the checkpoint's validation loss, {stage.initial:.4g}, by "
            f"2 %; the best trial has {stage.reached:.4g}. This is normal late in a training: of 16 small tasks 8 had "
            "nothing to choose at half of it, 10 at 95 %.",
            tried,
        )
    if not math.isfinite(choice.lr):
        assert outcome is not None
        return (f"{outcome.value} {tried}",)
    share = ", a loss of which no share can be taken, not being positive"
    if stage.initial > 0:
        share = f" ({float(stage.window.effect) / stage.initial:.1%})"
    place = "the smoothed validation loss is lowest there"
    if choice.rule != "smoothed_minimum":
        place = f"{choice.rule}, {REASONS.get(choice.rule, 'a rule of your own')}"
    return (
        f"Learning rate {choice.lr:.2e}: {place}. The best trial took it from the checkpoint's {stage.initial:.4g} to "
        f"{stage.reached:.4g}{share}.",
        f"The loss begins to fall at {float(stage.window.min_lr):.1e}. A window lower than at the start of the "
        "training is normal. Where training goes well, keep to it: a new learning rate helps where the old one is far "
        "off.",
        tried,
    )

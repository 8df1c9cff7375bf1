"""A warning: its name, what was seen and what to do about it."""

import dataclasses
import enum


class WarningName(enum.StrEnum):
    """Every warning that a search can give; the value is its name."""

    nothing_moved = enum.auto()
    no_learning = enum.auto()
    all_diverged = enum.auto()
    no_rung = enum.auto()
    lost = enum.auto()
    not_started = enum.auto()
    unknown_start = enum.auto()
    tiny_effect = enum.auto()
    small_progress = enum.auto()
    no_plateau = enum.auto()
    edge_low = enum.auto()
    edge_high = enum.auto()
    unsettled = enum.auto()
    extrapolated = enum.auto()
    short_horizon = enum.auto()
    flat_basin = enum.auto()
    narrow_window = enum.auto()
    multi_basin = enum.auto()
    noisy = enum.auto()
    stochastic_eval = enum.auto()
    stale_statistics = enum.auto()


REMEDIES = {
    WarningName.no_learning: "Check that the loss can fall: more steps (num_steps), a larger validation set, labels "
    "that match the inputs; or the model is trained already.",
    WarningName.all_diverged: "Look at the loss and the scale of the inputs; lower min_lr.",
    WarningName.tiny_effect: "Use more steps (num_steps={most}), so that the curve shows more than the first moment.",
    WarningName.small_progress: "Use more steps (num_steps={more}); with so little progress the model may "
    "have learned the mean only, and the best lr of a long training lies higher.",
    WarningName.no_plateau: "Lower min_lr: the low end of the window is a guess.",
    WarningName.edge_low: "Lower min_lr: the best lr lies at the lowest one tried.",
    WarningName.edge_high: "Raise max_lr: the loss has not risen again, so max_lr is a lower bound.",
    WarningName.flat_basin: "Any lr of the flat part does; prefer its low end for long trainings.",
    WarningName.narrow_window: "Take care with schedules that go above the chosen lr; consider gradient clipping or "
    "warmup.",
    WarningName.multi_basin: "Look at the picture; more seeds (num_seeds) and validation examples tell a second basin "
    "from noise.",
    WarningName.noisy: "Use more validation examples (256), more seeds (num_seeds=5) or larger batches.",
    WarningName.stochastic_eval: "Give an eval_fn without dropout or sampling.",
    WarningName.stale_statistics: "Evaluate with statistics that fit the model (eval_fn with running statistics "
    "and more steps, or a faster momentum); the curve is measured against the loss at learning rate 0.",
}
"""What to do about a warning that a curve gives; `more` is the steps that are worth trying next, `most` the most."""

NO_LONGER = "Trials can be no longer: a longer training, or more batches, would tell more. Look at the picture."

AT_LENGTH = {
    WarningName.no_learning: "Check that the loss can fall: a larger validation set, labels that match the inputs; or "
    "the model is trained already.",
    WarningName.tiny_effect: NO_LONGER,
    WarningName.small_progress: NO_LONGER,
}
"""The same where trials are as long as they can be."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LRWarning:
    """One doubt about the result.

    Attributes:
      name: which of the `WarningName`s.
      message: what was seen, in a sentence with the numbers.
      remedy: what to do about it.
    """

    name: WarningName
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.name}: {self.message} {self.remedy}"

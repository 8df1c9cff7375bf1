"""`lrjax range-test`."""

import dataclasses
import functools
import math
from typing import Annotated, Literal

from cyclopts import Parameter

from .._search import RangeTest, plot_range_test, range_test
from ..range_rules import _RULES as RULES
from ._errors import UsageError
from ._load import load_key, load_optimizer, load_task, make_folder
from ._options import Count, Number, Range, of
from ._report import Answer, Screen, deliver, only_the_answer, or_what_there_is, picture

STOP = "Stop where the loss has risen by so many times what it had fallen; inf goes on to the end."


@dataclasses.dataclass(frozen=True, kw_only=True)
class RangeTestCommand(Range):
    """The classic range test: train one model while the learning rate rises.

    Prints what the rules of fastai, Lightning, torch-lr-finder and ignite read off it. It confounds the learning rate
    with the step: `lrjax find` does not. Writes range_test.json and range_test.png.
    """

    num_steps: Annotated[Count | None, of(range_test, "num_steps", "--steps")] = None
    mode: Annotated[Literal["exponential", "linear"] | None, of(range_test, "mode", help="How it rises.")] = None
    smoothing: Annotated[Number | None, of(range_test, "smoothing")] = None
    stop_factor: Annotated[Number | None, of(range_test, "stop_factor", help=STOP)] = None
    suggest: Annotated[str, Parameter(metavar="RULE")] = "all"
    """The rule to follow, by its name in the table, or all."""

    def __call__(self) -> int:
        if self.suggest not in ("all", *RULES):
            raise UsageError(f"`--suggest` must be all or one of {', '.join(RULES)}, got {self.suggest!r}.")
        make_optimizer, call = load_optimizer(self.optimizer, self.optimizer_arg)
        make_folder(self.out)
        arguments = self.given("min_lr", "max_lr", "num_steps", "mode", "smoothing", "stop_factor")
        if self.stop_factor == math.inf:
            arguments["stop_factor"] = None
        with only_the_answer(self):
            task, key = load_task(self.task), load_key(self.seed)
            test, interrupted = or_what_there_is(lambda: range_test(task, make_optimizer, key=key, **arguments))
        lrs, refusals = test.suggestions()
        lr = lrs.get("steepest_log" if self.suggest == "all" else self.suggest)
        answer = Answer(
            document={"suggestions": lrs, "refusals": refusals, "steps": len(test.lrs), "stopped": test.stopped},
            show=functools.partial(self._show, test),
            line="" if lr is None else f"{lr:.6g}",
            why="No learning rate was found.",
            optimizer="" if lr is None else call.format(f"{lr:.2e}"),
        )
        writers = {"range_test.json": test.to_json, "range_test.png": picture(lambda: plot_range_test(test))}
        return deliver(answer, self, writers, "The history until then" if interrupted else "")

    def _show(self, test: RangeTest, screen: Screen) -> None:
        lrs, refusals = test.suggestions()
        screen.say(self.title, "bold")
        rows = [(name, f"{lr:.2e}", RULES[name]) for name, lr in lrs.items()]
        rows += [(name, "none", why) for name, why in refusals.items()]
        screen.table(("", "learning rate", ""), [row for row in rows if self.suggest in (row[0], "all")])
        screen.say(f"{len(test.lrs)} of {test.num_steps} steps, {test.lrs[0]:.1e} to {test.lrs[-1]:.1e}.")
        if test.stopped is not None:
            screen.say(test.stopped)
        screen.say("One model sees all of these rates in turn, so they depend on the range. `lrjax find` does not.")

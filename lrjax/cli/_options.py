"""The options of every subcommand: dataclasses that tyro turns into a parser. Imported by `main` only."""

import dataclasses
import os
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional, UseAppendAction, arg

Flag = Annotated[bool, arg(help_behavior_hint="")]

PlacePath = Annotated[
    str,
    tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH",
        instance_from_str=lambda words: os.path.expanduser(words[0]),
        is_instance=lambda value: isinstance(value, str),
        str_from_instance=lambda value: [value],
    ),
]
"""A path, or what begins with one: ~ is the home directory, also where the shell leaves it as it is (--out=~/runs)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
    """What is trained."""

    task: Annotated[
        Positional[PlacePath | None],
        arg(metavar="[MODULE:TASK]", help_behavior_hint="(default: the handwritten digits)"),
    ] = None
    """A module or a .py file, and in it a lrjax.Task or a function without arguments that returns one."""
    optimizer: Annotated[PlacePath, arg(metavar="NAME")] = "adam"
    """Any optimizer of optax or optax.contrib that takes a learning rate, or MODULE:FUNCTION, a function of one that
    returns an optimizer."""
    optimizer_arg: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="KEY=VALUE")] = ()
    """A further argument of the optimizer, for example weight_decay=0.1."""
    seed: Annotated[int, arg(metavar="N")] = 0
    """Seed of the PRNG key: the same one gives the same answer."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem(Model):
    """Which learning rates are tried."""

    min_lr: Annotated[float | None, arg(metavar="LR", help_behavior_hint="(default: 1e-7)")] = None
    """Lowest learning rate, > 0."""
    max_lr: Annotated[float | None, arg(metavar="LR", help_behavior_hint="(default: 10)")] = None
    """Highest learning rate."""

    def limits(self) -> dict[str, Any]:
        """The ends that were given."""
        ends = {"min_lr": self.min_lr, "max_lr": self.max_lr}
        return {name: lr for name, lr in ends.items() if lr is not None}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Output:
    """What is printed and written."""

    out: Annotated[PlacePath, arg(metavar="FOLDER")] = "lrjax-out"
    """Folder for the files, made if there is none."""
    plot: Flag = True
    """Draw no pictures."""
    json: Flag = False
    """Print the result as JSON, and nothing else, on standard output."""
    quiet: Flag = False
    """Print the answer alone, in one line."""
    debug: Flag = False
    """Show the traceback of an error."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Search(Problem):
    """How it is searched."""

    steps: Annotated[int, arg(metavar="N")] = 20
    """Optimizer updates at every learning rate."""
    seeds: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: 3, or as many as the data allow)")] = (
        None
    )
    """Draws of initial parameters and batches."""
    rule: Literal["midpoint", "half_loss", "steepest", "lowest_loss"] = "midpoint"
    """Which method chooses."""
    refine: Literal["fill", "paper", "none"] = "fill"
    """What follows the first grid: quarter decades around the window, the paper's midpoints, or nothing."""
    extend_range: Flag = True
    """Keep to the range, even if it is too short; an end that is given is always kept."""
    horizons: Annotated[str, arg(metavar="N,N,...", help_behavior_hint="(default: none)")] = ""
    """Further numbers of updates after which to read the curve, to see how the best learning rate moves."""
    literal: Flag = False
    """The paper's finite differences instead of the smoothed curve."""
    executor: Annotated[str, arg(metavar="auto|vmap|map|loop|chunked:K")] = "auto"
    """How the copies run: side by side, one after another, in chunks of K, or by what suits the device."""
    dry_run: Flag = False
    """Predict the cost of the search, and do not run it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Find(Output, Search):
    """Find a good learning rate by step sampling.

    Trains one copy of the model for a few steps at every learning rate of a grid, all from the same parameters on the
    same batches, and reads the validation losses as a curve: where it begins to fall, where it is lowest, and the
    learning rate between them. Writes lr_finder.json, lr_finder.png and lr_curvature.png.

      lrjax find my_model.py:task --optimizer adamw --optimizer-arg weight_decay=0.1

    Ctrl-C keeps what the finished rounds tell.

    Exit status: 0 a learning rate was found, 1 none was, 2 wrong use, 130 interrupted.
    """


@dataclasses.dataclass(frozen=True, kw_only=True)
class Course(Problem):
    """How long, and at what cost."""

    train_steps: Annotated[int, arg(metavar="N")]
    """Optimizer updates of the training that the learning rate is for."""
    budget: Annotated[float, arg(metavar="B")] = 2.0
    """Cost of the search as a multiple of that training's; 0 is `lrjax find`."""
    schedule: Literal[
        "constant", "recommended", "one-cycle", "warmup-cosine", "warmup-stable-decay", "cosine", "linear"
    ] = "constant"
    """The schedule that the peak is computed for; recommended takes the one that suits the result."""
    seeds: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: by the budget, 1 to 4)")] = None
    """Draws of initial parameters and batches, after the sweep."""
    executor: Annotated[str, arg(metavar="auto|vmap|map|loop|chunked:K")] = "auto"
    """How the copies run: side by side, one after another, in chunks of K, or by what suits the device."""
    directory: Annotated[PlacePath | None, arg(metavar="FOLDER", help_behavior_hint="(default: none)")] = None
    """Folder for checkpoints: the same command goes on where it was interrupted."""
    dry_run: Flag = False
    """Predict course, time and memory of the search, and do not run it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Budgeted(Output, Course):
    """Find a learning rate for a training of known length, at a cost of so many trainings.

    A coarse sweep, then rungs of a few learning rates around the minimum, each four times as long, up to a quarter of
    the training. Prints the course before, and what was spent after. Writes lr_search.json and lr_search.png.

      lrjax search my_model.py:task --train-steps 10000 --schedule one-cycle

    With --directory, the same command goes on after Ctrl-C; without, Ctrl-C keeps what the finished rungs tell.

    Exit status: 0 a learning rate was found, 1 none was, 2 wrong use, 130 interrupted.
    """


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ramp(Problem):
    """How the learning rate rises."""

    steps: Annotated[int, arg(metavar="N")] = 100
    """Optimizer updates of the ramp."""
    mode: Literal["exponential", "linear"] = "exponential"
    """How the learning rate rises."""
    smoothing: Annotated[float, arg(metavar="WEIGHT")] = 0.98
    """Weight of the past in the moving average, from 0 to below 1."""
    stop_factor: Annotated[float, arg(metavar="FACTOR")] = 4.0
    """Stop where the loss has risen by so many times what it had fallen; inf goes on to the end."""
    suggest: Annotated[str, arg(metavar="RULE")] = "all"
    """The rule to follow, by its name in the table, or all."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RangeTest(Output, Ramp):
    """The classic range test: train one model while the learning rate rises.

    Prints what the rules of fastai, Lightning, torch-lr-finder and ignite read off it. It confounds the learning rate
    with the step: `lrjax find` does not. Writes range_test.json and range_test.png.

    Exit status: 0 a rule gave a learning rate, 1 none did, 2 wrong use, 130 interrupted.
    """


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grid(Model):
    """Which settings, and for how long."""

    grid: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="NAME=VALUES", help_behavior_hint="")] = ()
    """Values of one argument of the optimizer."""
    zip: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="NAME=VALUES", help_behavior_hint="")] = ()
    """The same, but all that are given so change together."""
    steps: Annotated[int, arg(metavar="N")] = 1000
    """Optimizer updates of every trial."""
    seeds: Annotated[int, arg(metavar="N")] = 1
    """Draws of initial parameters and batches."""
    eval_every: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: a tenth of the steps)")] = None
    """Optimizer updates between evaluations."""
    metric: Annotated[str, arg(metavar="NAME")] = "loss"
    """The metric by which the best trial is chosen, and pruned."""
    mode: Annotated[Literal["min", "max"] | None, arg(help_behavior_hint="(needed unless the metric is loss)")] = None
    """Which values of the metric are good: min, as of a loss, or max, as of accuracy."""
    stop: Annotated[str, arg(metavar="none|diverged|halving:FIRST[:FACTOR]")] = "diverged"
    """Which trials end early: none, those that diverged, or by successive halving all but the best."""
    executor: Annotated[str, arg(metavar="auto|vmap|map|loop|chunked:K")] = "auto"
    """How the copies run: side by side, one after another, in chunks of K, or by what suits the device."""
    directory: Annotated[PlacePath | None, arg(metavar="FOLDER", help_behavior_hint="(default: none)")] = None
    """Folder for checkpoints: the same command goes on where it was interrupted."""
    distributed: Flag = False
    """Call jax.distributed.initialize() first: the same command runs on every host."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep(Output, Grid):
    """Train the model to the end with every setting of a grid, many settings at once.

    Values are written as a list, 0,0.01,0.1, or as a range with a number of points: 1e-5:1:25log, evenly spaced in
    log10, or 0:1:5, evenly spaced. Several --grid make a product; all --zip change together. Writes sweep.json,
    sweep.csv (one row for each trial, seed and evaluation), sweep.png and sweep_curves.png.

      lrjax sweep my_model.py:task --optimizer adamw \\
          --grid learning_rate=1e-5:1e-1:17log --grid weight_decay=0,0.1

    With --directory, the same command goes on after Ctrl-C; without, Ctrl-C keeps what was measured.

    Exit status: 0 a best setting was found, 1 none was, 2 wrong use, 130 interrupted.
    """


@dataclasses.dataclass(frozen=True, kw_only=True)
class Look:
    """What is looked at."""

    words: Annotated[
        Positional[tuple[PlacePath, ...]], arg(metavar="[plot NAME [KEY=VALUE ...]]", help_behavior_hint="")
    ] = ()
    """Nothing, or plot, a schedule's name and its arguments."""
    steps: Annotated[str | None, arg(metavar="N", help_behavior_hint="(default: total_steps, or from its lengths)")] = (
        None
    )
    """Optimizer updates to look at."""
    log: Flag = False
    """Draw the learning rate on a logarithmic axis."""
    batch_size: Annotated[int | None, arg(metavar="N", help_behavior_hint="")] = None
    """Examples in a batch, for durations."""
    dataset_size: Annotated[int | None, arg(metavar="N", help_behavior_hint="")] = None
    """Examples in the dataset, for epochs."""
    sequence_length: Annotated[int | None, arg(metavar="N", help_behavior_hint="")] = None
    """Tokens in an example, for tokens."""
    accumulation_steps: Annotated[int, arg(metavar="N")] = 1
    """Batches in an optimizer update."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedules(Output, Look):
    """List the learning-rate schedules, or draw and describe one.

    Without a word, lists them with their arguments. `plot` draws one, describes its phases, and says what is probably
    wrong with it. NAME may be the path of a JSON file that lrjax.schedules.to_spec wrote. A schedule inside another is
    written as JSON. Numbers of steps may be durations: "3 epochs", 10%, "1e9 tokens".

      lrjax schedules plot warmup_cosine peak_value=0.1 warmup_steps=5% \\
          total_steps="90 epochs" --batch-size 128 --dataset-size 50000

    Exit status: 0 done, 2 wrong use.
    """


@dataclasses.dataclass(frozen=True, kw_only=True)
class Page:
    """What is served."""

    file: Annotated[Positional[PlacePath | None], arg(metavar="[FILE]", help_behavior_hint="(default: none)")] = None
    """A lr_finder.json, or a schedule's spec as JSON."""
    host: Annotated[str, arg(metavar="ADDRESS")] = "127.0.0.1"
    """Address to listen at. With another one, other machines can use the page, without a password."""
    name: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="NAME")] = ()
    """A further host name under which browsers reach the page, as through a proxy."""
    port: Annotated[int, arg(metavar="N")] = 8571
    """Port to listen at; 0 takes any that is free."""
    browser: Flag = True
    """Open no browser."""
    debug: Flag = False
    """Show the traceback of an error."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Explore(Page):
    """Open the explorer in the browser: schedules with sliders, and the finder.

    Everything runs on this machine; the page asks nothing of any other, and needs no extra package.

      lrjax explore                            begin with three schedules
      lrjax explore lrjax-out/lr_finder.json   begin with what lrjax find wrote

    Exit status: 0 after Ctrl-C, 2 wrong use.
    """


Options = Find | Budgeted | RangeTest | Sweep | Schedules | Explore

Command = (
    Annotated[Find, tyro.conf.subcommand("find")]
    | Annotated[Budgeted, tyro.conf.subcommand("search")]
    | Annotated[RangeTest, tyro.conf.subcommand("range-test")]
    | Annotated[Sweep, tyro.conf.subcommand("sweep")]
    | Annotated[Schedules, tyro.conf.subcommand("schedules")]
    | Annotated[Explore, tyro.conf.subcommand("explore")]
)

EXAMPLES = """\
lrjax find                                      the shipped digits, with adam
lrjax find my_model.py:task --optimizer adamw   your own model
lrjax find my_model.py:task --dry-run           what that would cost
lrjax search my_model.py:task --train-steps 10000 --schedule one-cycle
                                                ends with the line to paste
lrjax sweep my_model.py:task --grid learning_rate=1e-5:1e-1:17log
                                                train to the end with each
lrjax range-test my_model.py:task               the classic test, to compare
lrjax schedules plot one_cycle peak_value=0.1 total_steps=1000
                                                a picture and its phases
lrjax explore                                   sliders, in the browser
"""

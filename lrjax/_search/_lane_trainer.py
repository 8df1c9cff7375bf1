"""The trainer of a search: lanes in the sweep's programs, carried on from rung to rung."""

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import optax

from .._engine import BatchLog, Choice, Execution, Executor, num_shards, out_of_memory
from .._progress import Reporter
from .._types import Float
from ._search_setup import Setup
from ._track import NOTHING, Carried, Pair, Track


class LaneTrainer:
    """Trains lanes and carries them on; see `Trainer`.

    New lanes are first brought to where the others are, then all go on together: a lane's numbers are those of a
    training without a break.

    Args:
      setup: what is trained.
      shapes: (seeds, lanes) of the programs; a call uses the first that is wide enough.
      longest: updates of a lane, at most.
      reporter: who is told.
      executor: how lanes run; None: as the setup says.
    """

    def __init__(
        self,
        setup: Setup,
        shapes: Sequence[tuple[int, int]],
        longest: int,
        reporter: Reporter,
        *,
        executor: Executor | None = None,
    ):
        self.setup, self.carried, self.log = setup, NOTHING, BatchLog()
        asked, reason = setup.loop or Choice(setup.executor, "")
        self.executor: Executor = asked if executor is None else executor
        self._shapes, self._longest, self._reporter = tuple(shapes), longest, reporter
        self._sweep_execution = Execution(requested=str(setup.executor), reason=reason)
        self._padded_updates = 0
        self._tracks: dict[tuple[int, int], Track] = {}
        self._observer: LaneTrainer | None = None
        self._initial: dict[tuple[int, int], Any] = {}

    def train(self, exponents: Sequence[float], num_seeds: int, num_steps: int) -> Float[np.ndarray, "seeds trials"]:
        """Bring every lane to `num_steps` updates, and evaluate it there."""
        wanted = [(seed, x) for seed in range(num_seeds) for x in exponents]
        start = self.carried if num_steps > self.carried.step else NOTHING
        new = [pair for pair in wanted if pair not in start.lanes]
        known = len(wanted) - len(new)
        start = start if known else NOTHING
        updates = len(new) * num_steps + known * (num_steps - start.step)
        self._reporter.stage(f"{len(exponents)} learning rates to step {num_steps}", updates)
        track = self.track(num_seeds, len(exponents))
        if known and new:
            level, _ = self._run(track, new, NOTHING, start.step, evaluate=False)
            start = start._replace(lanes=start.lanes | level.lanes)
        after, losses = self._run(track, wanted, start, num_steps, evaluate=True)
        if num_steps == self.carried.step:
            after = after._replace(lanes=self.carried.lanes | after.lanes)
        self.carried = after
        return np.asarray([[losses[seed, x] for x in exponents] for seed in range(num_seeds)])

    def initial_loss(self, num_seeds: int, num_steps: int) -> Float[np.ndarray, " seeds"]:
        """Of the untouched parameters; for a stateful task after `num_steps` steps that move the model state alone.

        Raises:
          ValueError: it is not finite.
        """
        if not self.setup.spec.has_state:
            return self.setup.untouched_loss[:num_seeds]
        if (num_seeds, num_steps) not in self._initial:
            self._initial[num_seeds, num_steps] = self._observe(num_seeds, num_steps)
        return self._initial[num_seeds, num_steps]

    def track(self, num_seeds: int, lanes: int) -> Track:
        """The program for so many lanes of so many seeds."""
        fitting = [shape for shape in self._shapes if shape[0] >= num_seeds and shape[1] >= lanes]
        if self.executor in ("map", "loop"):  # they take no longer in a program that is too wide
            fitting.sort(key=lambda shape: shape not in self._tracks)
        if fitting[0] not in self._tracks:
            track = Track(self.setup, self.executor, *fitting[0], self._longest, self._sweep_execution, self.log)
            self._tracks[fitting[0]], self.executor = track, track.executor
        return self._tracks[fitting[0]]

    def note(self, *notes: str) -> None:
        """Report something."""
        self._sweep_execution.notes.extend(notes)

    @property
    def execution(self) -> Execution:
        """How lanes were run until now."""
        told = self._sweep_execution
        return Execution(
            requested=told.requested,
            used=str(self.executor),
            reason=told.reason,
            devices=1 if self.executor == "loop" else num_shards(self.setup.mesh),
            notes=list(told.notes),
            bytes=told.bytes,
            compile_seconds=told.compile_seconds,
            run_seconds=told.run_seconds,
            padded_updates=self._padded_updates,
        )

    def _run(
        self, track: Track, pairs: list[Pair], start: Carried, stop: int, *, evaluate: bool
    ) -> tuple[Carried, dict[Pair, float]]:
        """Train some lanes from the start to a step, as many at a time as the program holds."""
        lanes, losses, position = {}, {}, None
        while left := [pair for pair in pairs if pair not in lanes]:
            try:
                crew = track.begin(left, start)
                position = track.advance(crew, start, stop, self._reporter.advance)
                read = self._evaluate(crew.losses) if evaluate else {}
            except (jax.errors.JaxRuntimeError, MemoryError) as error:
                if not out_of_memory(error) or not track.narrow():
                    raise
                continue
            lanes, losses = lanes | crew.states(), losses | read
            filling = 0 if self.executor in ("map", "loop") else track.engine.num_seeds * track.width - len(crew.where)
            self._padded_updates += filling * (stop - start.step)
        return Carried(stop, position, lanes), losses

    def _evaluate(self, read: Any) -> dict[Pair, float]:
        started, compiled = time.perf_counter(), self._sweep_execution.compile_seconds
        losses = read()
        compiling = self._sweep_execution.compile_seconds - compiled
        self._sweep_execution.run_seconds += time.perf_counter() - started - compiling
        return losses

    def _observe(self, num_seeds: int, num_steps: int) -> Float[np.ndarray, " seeds"]:
        """The loss after steps at learning rate 0, by lanes whose optimizer does nothing."""
        if self._observer is None:
            spec = dataclasses.replace(self.setup.spec, make_optimizer=_no_updates, eval_params=None)
            setup = dataclasses.replace(self.setup, spec=spec)
            shapes = ((len(setup.seeds), 1),)
            self._observer = LaneTrainer(setup, shapes, self._longest, Reporter(None), executor=self.executor)
        losses = self._observer.train([0.0], num_seeds, num_steps)[:, 0]
        if not np.isfinite(losses).all():
            seed = int(np.flatnonzero(~np.isfinite(losses))[0])
            raise ValueError(
                f"The validation loss after {num_steps} steps at learning rate 0 must be finite, got {losses[seed]} "
                f"for seed {seed}: the model state that loss_fn returns goes bad by itself."
            )
        return losses


def _no_updates(lr: Any) -> optax.GradientTransformation:
    return optax.set_to_zero()

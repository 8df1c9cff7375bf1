"""The running of a sweep: segments between rungs, the waves of each, and the blocks of steps of each wave."""

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from .._engine import Cadence, Lanes, ReadAhead, agree_on_least, assign_lanes, make_lanes, out_of_memory, strict
from .._failure import interruptible
from .._progress import Reporter
from ._ledger import Wave
from ._result import SweepResult
from ._resume import Start, find_start
from ._sweep_setup import Setup


class SweepRun:
    """One run of a sweep, from where its folder left off."""

    def __init__(self, setup: Setup, reporter: Reporter, checkpoint_seconds: float):
        self.setup, self.reporter = setup, reporter
        self.engine, self.execution, self.store = setup.engine, setup.execution, setup.store
        self.ledger = setup.new_ledger()
        self._cadence = Cadence(checkpoint_seconds)

    def run(self) -> SweepResult:
        """Run what is left, and return everything."""
        advice = "`.result` holds what was measured until then."
        if self.store is not None:
            advice += f" The same call with directory={self.store.directory!r} goes on."
        with interruptible("sweep", lambda: (self._result(interrupted=True), advice)):
            if self.engine.several_hosts and jax.process_index() != 0:
                self.reporter.mute()
            self.reporter.set(train_steps=self.setup.train_steps)
            self.reporter.stage("compiling")
            self.setup.decide()
            while not self._try():
                pass
        if self.store is not None:
            self.store.finish()
        return self._result()

    def _try(self) -> bool:
        """Run the segments; False if memory ran out, and it has to begin again."""
        start = find_start(self.setup)
        self.ledger, self.waiting = start.ledger, start.waiting
        self._count_planned(start)
        self.execution.waves = len(self.ledger.waves(0, self.engine))
        live: Lanes | None = None
        for segment in range(start.segment, len(self.setup.timetable.rungs)):
            try:
                live = self._run_segment(segment, start if segment == start.segment else None, live)
            except _TooWide as wide:
                self.setup.narrow(wide.family, wide.__cause__)
                return False
        return True

    def _run_segment(self, segment: int, start: Start | None, live: Lanes | None) -> Lanes | None:
        """Run the waves up to a rung; the lanes of the only one go on from there."""
        waves = self.ledger.waves(segment, self.engine)
        last = segment == len(self.setup.timetable.rungs) - 1
        for number in range(start.wave if start else 0, len(waves)):
            begun = start if start is not None and number == start.wave else None
            running = self._begin(segment, number, waves, begun, live)
            live = None
            self.reporter.set(stage=_stage(segment, len(self.setup.timetable.rungs), number, len(waves)))
            self._run_wave(running)
            if last:
                continue
            if len(waves) == 1:
                live = running.lanes
            else:
                self.waiting.put(segment, number, running.lanes)
        if segment > 0:
            self.waiting.forget(segment - 1)
        return live

    def _begin(
        self, segment: int, number: int, waves: Sequence[Wave], start: Start | None, live: Lanes | None
    ) -> "_Running":
        """A wave's lanes: loaded, carried over from the segment before, gathered from what waited, or new."""
        engine, wave, seeds = self.engine, waves[number], self.setup.num_seeds
        family = self.setup.grid.families[wave.family]
        step = since = self.setup.timetable.span(segment)[0]
        position = self.ledger.positions.get(step)
        with self._failing(wave):
            if start is not None and start.meta is not None:
                lanes = make_lanes(engine, family.settings, np.asarray(start.meta["rows"]), start.state)
                step, since, position = start.step, start.meta["since"], start.meta["position"]
            elif live is not None and len(waves) == 1:
                lanes, survive = live, np.zeros((seeds, len(family.trials)), bool)
                survive[:, wave.members] = True
                lanes.keep(survive)
            else:
                rows = assign_lanes(np.tile(wave.members, (seeds, 1)), wave.width, engine.shards)
                state = self.waiting.get(segment - 1, wave, rows, self.ledger) if segment else None
                self.execution.widths.append(wave.width)
                lanes = make_lanes(engine, family.settings, rows, state)
        return _Running(segment, number, wave, lanes, step, since, position)

    def _run_wave(self, running: "_Running") -> None:
        """Train a wave to the end of its segment."""
        several, lanes, first = self.engine.several_hosts, running.lanes, running.step
        source, length = self.setup.source, self.engine.block
        boundaries = [step for step in self.setup.timetable.boundaries(running.segment) if step > first]
        source.seek(first, running.position if first else None)
        self.execution.width = max(self.execution.width, lanes.rows.shape[1])
        with ReadAhead(source, self.engine.place_batches, first, boundaries, length, even=several) as reader:
            for boundary in boundaries:
                while running.step < boundary:
                    reader.pace(self._train_block(reader, running, running.step == first))
                    if not several and running.step < boundary:  # other hosts must make the same calls
                        self._save(running)
                self.execution.steps_per_call = max(self.execution.steps_per_call, reader.steps_at_once)
                self._evaluate(running, boundary == boundaries[0])
                if not (lanes.rows >= 0).any():
                    return
                self._save(running)

    def _train_block(self, reader: ReadAhead, running: "_Running", first: bool) -> float:
        """Train on the next block; the seconds that a step takes."""
        started, compiled = time.perf_counter(), self.execution.compile_seconds
        block = reader()
        read = time.perf_counter()
        with self._failing(running.wave if first else None):
            running.lanes.advance(block)
            running.lanes.wait()
        ended, compiling = time.perf_counter(), self.execution.compile_seconds - compiled
        self.execution.stall_seconds += read - started
        self.execution.run_seconds += ended - started - compiling
        running.step, running.position = block.start + block.count, block.position
        lanes = int((running.lanes.rows >= 0).sum())
        self.execution.updates += lanes * block.count
        self.reporter.set(step=running.step, lanes=lanes, bytes=self.execution.bytes)
        self.reporter.advance(lanes * block.count)
        return (ended - read - compiling) / block.count

    def _evaluate(self, running: "_Running", first: bool) -> None:
        """Measure a wave's lanes, write that down, and stop those that are to be stopped."""
        started, compiled = time.perf_counter(), self.execution.compile_seconds
        with self._failing(running.wave if first else None):
            metrics, diverged = running.lanes.evaluate()
        metrics["train_loss"] = metrics["train_loss"].astype(np.float64) / (running.step - running.since)
        trials = self.setup.grid.families[running.wave.family].trials
        held = [np.sort(row[row >= 0]) for row in running.lanes.rows]
        event = {
            "plan": self.setup.plan,
            **running.place(),
            "trials": [trials[index].tolist() for index in held],
            "diverged_at": [diverged[seed, index].tolist() for seed, index in enumerate(held)],
            "metrics": {
                name: [strict(values[seed, index].astype(np.float64)) for seed, index in enumerate(held)]
                for name, values in metrics.items()
            },
            "over": False,
        }
        if self.setup.stop is not None:
            event["over"] = all(x >= 0 for part in event["diverged_at"] for x in part)
        self.ledger.record(event)
        if self.store is not None:
            self.store.append([event])
        if self.setup.stop is not None:
            running.lanes.keep(self.ledger.alive(running.wave.family))
        running.since = running.step
        compiling = self.execution.compile_seconds - compiled
        self.execution.run_seconds += time.perf_counter() - started - compiling
        self.reporter.set(step=running.step)
        if not self.reporter.silent:
            self.reporter.advance(0, rows=self._rows(event), metrics=list(event["metrics"]))

    @contextlib.contextmanager
    def _failing(self, wave: Wave | None) -> Iterator[None]:
        """Say what it means when the runtime fails; `wave` may be run again with narrower programs."""
        try:
            yield
        except (jax.errors.JaxRuntimeError, MemoryError) as error:
            if wave is not None and out_of_memory(error):
                raise _TooWide(wave.family) from error
            if self.engine.several_hosts:
                lines = str(error).strip().splitlines() or [type(error).__name__]
                raise RuntimeError(
                    "The sweep lost contact with another process: it ended, was killed, or cannot be reached. Start "
                    "all processes again with the same call; with a directory they go on from the last checkpoint. "
                    f"The runtime said: {lines[0]}"
                ) from error
            raise

    def _rows(self, event: Mapping[str, Any]) -> list[dict[str, Any]]:
        """An evaluation as the rows of the result's table."""
        return [
            {"trial": trial}
            | {name: column[trial].item() for name, column in self.setup.grid.columns.items()}
            | {"seed": seed, "step": event["step"]}
            | {name: float(values[seed][place]) for name, values in event["metrics"].items()}
            for seed, trials in enumerate(event["trials"])
            for place, trial in enumerate(trials)
        ]

    def _count_planned(self, start: Start) -> None:
        """Tell the reporter what there is to do, as far as is known: a rung keeps about one in `factor`."""
        planned, trials, timetable = 0, self.setup.grid.num_trials, self.setup.timetable
        for segment in range(len(timetable.rungs)):
            if segment <= start.segment:
                trials = int(self.ledger.survivors(segment).sum())
            else:
                trials = -(-trials // getattr(self.setup.stop, "factor", 1))
            begin, end = timetable.span(segment)
            planned += trials * self.setup.num_seeds * (end - begin)
        self.reporter.set(planned=planned, updates=int(self.ledger.last_steps().sum()))

    def _save(self, running: "_Running") -> None:
        """Write a checkpoint if it is time."""
        store = self.store
        if store is None:
            return
        due = self._cadence.due() and not store.busy
        if self.engine.several_hosts:
            mine = 0.0 if due and jax.process_index() == 0 else 1.0
            due = agree_on_least(mine, self.engine.mesh) == 0.0
        if not due:
            return
        started = time.perf_counter()
        meta = {"plan": self.setup.plan, **running.place(), "since": running.since}
        store.save("checkpoint", meta | {"rows": running.lanes.rows.tolist()}, running.lanes.state())
        cost = time.perf_counter() - started
        self.execution.checkpoints += 1
        self.execution.checkpoint_seconds += cost
        self._cadence.done(cost)

    def _result(self, *, interrupted: bool = False) -> SweepResult:
        ledger, setup = self.ledger, self.setup
        last = ledger.last_steps()
        whole = setup.grid.num_trials * setup.num_seeds * setup.train_steps
        saved = 0 if interrupted else whole - int(last.sum())
        return SweepResult(
            names=tuple(axis.names for axis in setup.grid.axes),
            shape=tuple(axis.length for axis in setup.grid.axes),
            columns=setup.grid.columns,
            specs=setup.grid.specs,
            steps=np.asarray(setup.timetable.evaluations),
            metrics=ledger.metrics,
            diverged_at=ledger.diverged_at,
            stopped_at=np.where(last < setup.train_steps, last, -1),
            train_steps=setup.train_steps,
            execution=dataclasses.replace(self.execution, updates_saved=saved),
        )


@dataclasses.dataclass
class _Running:
    """A wave that is being trained."""

    segment: int
    number: int
    wave: Wave
    lanes: Lanes
    step: int  # updates that its lanes have done
    since: int  # the step of the last evaluation, or of the segment's beginning
    position: dict[str, Any] | None  # of the reader of the batches; None where it cannot go back to a place

    def place(self) -> dict[str, Any]:
        """Where it is, for the folder."""
        return {"segment": self.segment, "wave": self.number, "step": self.step, "position": self.position}


class _TooWide(Exception):
    """A program of this family ran out of memory before it did anything."""

    def __init__(self, family: int):
        self.family = family


def _stage(segment: int, segments: int, wave: int, waves: int) -> str:
    words = ["training"]
    if segments > 1:
        words.append(f"rung {segment + 1}/{segments}")
    if waves > 1:
        words.append(f"wave {wave + 1}/{waves}")
    return ", ".join(words)

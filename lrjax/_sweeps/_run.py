"""The running of a sweep: wave after wave, and the blocks of steps of each."""

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Sequence

import jax
import numpy as np

from .._engine import (
    ReadAhead,
    agree_on_least,
    assign_lanes,
    halved,
    halved_note,
    lanes_that_fit,
    make_lanes,
    out_of_memory,
    resolve,
    running,
    train_block,
    unread_note,
)
from .._failure import interruptible
from .._progress import Reporter
from ._result import SweepResult
from ._sweep_state import Sweep, Wave


class SweepRun:
    """One run of a sweep, from where its folder left off."""

    def __init__(self, sweep: Sweep, reporter: Reporter, checkpoint_seconds: float):
        self.sweep, self.reporter = sweep, reporter
        self.engine, self.execution = sweep.engine, sweep.engine.execution
        self._checkpoint_seconds, self._saved_at, self._save_cost = checkpoint_seconds, time.monotonic(), 0.0

    def run(self) -> SweepResult:
        """Run what is left, and return everything."""
        sweep, advice = self.sweep, "`.result` holds what was measured until then."
        if sweep.store is not None:
            advice += f" The same call with directory={sweep.store.directory!r} goes on."
        with interruptible("sweep", lambda: (self._result(interrupted=True), advice)):
            if self.engine.several_hosts and jax.process_index() != 0:
                self.reporter.mute()
            self.reporter.set(train_steps=sweep.train_steps)
            self.reporter.stage("compiling")
            self._decide()
            self._look_back()
            self._look_ahead()
            while (place := sweep.next_wave()) is not None:
                try:
                    self._run_wave(*place)
                except _TooWide as wide:
                    self._narrow(wide.family, wide.__cause__)
        if sweep.store is not None:
            sweep.store.finish()
        return self._result()

    def _decide(self) -> None:
        """Settle the executor, and how many lanes of each family run at once: as in the folder if that says so."""
        engine, families, lanes = self.engine, self.sweep.grid.families, self.sweep.to_train
        lanes_per_wave = self.sweep.lanes_per_wave
        resolve(engine, families[0].settings, lanes[0])
        engine.settle('sweep(executor="loop")')
        engine.fit_chunk(max(lanes))
        self.execution.used = str(engine.executor)
        if not lanes_per_wave:
            pairs = zip(families, lanes, strict=True)
            lanes_per_wave = [lanes_that_fit(engine, family.example, n) for family, n in pairs]
        self._settle(lanes_per_wave)

    def _narrow(self, family: int, cause: BaseException | None) -> None:
        """Half the lanes of a family, after memory ran out: the sweep begins anew."""
        sweep, engine, lanes_per_wave = self.sweep, self.engine, list(self.sweep.lanes_per_wave)
        before = engine.width_for(lanes_per_wave[family])
        half = halved(before, engine.unit)
        if half is None or engine.several_hosts:
            raise MemoryError(
                f"The sweep ran out of memory with {before} lanes and executor {engine.executor}: {cause} Use smaller "
                "batches, jax.checkpoint in the model, or a machine with more memory."
            )
        self.execution.notes.append(halved_note(before, half))
        lanes_per_wave[family] = half
        sweep.begin_anew()
        self._settle(lanes_per_wave)
        self._save(now=True)

    def _settle(self, lanes_per_wave: list[int]) -> None:
        sweep = self.sweep
        waves = max(-(-count // n) for count, n in zip(sweep.to_train, lanes_per_wave, strict=True))
        groups = waves * len(sweep.grid.families)
        if not sweep.source.resumes and groups > 1:
            raise ValueError(
                "`sweep(task=...)` reads its batches from an iterator, or from a loader that may give others when "
                f"it is read again, but the trials run in {groups} groups, one after the other, because of memory or "
                "of schedules of different kinds. Give a list or a function of the epoch: "
                "train_batches=lambda epoch: loader."
            )
        sweep.lanes_per_wave = lanes_per_wave
        self.execution.waves = len(sweep.waves(0))

    def _begin(self, segment: int, number: int, waves: Sequence[Wave]) -> None:
        """A wave's lanes: loaded, carried over from the segment before, gathered from what was held, or new."""
        sweep, wave = self.sweep, waves[number]
        family, loaded = sweep.grid.families[wave.family], sweep.loaded
        with self._failing(wave):
            if loaded is not None:
                sweep.lanes = make_lanes(self.engine, family.settings, loaded.rows, loaded.state)
            if sweep.lanes is not None:
                go_on = np.zeros((sweep.num_seeds, len(family.trials)), bool)
                go_on[:, wave.members] = True
                sweep.lanes.keep(go_on)
            else:
                rows = assign_lanes(np.tile(wave.members, (sweep.num_seeds, 1)), wave.width, self.engine.shards)
                state = sweep.gather(wave.family, rows) if segment else None
                self.execution.widths.append(wave.width)
                sweep.lanes = make_lanes(self.engine, family.settings, rows, state)
                sweep.step = sweep.since = sweep.timetable.span(segment)[0]
                sweep.position = sweep.positions.get(sweep.step)
        sweep.family, sweep.loaded = wave.family, None
        if number + 1 == len(waves):  # nobody asks for the lanes of the segment before any more
            del sweep.held[: len(sweep.held) - (number if self._has_rung(segment) else 0)]

    def _has_rung(self, segment: int) -> bool:
        """Whether trials are compared at the end of a segment."""
        return segment + 1 < len(self.sweep.timetable.rungs)

    def _run_wave(self, segment: int, number: int, waves: list[Wave]) -> None:
        """Train a wave to the end of its segment."""
        sweep, several = self.sweep, self.engine.several_hosts
        self._begin(segment, number, waves)
        lanes, first = sweep.lanes, sweep.step
        assert lanes is not None
        rung = f", rung {segment + 1}/{len(sweep.timetable.rungs)}" if len(sweep.timetable.rungs) > 1 else ""
        part = f", wave {number + 1}/{len(waves)}" if len(waves) > 1 else ""
        self.reporter.set(stage=f"training{rung}{part}")
        boundaries = [step for step in sweep.timetable.boundaries(segment) if step > first]
        sweep.source.seek(first, sweep.position if first else None)
        self.execution.width = max(self.execution.width, lanes.rows.shape[1])
        place, length = self.engine.place_batches, self.engine.block
        with ReadAhead(sweep.source, place, first, boundaries, length, even=several) as reader:
            for boundary in boundaries:
                while sweep.step < boundary:
                    self._train_block(reader, waves[number], sweep.step == first)
                    if not several and sweep.step < boundary:  # other hosts must make the same calls
                        self._save()
                self._evaluate(waves[number], boundary == boundaries[0])
                if not (lanes.rows >= 0).any():
                    break
                if boundary != boundaries[-1]:
                    self._save()
        if self._has_rung(segment) and len(waves) == 1 and (lanes.rows >= 0).any():
            self._save()  # its lanes go on
            return
        if self._has_rung(segment):
            sweep.hold()
        sweep.lanes = None
        self._save(now=True)

    def _train_block(self, reader: ReadAhead, wave: Wave, first: bool) -> None:
        """Train on the next block."""
        sweep, lanes = self.sweep, self.sweep.lanes
        assert lanes is not None
        started = time.perf_counter()
        block = reader()
        stalled = time.perf_counter() - started
        with self._failing(wave if first else None):
            reader.pace(block, lambda block: train_block(lanes, block, self.execution))
        self.execution.stall_seconds += stalled
        self.execution.run_seconds += stalled
        sweep.step, sweep.position = block.start + block.count, block.position
        count, done = int((lanes.rows >= 0).sum()), int(sweep.updates(sweep.step))
        updates = count * (done - int(sweep.updates(block.start)))
        self.execution.updates += updates
        self.execution.steps_per_call = max(self.execution.steps_per_call, block.count)
        self.reporter.set(step=done, lanes=count, bytes=self.execution.bytes)
        self.reporter.advance(updates)

    def _evaluate(self, wave: Wave, first: bool) -> None:
        """Measure the lanes that run, take note of it, and stop those that are to be stopped."""
        sweep, lanes = self.sweep, self.sweep.lanes
        assert lanes is not None
        with self._failing(wave if first else None), running(self.execution):
            metrics, diverged = lanes.evaluate()
        metrics = {name: values.astype(np.float64) for name, values in metrics.items()}
        metrics["train_loss"] /= sweep.step - sweep.since
        sweep.record(metrics, diverged)
        measured = np.argwhere(lanes.rows >= 0)
        pairs = sorted((seed, lanes.rows[seed, row]) for seed, row in measured.tolist())
        if sweep.stop is not None:
            lanes.keep(sweep.measured.diverged_at[sweep.grid.families[wave.family].trials].T < 0)
        sweep.since, step = sweep.step, int(sweep.updates(sweep.step))
        self.reporter.set(step=step)
        if not self.reporter.silent:
            trials, columns = sweep.grid.families[wave.family].trials, sweep.grid.columns
            rows = [
                {"trial": int(trials[index])}
                | {name: column[trials[index]].item() for name, column in columns.items()}
                | {"seed": seed, "step": step}
                | {name: float(values[seed, index]) for name, values in metrics.items()}
                for seed, index in pairs
            ]
            self.reporter.advance(0, rows=rows, metrics=list(metrics))

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

    def _look_back(self) -> None:
        """Compare the batches with those that the folder's lanes were trained on; raises `ValueError`."""
        sweep = self.sweep
        until = sweep.step if sweep.next_wave() is not None else max(sweep.positions, default=0)
        read = sweep.source.read_again(until)
        if read < until:
            self.execution.notes.append(unread_note(read, until))

    def _look_ahead(self) -> None:
        """Tell the reporter what there is to do, as far as is known: a rung keeps about one in `factor`."""
        sweep, planned, trials, place = self.sweep, 0, self.sweep.grid.num_trials, self.sweep.next_wave()
        known = len(sweep.timetable.rungs) - 1 if place is None else place[0]
        if place is not None and (sweep.loaded or sweep.measured.count[~sweep.measured.given].any()):
            self.execution.resumed_at = int(
                sweep.updates(sweep.step if sweep.loaded else sweep.timetable.span(known)[0])
            )
        for segment in range(len(sweep.timetable.rungs)):
            if segment <= known:
                trials = int(sweep.survivors(segment).sum())
            else:
                trials = -(-trials // getattr(sweep.stop, "factor", 1))
            begin, end = map(sweep.updates, sweep.timetable.span(segment))
            planned += trials * sweep.num_seeds * (end - begin)
        self.reporter.set(planned=int(planned), updates=int(sweep.last_updates.sum()))

    def _save(self, *, now: bool = False) -> None:
        """Write a checkpoint if it is time."""
        store = self.sweep.store
        if store is None:
            return
        due = now or (self._is_due() and not store.busy)
        if self.engine.several_hosts and not now:
            mine = 0.0 if due and jax.process_index() == 0 else 1.0
            due = agree_on_least(mine, self.engine.mesh) == 0.0
        if not due:
            return
        started = time.monotonic()
        self.sweep.save()
        self._saved_at = time.monotonic()
        self._save_cost = self._saved_at - started
        self.execution.checkpoints += 1
        self.execution.checkpoint_seconds += self._save_cost

    def _is_due(self) -> bool:
        """Whether it is time: every so many seconds, and so that it costs less than 5 %."""
        return time.monotonic() - self._saved_at >= max(self._checkpoint_seconds, 25 * self._save_cost)

    def _result(self, *, interrupted: bool = False) -> SweepResult:
        sweep, measured, last = self.sweep, self.sweep.measured, self.sweep.last_updates
        saved = 0 if interrupted else last.size * sweep.train_steps - int(last.sum())
        return SweepResult(
            names=tuple(map(tuple, sweep.grid.axes)),
            shape=sweep.grid.shape,
            columns=sweep.grid.columns,
            specs=sweep.grid.specs,
            steps=sweep.updates(np.asarray(sweep.timetable.evaluations)),
            metrics=measured.metrics if measured.count.any() else {},
            diverged_at=sweep.updates(measured.diverged_at),
            stopped_at=np.where(last < sweep.train_steps, last, -1),
            train_steps=sweep.train_steps,
            execution=dataclasses.replace(self.execution, updates_saved=saved),
        )


class _TooWide(Exception):
    """A program of this family ran out of memory before it did anything."""

    def __init__(self, family: int):
        self.family = family

"""Results as strict JSON, written after every part, so that a run that was stopped goes on from there."""

import dataclasses
import json
import math
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import lrjax


class Store:
    """One file of results: what the run is, and for every plan its settings and its finished parts.

    Args:
      path: the file; read if it exists.
      about: what the run is: experiment, scale, machine, versions. Renewed by each run that makes a part.

    Raises:
      ValueError: the file is no JSON.
    """

    def __init__(self, path: Path, about: Mapping[str, Any]):
        self.path = path
        before: dict[str, Any] = {}
        if path.exists():
            try:
                before = json.loads(path.read_text())
            except ValueError as error:
                raise ValueError(
                    f"`--out {path}` must be a file of results, but: {error}. Begin with --fresh."
                ) from None
        self._about = encode(about)
        self.results = {**self._about, **before}
        self.results["plans"] = before.get("plans", {})

    def begin(self, plan: str, config: Mapping[str, Any]) -> None:
        """Open a plan.

        Raises:
          ValueError: the file has parts of it that were made with other settings.
        """
        config = encode(config)
        there = self.results["plans"].setdefault(plan, {"config": config, "parts": {}})
        changed = sorted(name for name in {*there["config"], *config} if there["config"].get(name) != config.get(name))
        if changed and there["parts"]:
            before, now = there["config"].get(changed[0]), config.get(changed[0])
            raise ValueError(
                f"`--out {self.path}` holds {plan} with other settings: {changed[0]} was {before!r}, now {now!r}. "
                "Give another file with --out, or begin anew with --fresh."
            )
        there["config"] = config

    def part(self, plan: str, part: str, make: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """A part of a plan: as it is in the file, else made and written."""
        parts = self.results["plans"][plan]["parts"]
        if part not in parts:
            parts[part] = encode(make())
            self.results |= self._about
            self.write()
        return parts[part]

    def summarise(self, plan: str, summary: Mapping[str, Any]) -> None:
        """Put the plan's summary, which follows from its parts, into the file."""
        self.results["plans"][plan]["summary"] = encode(summary)
        self.write()

    def write(self) -> None:
        """The whole file, or nothing of it."""
        text = json.dumps(self.results, indent=1, allow_nan=False)
        text = re.sub(r"\[\n\s+([^\[\]{}]*?)\n\s*\]", lambda match: f"[{_in_one_line(match[1])}]", text)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_name(f".{self.path.name}.draft")
        draft.write_text(text + "\n")
        os.replace(draft, self.path)


def _in_one_line(items: str) -> str:
    return re.sub(r"\n\s*", " ", items)


def encode(value: Any) -> Any:
    """Plain lists, mappings and numbers; numbers that are not finite are "inf", "-inf" and "nan"."""
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(item) for item in value]
    if hasattr(value, "tolist"):
        return encode(np.asarray(value).tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    return str(value) if isinstance(value, Path) else value


def to_document(result: lrjax.LRResult | lrjax.RangeTest) -> dict[str, Any]:
    """What the result's `to_json` writes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result.json"
        result.to_json(path)
        return json.loads(path.read_text())


def from_document(kind: type, document: Mapping[str, Any]) -> Any:
    """The `lrjax.LRResult` or `lrjax.RangeTest` again, for the figures."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result.json"
        path.write_text(json.dumps(_of_today(document)))
        return kind.from_json(path)


def _of_today(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document of a result; a search that was kept as `LRFinderResult` becomes one with one stage."""
    if document.get("format") != "lrjax.LRFinderResult":
        return dict(document)
    kept = ("version", "lr", "interval", "outcome", "rule", "selections", "warnings", "fingerprint")
    curve, before = document["curve"], document["execution"]
    how = dataclasses.asdict(lrjax.Execution(requested=before["requested"]))
    return {name: document[name] for name in kept} | {
        "format": "lrjax.LRResult",
        "strategy": "StepSampling",
        "stages": [
            {
                "name": "step sampling",
                "log10_lrs": {"dtype": "float64", "data": np.log10(curve["lrs"]["data"]).tolist()},
                "curve": curve,
                "window": document["window"],
                "rounds": [f"round {number + 1}" for number in range(max(curve["rounds"]["data"]) + 1)],
                "spent": document["num_updates"],
                "nothing_moved": None,
            }
        ],
        "stage": 0,
        "drift": document["horizon_lrs"],
        "correction": 0.0,
        "reason": [],
        "train_steps": None,
        "start": None,
        "metric": "loss",
        "mode": "min",
        "cost": {"updates": document["num_updates"], "trainings": None, "seconds": document["seconds"]},
        "execution": how | {name: before[name] for name in how if name in before},
    }

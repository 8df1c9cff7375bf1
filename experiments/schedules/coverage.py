"""How many of the schedules of other libraries are ours, to 1e-6 of the peak: each row of `peers.py` at every step.

    python experiments/schedules/coverage.py            # a minute: prints the counts, writes the JSON
    python experiments/schedules/coverage.py --write    # and the tables in docs/coming_from.md and docs/comparison.md

The frozen values of `tests/oracles/schedules.json`, which the libraries themselves gave, are counted too.

Writes experiments/results/schedules_coverage.json.

Expected: every row equal.
"""

import argparse
import itertools
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from experiments.schedules.peers import MISSING, ROWS, Row  # noqa: E402
from lrjax import schedules  # noqa: E402

OUT = ROOT / "experiments/results/schedules_coverage.json"
ORACLES = ROOT / "tests/oracles/schedules.json"
TOLERANCE = 1e-6
"""Of the peak: what float32 leaves of a few operations."""

MARKS = "<!-- {} by experiments/schedules/coverage.py -->"


def make(line: str) -> Any:
    """The schedule of a line of ours."""
    return eval(line, {**vars(schedules), "np": np})  # the lines stand in peers.py


def error(row: Row) -> float:
    """The largest difference from the formula, as a part of the peak."""
    steps = np.arange(row.steps + 1)
    theirs = np.array([row.formula(int(step)) for step in steps])
    return float(np.abs(np.asarray(make(row.ours)(steps), np.float64) - theirs).max() / np.abs(theirs).max())


def is_composed(row: Row) -> bool:
    """Whether our line has more than one schedule."""
    return sum(word in vars(schedules) for word in re.findall(r"(\w+)\(", row.ours)) > 1


def frozen_error(case: dict[str, Any]) -> float:
    """The same of a frozen case."""
    theirs = np.array(case["values"])
    ours = schedules.from_spec(spec(case))(np.array(case["steps"]))
    return float(np.abs(np.asarray(ours, np.float64) - theirs).max() / np.abs(theirs).max())


def spec(case: dict[str, Any]) -> dict[str, Any]:
    """A case as `from_spec` reads it."""
    inside = {
        key: [spec(one) if isinstance(one, dict) else one for one in value]
        if isinstance(value, list)
        else spec(value)
        if isinstance(value, dict)
        else value
        for key, value in case["arguments"].items()
    }
    return {"name": case["schedule"], **inside}


def table() -> str:
    """The rows, library by library."""
    lines = []
    for library, of_library in itertools.groupby(ROWS, lambda row: row.library):
        lines += [f"### {library}", "", "| there | here |", "|---|---|"]
        for (_, _, note), rows in itertools.groupby(of_library, _alike):
            theirs, ours = zip(*((pieces(row.theirs), pieces(row.ours)) for row in rows), strict=True)
            lines.append(f"| `{together(theirs)}` | `{together(ours)}`{note and '<br>'}{note} |")
        lines.append("")
    return "\n".join(lines)


def _alike(row: Row) -> tuple[int, str, str]:
    """Neighbours that agree in this differ in a few words, and stand in one line of the table."""
    return len(pieces(row.theirs)), re.sub(r'"[a-z]+"|[\d.]+', "", row.ours), row.note


def pieces(line: str) -> list[str]:
    """Words, and what stands between them."""
    return re.findall(r"[\w.-]+|[^\w.-]", line)


def together(lines: Sequence[list[str]]) -> str:
    """Lines as one: `{a, b, c}` stands where they differ."""
    columns = zip(*lines, strict=True)
    return "".join(column[0] if len(set(column)) == 1 else f"{{{', '.join(column)}}}" for column in columns)


def missing() -> str:
    """What has no row."""
    lines = ["| library | what | why it is not here |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {one.library} | {one.theirs} | {one.why} |" for one in MISSING), ""])


PAGES = {"coming_from.md": table, "comparison.md": missing}


def page(name: str) -> tuple[str, str]:
    """A page as it is, and as it should be."""
    text = (ROOT / "docs" / name).read_text()
    begin, end = MARKS.format("made"), MARKS.format("end of what is made")
    before, rest = text.split(begin)
    return text, f"{before}{begin}\n\n{PAGES[name]()}\n{end}{rest.split(end)[1]}"


def count() -> dict[str, dict[str, Any]]:
    """By library: rows, how many are equal, how many of them composed, and the largest difference."""
    found: dict[str, dict[str, Any]] = {}
    named = [(row.library, error(row), is_composed(row)) for row in ROWS]
    named += [
        (f"{case['peer'].split(',')[0]}, frozen values", frozen_error(case), isinstance(case, list))
        for case in json.loads(ORACLES.read_text())
        if case["peer"][0].isalpha() and not case["peer"].startswith("float64")
    ]
    for library, off, composed in named:
        one = found.setdefault(library, {"rows": 0, "equal": 0, "composed": 0, "largest": 0.0})
        one["rows"], one["equal"] = one["rows"] + 1, one["equal"] + (off <= TOLERANCE)
        one["composed"], one["largest"] = one["composed"] + composed, max(one["largest"], float(f"{off:.2g}"))
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true", help="write the tables of the pages")
    if parser.parse_args().write:
        for name in PAGES:
            (ROOT / "docs" / name).write_text(page(name)[1])
    found = count()
    OUT.write_text(json.dumps({"libraries": found, "missing": len(MISSING)}, indent=1) + "\n")
    for library, one in found.items():
        counts = f"{one['equal']:4} of {one['rows']:4} equal, {one['composed']:3} composed"
        print(f"{library:40} {counts}, {one['largest']:.1e}")
    rows, equal = (sum(one[key] for one in found.values()) for key in ("rows", "equal"))
    print(f"all: {equal} of {rows} equal to {TOLERANCE:g} of the peak; {len(MISSING)} missing")


if __name__ == "__main__":
    main()

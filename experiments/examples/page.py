"""What docs/programs.md shows of the programs: `python -m experiments.examples.page` writes its table and lines."""

import ast
import functools
import json
import math
import re
from collections.abc import Callable

from experiments.blocks import fill, markdown_table
from experiments.examples.grid import PROGRAMS, RESULTS, ROOT

PAGE = ROOT / "docs" / "programs.md"
SHOWN = (*PROGRAMS, "black_box")
HEADS = ("program", "lines", "lr found", "cost in trainings", "best of the grid", "lost")


def marked(name: str) -> list[int]:
    """The numbers (from 0) of the lines of a program that are lrjax's: of the statements that `# lrjax` begins."""
    source = (ROOT / "examples" / f"{name}.py").read_text()
    lines, numbers = source.splitlines(), []
    for statement in ast.parse(source).body:
        if "# lrjax" in lines[statement.lineno - 1]:
            numbers += range(statement.lineno - 1, statement.end_lineno or statement.lineno)
    return numbers


def shown(name: str) -> str:
    """The lines of lrjax in a program, as the page shows them."""
    lines = (ROOT / "examples" / f"{name}.py").read_text().splitlines()
    text = "\n".join(
        re.sub(r"  # lrjax(: |$)", lambda end: end[1] and "  # ", lines[number]) for number in marked(name)
    )
    return f"```py\n{text}\n```"


def table() -> str:
    """A row for each program that was run."""
    rows = []
    for name, row in json.loads(RESULTS.read_text()).items():
        ends = row["best_lr"] in (1e-4, 1e-1)
        rows.append(
            (
                f"[{name}](../examples/{name}.py)",
                str(len(marked(name))),
                f"{row['lr']:.1e}" + (" (warned)" if row["warnings"] else ""),
                f"{row['trainings']:.1f}",
                f"{row['best_lr']:.1e}" + (", its end" if ends else ""),
                f"{100 * row['lost']:.1f} %" if math.isfinite(row["loss"]) else "all",
            )
        )
    return markdown_table(HEADS, rows)


def blocks() -> dict[str, Callable[[], str]]:
    """Name of a block of the page -> what stands in it."""
    return {"table": table, **{name: functools.partial(shown, name) for name in SHOWN}}


if __name__ == "__main__":
    PAGE.write_text(fill(PAGE.read_text(), blocks()))

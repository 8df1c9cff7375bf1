"""What every figure's script does: read the results, draw, and write a PNG, a PDF and the numbers."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from paper_figures.results import FOLDER, Results, ResultsError, to_plain
from paper_figures.style import SETTINGS

OUT = Path(__file__).resolve().parent / "images"
DPI = 300


def run(
    name: str,
    about: str | None,
    compute: Callable[[Results], Mapping[str, Any]],
    draw: Callable[[Results], Figure],
    arguments: list[str] | None = None,
) -> None:
    """A figure's command line.

    Args:
      name: of the files.
      about: the script's docstring.
      compute: the results -> the numbers drawn.
      draw: the results -> the figure.
      arguments: of the command line; None takes the process's own.

    Raises:
      SystemExit: the results are missing or damaged; with the message.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=FOLDER, help="folder of the results")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the pictures")
    options = parser.parse_args(arguments)
    try:
        write(name, compute, draw, Results(options.results), options.out)
    except ResultsError as error:
        sys.exit(str(error))
    print(f"Written: {options.out / name}.png, .pdf and .json", file=sys.stderr)


def write(
    name: str,
    compute: Callable[[Results], Mapping[str, Any]],
    draw: Callable[[Results], Figure],
    results: Results,
    out: Path,
) -> Figure:
    """The three files of a figure, and the figure. The same results and versions give the same bytes: no date."""
    text = numbers_text(compute, results)
    with rc_context(SETTINGS):
        figure = draw(results)
        out.mkdir(parents=True, exist_ok=True)
        figure.savefig(out / f"{name}.png", dpi=DPI, metadata={"Software": None})
        unsigned = dict.fromkeys(("CreationDate", "Creator", "Producer"))
        figure.savefig(out / f"{name}.pdf", metadata=unsigned)
    (out / f"{name}.json").write_text(text)
    return figure


def numbers_text(compute: Callable[[Results], Mapping[str, Any]], results: Results) -> str:
    """The numbers of a figure and the sha256 of the files they come from, as strict JSON."""
    own = Results(results.folder)  # so that only this figure's files are named
    numbers = to_plain(compute(own))
    return json.dumps({"sources": dict(sorted(own.read.items())), **numbers}, indent=1, allow_nan=False) + "\n"

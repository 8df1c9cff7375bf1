"""The numbers of docs/paper.md, from the results: everything between its markers.

    python -m paper_figures.page [--results FOLDER] [--page FILE]

A block `<!-- numbers: begin NAME -->` ... `<!-- numbers: end -->` is filled by the function NAME below; what is not
measured yet is named there with the command that measures it.
"""

import argparse
import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from experiments.blocks import fill
from paper_figures.results import FOLDER, PLANS, ROOT, SHOWN, PlanResults, Results, ResultsError, command_of
from paper_figures.tables import adaptive_line, cost_table, picks_table, range_table

PAGE = ROOT / "docs" / "paper.md"

CAPTIONS = {
    1: "The full grid search, mean of the seeds. Triangles: above the axis; crosses: not finite.",
    2: "One range test for each key, and what the rules of the peers suggest.",
    3: "The step-sampled curve: every point is a training of its own.",
    4: "Its curvature: finite differences (the paper) and smoothed (ours).",
    5: "Method 1: the middle of the window, in decades.",
    6: "Method 2: half of the reduction.",
    7: "Method 3: the steepest descent.",
    8: "What each round of the paper's refinement added.",
    9: "Accuracy after the full training; the picks were trained as the grid was.",
}

FIGURES = {"decides": [1], "range_picture": [2], "curve": [3, 4], "methods": [5, 6, 7], "trained": [9], "rounds": [8]}
"""Block -> its figures."""


def figures(numbers: Sequence[int], results: Results) -> str:
    """One below the other."""
    return "\n\n".join(figure(number, results) for number in numbers)


def figure(number: int, results: Results) -> str:
    """The picture, and which runs it waits for."""
    missing = _missing(results, [SHOWN[number]] if number in SHOWN else list(PLANS))
    if missing and (number in SHOWN or not results.measured()):
        return missing
    picture = f"../paper_figures/images/figure_{number}"
    model = f" {PLANS[SHOWN[number]]}." if number in SHOWN else ""
    links = f"[PDF]({picture}.pdf), [numbers]({picture}.json)"
    caption = f"*Figure {number}. {CAPTIONS[number]}{model}* ({links})"
    return "\n\n".join(filter(None, [f"![Figure {number}]({picture}.png)", caption, missing]))


def table(make: Callable[[list[PlanResults]], str], results: Results) -> str:
    """The numbers of every plan that is measured, and which runs the others wait for."""
    measured = list(results.measured().values())
    return "\n\n".join(filter(None, [make(measured) if measured else "", _missing(results, list(PLANS))]))


def _missing(results: Results, places: list[tuple[str, str]]) -> str:
    """Which plans are not measured, with the commands that measure them; empty if all are."""
    missing: dict[str, list[str]] = {}
    for place in [place for place in places if place not in results.measured()]:
        missing.setdefault(command_of(place[0]), []).append(PLANS[place])
    lines = [f"- {' and '.join(titles)}: `{command}`" for command, titles in missing.items()]
    return "\n".join(["Not measured yet; the runs are to be made with", "", *lines]) if lines else ""


BLOCKS: dict[str, Callable[[Results], str]] = {
    **{name: functools.partial(figures, numbers) for name, numbers in FIGURES.items()},
    "picks": lambda results: table(picks_table, results),
    "cost": lambda results: table(cost_table, results),
    "adaptive": lambda results: table(adaptive_line, results),
    "range_test": lambda results: table(range_table, results),
}


def render(page: str, results: Results) -> str:
    """The page with every block filled anew.

    Raises:
      ValueError: a block is unknown, missing, or there twice.
      ResultsError: a file of results is damaged.
    """
    return fill(page, {name: functools.partial(block, results) for name, block in BLOCKS.items()})


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=FOLDER, help="folder of the results")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page")
    options = parser.parse_args(arguments)
    try:
        options.page.write_text(render(options.page.read_text(), Results(options.results)))
    except ResultsError as error:
        sys.exit(str(error))
    print(f"Written: {options.page}", file=sys.stderr)


if __name__ == "__main__":
    main()

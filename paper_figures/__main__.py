"""All figures of the paper and the numbers of docs/paper.md; see `make figures`.

python -m paper_figures [--results FOLDER] [--out FOLDER] [--page FILE]
"""

import argparse
import importlib
from pathlib import Path

from paper_figures import page
from paper_figures.results import FOLDER
from paper_figures.script import OUT

NUMBERS = range(1, 10)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=FOLDER, help="folder of the results")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the pictures")
    parser.add_argument("--page", type=Path, default=page.PAGE, help="the page")
    options = parser.parse_args(arguments)
    for number in NUMBERS:
        script = importlib.import_module(f"paper_figures.figure_{number}")
        script.main(["--results", str(options.results), "--out", str(options.out)])
    page.main(["--results", str(options.results), "--page", str(options.page)])


if __name__ == "__main__":
    main()

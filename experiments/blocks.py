"""Pages whose numbers are filled in from results: everything between `<!-- numbers: begin NAME -->` and its end."""

import re
from collections.abc import Callable, Mapping, Sequence

BLOCK = re.compile(r"(<!-- numbers: begin (\w+) -->\n).*?(<!-- numbers: end -->)", re.DOTALL)


def fill(page: str, blocks: Mapping[str, Callable[[], str]]) -> str:
    """The page with every block filled anew.

    Args:
      page: its text.
      blocks: name -> what stands in it.

    Raises:
      ValueError: a block is unknown, missing, or there twice.
    """
    names = [match[2] for match in BLOCK.finditer(page)]
    if sorted(names) != sorted(blocks):
        raise ValueError(f"The page must have each of the blocks {sorted(blocks)} once, got {sorted(names)}.")
    return BLOCK.sub(lambda match: f"{match[1]}\n{blocks[match[2]]()}\n\n{match[3]}", page)


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Heads and rows as a table."""
    return "\n".join(f"| {' | '.join(line)} |" for line in [heads, ["---"] * len(heads), *rows])

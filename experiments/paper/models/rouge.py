"""ROUGE-L: the longest common subsequence of two texts' words."""

import re
from collections.abc import Sequence


def rouge_l(written: str, reference: str) -> float:
    """ROUGE-L F1 of one text against one reference.

    With L the length of the longest common subsequence of words, precision P = L / words written and recall
    R = L / words of the reference, F1 = 2 P R / (P + R). Words are runs of letters and digits, in lower case; there
    is no stemming.

    Args:
      written: the text to judge.
      reference: what it should have been.

    Returns:
      From 0 (no word in common, or an empty text) to 1.

    Source: Lin 2004, ROUGE: A Package for Automatic Evaluation of Summaries, section 3.1.

    Examples:
      >>> round(rouge_l("police killed the gunman", "police kill the gunman"), 2)
      0.75
    """
    one, other = _words(written), _words(reference)
    common = longest_common_subsequence(one, other)
    return 2 * common / (len(one) + len(other)) if common else 0.0  # 2PR / (P + R)


def longest_common_subsequence(one: Sequence[str], other: Sequence[str]) -> int:
    """Its length."""
    row = [0] * (len(other) + 1)
    for word in one:
        above = row
        row = [0]
        for place, match in enumerate(other):
            row.append(above[place] + 1 if word == match else max(above[place + 1], row[place]))
    return row[-1]


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())

"""AG News: 120,000 + 7,600 short news articles of four classes, each with a title and a description.

Source: Zhang, Zhao & LeCun 2015, Character-level Convolutional Networks for Text Classification.
"""

import csv
import html
import io
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32

from experiments.data.places import dataset_folder

CLASSES = ("World", "Sports", "Business", "Sci/Tech")
_COLUMNS = "class (1-4), title, description"
_REMEDY = "Delete the file and download it again: `python -m experiments.data.download ag_news --data DIR`."

_ENTITY = re.compile(r" (#\d+|amp|gt|hellip|lt|mdash|nbsp|ndash|quot);")
_TAG = re.compile(r"</?(?:a|b|br|cite|em|font|i|img|nobr|p|strong|u)(?:\s[^<>]*)?/?>", re.IGNORECASE)


class Articles(NamedTuple):
    """Articles of one file, in its order.

    Attributes:
      labels: the class of each, 0 to 3, an index of `CLASSES`.
      titles: headlines; "" where the file has none.
      descriptions: the first sentences; "" where the file has none. Never empty together with the title.
    """

    labels: Int32[np.ndarray, " articles"]
    titles: list[str]
    descriptions: list[str]

    @property
    def texts(self) -> list[str]:
        """Title and description in one, which classifiers read."""
        pairs = zip(self.titles, self.descriptions, strict=True)
        return [f"{title} {description}".strip() for title, description in pairs]


class AgNews(NamedTuple):
    """The data set.

    Attributes:
      train: the articles of train.csv.
      test: the articles of test.csv.
      classes: the names of the labels 0 to 3.
    """

    train: Articles
    test: Articles
    classes: tuple[str, ...]


def load_ag_news(folder: str | Path) -> AgNews:
    """Read and clean `ag_news_csv/train.csv` and `ag_news_csv/test.csv`.

    Args:
      folder: the data folder, or `ag_news_csv` itself.

    Returns:
      The articles, with the artefacts of the files undone (see `clean`).

    Raises:
      FileNotFoundError: a file is missing.
      ValueError: a file is empty, not UTF-8, or a row is not a class, a title and a description.
    """
    folder = dataset_folder("load_ag_news(folder)", folder, "ag_news_csv", "ag_news", ("train.csv", "test.csv"))
    names = folder / "classes.txt"
    if names.exists():
        found = tuple(read_text(names).split("\n")[: len(CLASSES)])
        if tuple(name.strip() for name in found) != CLASSES:
            raise ValueError(f"`{names}` must hold the lines {', '.join(CLASSES)}, got {', '.join(found)!r}. {_REMEDY}")
    return AgNews(read_articles(folder / "train.csv"), read_articles(folder / "test.csv"), CLASSES)


def read_articles(path: Path) -> Articles:
    """The articles of one file."""
    labels, titles, descriptions = [], [], []
    rows = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        for row in rows:
            label, title, description = _read_row(f"{path}, line {rows.line_num}", row)
            labels.append(label)
            titles.append(title)
            descriptions.append(description)
    except csv.Error as error:
        raise ValueError(
            f"`{path}, line {rows.line_num}` must be a row of a CSV file, got: {error}. {_REMEDY}"
        ) from None
    if not labels:
        raise ValueError(f"`{path}` must hold articles ({_COLUMNS}), got an empty file. {_REMEDY}")
    return Articles(np.asarray(labels, np.int32), titles, descriptions)


def read_text(path: Path) -> str:
    """The file's text, which must be UTF-8."""
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"`{path}, line {line}` must be UTF-8, got the byte 0x{data[error.start]:02x}. "
            f"Convert it (iconv -t UTF-8), or: {_REMEDY}"
        ) from None


def _read_row(where: str, row: list[str]) -> tuple[int, str, str]:
    """Label, title and description of one row; `where` names its file and line."""
    if len(row) != 3:
        raise ValueError(f"`{where}` must have three columns, {_COLUMNS}, got {len(row)}: {str(row)[:80]}. {_REMEDY}")
    if row[0] not in ("1", "2", "3", "4"):
        advice = "Delete this header line." if row[0].lower().startswith(("class", "label")) else ""
        advice = "Labels from 0 are another edition: add 1 to each." if row[0] == "0" else advice
        raise ValueError(f"`{where}` must begin with a class from 1 to 4, got {row[0][:40]!r}. {advice or _REMEDY}")
    title, description = clean(row[1]), clean(row[2])
    if not title and not description:
        raise ValueError(f"`{where}` must have a title or a description, got neither. Delete the line.")
    return int(row[0]) - 1, title, description


def clean(text: str) -> str:
    r"""Undo what the making of the files did to a text.

    In turn: `\$` is a dollar sign; any other backslash was a line break; ` #39;` and ` quot;` are HTML entities whose
    `&` was made a space; `&lt;` and its like are entities; tags such as `<b>` are formatting, not text (while `<TXN.N>`
    is a stock's name and stays); spaces are single.

    Args:
      text: a title or description as the file has it.

    Returns:
      One line of plain text.
    """
    text = text.replace("\\$", "$").replace("\\", " ")
    text = html.unescape(_ENTITY.sub(r"&\1;", text))
    return " ".join(_TAG.sub(" ", text).split())

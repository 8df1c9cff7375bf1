"""Download the public data of the experiments.

    python -m experiments.data.download ag_news hymenoptera --data DIR    # about 80 MB, a minute

What is there already is left alone: delete a file or a folder to download it again. Without `--data`, the folder is
that of the environment variable LRJAX_DATA, else `data` in the repository.

- `ag_news`: AG News (Zhang, Zhao & LeCun 2015), 120,000 training and 7,600 test articles, to `ag_news_csv/`.
- `hymenoptera`: the ants and bees of the PyTorch tutorial on transfer learning, 397 photographs, to
  `hymenoptera_data/{train,val}/{ants,bees}/`.

Both are for non-commercial research use.
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

from experiments.data.fetch import fetch, unpack
from experiments.data.places import chosen_folder


class Source(NamedTuple):
    """A file on a server.

    Attributes:
      url: its address.
      path: where it goes inside the data folder; for a zip archive the folder that it holds.
      size: its bytes, None where unknown.
      sha256: its digest, None where unknown.
    """

    url: str
    path: str
    size: int | None = None
    sha256: str | None = None


_AG_NEWS = "https://raw.githubusercontent.com/mhjabreel/CharCnn_Keras/master/data/ag_news_csv"

SOURCES = {
    "ag_news": (
        Source(f"{_AG_NEWS}/classes.txt", "ag_news_csv/classes.txt"),
        Source(
            f"{_AG_NEWS}/test.csv",
            "ag_news_csv/test.csv",
            size=1_857_427,
            sha256="521465c2428ed7f02f8d6db6ffdd4b5447c1c701962353eb2c40d548c3c85699",
        ),
        Source(
            f"{_AG_NEWS}/train.csv",
            "ag_news_csv/train.csv",
            size=29_470_338,
            sha256="76a0a2d2f92b286371fe4d4044640910a04a803fdd2538e0f3f29a5c6f6b672e",
        ),
    ),
    "hymenoptera": (
        Source(
            "https://download.pytorch.org/tutorial/hymenoptera_data.zip",
            "hymenoptera_data",
            size=47_286_322,
            sha256="fbc41b31d544714d18dd1230b1e2b455e1557766e13e67f9f5a7a23af7c02209",
        ),
    ),
}


def download(sources: tuple[Source, ...], folder: str | Path) -> list[Path]:
    """Get what is not there yet.

    Args:
      sources: the files.
      folder: the data folder, which is made.

    Returns:
      The paths that were made.

    Raises:
      FileNotFoundError, ConnectionError, ValueError: see `fetch` and `unpack`.
    """
    made = []
    for source in sources:
        target = Path(folder) / source.path
        if target.exists():
            print(f"{target}: already there", flush=True)
            continue
        print(f"{target}: from {source.url}", flush=True)
        if not source.url.endswith(".zip"):
            made.append(fetch(source.url, target, size=source.size, sha256=source.sha256))
            continue
        archive = fetch(source.url, target.with_name(target.name + ".zip"), size=source.size, sha256=source.sha256)
        made.append(unpack(archive, target))
        archive.unlink()
    return made


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Download the public data of the experiments.")
    parser.add_argument("datasets", nargs="+", choices=sorted(SOURCES), help="what to download")
    parser.add_argument("--data", metavar="DIR", help="the data folder (default: LRJAX_DATA, else data/)")
    options = parser.parse_args(arguments)
    folder, _ = chosen_folder(options.data)
    try:
        for dataset in options.datasets:
            download(SOURCES[dataset], folder)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"Done. To use it: --data {folder}, or export LRJAX_DATA={folder}")


if __name__ == "__main__":
    main()

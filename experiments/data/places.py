"""Where the data lie: a folder given by the command, by LRJAX_DATA, or `data` in the repository."""

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
DOWNLOAD = "python -m experiments.data.download ag_news hymenoptera --data DIR"


def chosen_folder(option: str | Path | None) -> tuple[Path, str]:
    """The folder of the data, which need not exist yet, and who chose it.

    Args:
      option: the command's `--data`, or None where it was not given.

    Returns:
      The folder, absolute, and words for a message: "--data", "LRJAX_DATA" or "the default".
    """
    if option is not None and str(option):
        return Path(option).expanduser().absolute(), "given with --data"
    variable = os.environ.get("LRJAX_DATA", "").strip()
    if variable:
        return Path(variable).expanduser().absolute(), "given by the environment variable LRJAX_DATA"
    return REPOSITORY / "data", "the default, as neither --data nor LRJAX_DATA is given"


def data_folder(option: str | Path | None) -> Path:
    """The folder of the data: the option, else LRJAX_DATA, else `data` in the repository.

    Args:
      option: the command's `--data`, or None where it was not given.

    Returns:
      An existing folder.

    Raises:
      FileNotFoundError: it does not exist.
      NotADirectoryError: it is a file.
    """
    folder, chooser = chosen_folder(option)
    advice = (
        "Give the folder that holds `ag_news_csv` and `hymenoptera_data`: --data DIR, or export LRJAX_DATA=DIR. "
        f"To download them: `{DOWNLOAD}`."
    )
    if not folder.exists():
        raise FileNotFoundError(f"The data folder must exist, got {folder} ({chooser}), which does not. {advice}")
    if not folder.is_dir():
        raise NotADirectoryError(f"The data folder must be a folder, got the file {folder} ({chooser}). {advice}")
    return folder


def dataset_folder(where: str, folder: str | Path, name: str, dataset: str, holds: tuple[str, ...]) -> Path:
    """The folder of one data set, given that folder itself or the one around it.

    Args:
      where: the call, for the message.
      folder: what was given.
      name: the data set's folder as its archive names it, such as "ag_news_csv".
      dataset: the word that downloads it, such as "ag_news".
      holds: what must be inside.

    Returns:
      The folder that holds all of `holds`.

    Raises:
      FileNotFoundError: neither folder holds them.
    """
    folder = Path(folder)
    best = folder / name if (folder / name).is_dir() else folder
    missing = [entry for entry in holds if not (best / entry).exists()]
    if missing:
        found = sorted(entry.name for entry in best.iterdir())[:8] if best.is_dir() else "no such folder"
        raise FileNotFoundError(
            f"`{where}` must be a folder with {name}/{{{','.join(holds)}}}, got {folder}: {best / missing[0]} is "
            f"missing (there: {found or 'nothing'}). "
            f"To download it: `python -m experiments.data.download {dataset} --data DIR`."
        )
    return best

"""Pretrained weights: a file here, or a model of the Hugging Face hub; read as NumPy arrays by name."""

import re
from pathlib import Path

import ml_dtypes  # noqa: F401  (teaches NumPy bfloat16, which many models are stored in)
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from experiments.data.fetch import fetch

HUB = "https://huggingface.co"
_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_FILE = "model.safetensors"


def find_weights(source: str | Path, cache: str | Path | None = None, *, base_url: str = HUB) -> Path:
    """The file of a model's weights, downloaded where it has to be.

    Args:
      source: a `.safetensors` file, a folder with `model.safetensors`, or a model's name on the hub such as
        "sentence-transformers/all-MiniLM-L6-v2". What exists here is never taken for a name.
      cache: a folder for what is downloaded, needed for names only. `config.json` and, where the model has one,
        `vocab.txt` go beside the weights. What is there already is not downloaded again.
      base_url: the hub.

    Returns:
      The path of a `.safetensors` file.

    Raises:
      FileNotFoundError: no such file, folder or model.
      ConnectionError: the hub cannot be reached.
      ValueError: a file of another format, or a name without `cache`.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return _in_folder(path)
    if path.exists():
        if path.suffix != ".safetensors":
            raise ValueError(f"`find_weights(source)` must be a .safetensors file, got {path}. {_CONVERT}")
        return path
    name = str(source)
    if not _ID.fullmatch(name) or ".." in name or path.suffix == ".safetensors":
        raise FileNotFoundError(
            f"`find_weights(source)` must be a .safetensors file, a folder with {_FILE}, or a name on the hub such as "
            f"'sentence-transformers/all-MiniLM-L6-v2', got {name!r}, which does not exist."
        )
    if cache is None:
        raise ValueError(
            f"`find_weights(source)` does not exist here: {name!r}. To download a model of this name from {base_url}, "
            "give a folder for it: `find_weights(source, cache)`."
        )
    return _download(name, Path(cache).expanduser(), base_url.rstrip("/"))


_CONVERT = "Convert it: `safetensors.torch.save_file(torch.load(path, weights_only=True), 'model.safetensors')`."


def _in_folder(folder: Path) -> Path:
    if (folder / _FILE).is_file():
        return folder / _FILE
    found = sorted(entry.name for entry in folder.iterdir())[:8]
    advice = _CONVERT if "pytorch_model.bin" in found else "Give the folder of a model, or the file itself."
    raise FileNotFoundError(
        f"`find_weights(source)` must be a folder with {_FILE}, got {folder} with {', '.join(found) or 'nothing'}. "
        f"{advice}"
    )


def _download(name: str, cache: Path, base_url: str) -> Path:
    """The weights come last: where they are, the rest is there too."""
    folder = cache / name.replace("/", "--")
    for file in ("config.json", "vocab.txt", _FILE):
        if (folder / file).exists():
            continue
        try:
            fetch(f"{base_url}/{name}/resolve/main/{file}", folder / file)
        except FileNotFoundError as error:
            if file != "vocab.txt":  # models of images have none
                raise FileNotFoundError(
                    "`find_weights(source)` must be a file, a folder, or a model of the hub "
                    f"with {file}, got {name!r}: {error}"
                ) from None
    return folder / _FILE


def read_safetensors(path: str | Path) -> dict[str, np.ndarray]:
    """All arrays of a file, by name.

    Args:
      path: a `.safetensors` file.

    Returns:
      Arrays in the types that the file has.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is cut short, or no safetensors file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"`read_safetensors(path)` must be an existing file, got {path}. See `find_weights`.")
    with path.open("rb") as file:
        head = file.read(64)
    if head.startswith(b"version https://git-lfs"):
        raise ValueError(f"`{path}` must be a safetensors file, got a Git LFS pointer to one. Run `git lfs pull`.")
    try:
        return load_file(path)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(
            f"`{path}` must hold arrays of types that NumPy has, got: {error}. Convert it to float32 where it was made."
        ) from None
    except (SafetensorError, ValueError) as error:
        raise ValueError(
            f"`{path}` must be a whole safetensors file, got {path.stat().st_size:,} bytes that are none: {error}. "
            "It may be cut short: delete it and download it again."
        ) from None

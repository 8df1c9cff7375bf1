"""Strict, versioned JSON of results: readable by anything, read back without loss, and never executed."""

import enum
import json
import math
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import jax
import numpy as np

from ._checks import check_path, show
from ._decode import MAX_BYTES, decode, field_names, parse
from ._settings import without_alarms

VERSION = 1


class JsonResult:
    """A result, a dataclass, that a file keeps without loss."""

    _FORMAT: ClassVar[str]

    @without_alarms()
    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Write everything to a strict JSON file, losslessly; numbers not finite are the strings "inf", "-inf", "nan".

        Args:
          path: file to write; its folder must exist.

        Raises:
          OSError: the file cannot be written.
          ValueError: it would be larger than `from_json` reads, 128 MiB.
        """
        path = check_path(f"{type(self).__name__}.to_json(path)", path)
        text = json.dumps({"format": self._FORMAT, "version": VERSION, **encode(self)}, indent=1, allow_nan=False)
        if len(text) > MAX_BYTES:
            raise ValueError(
                f"`{type(self).__name__}.to_json(path)` writes at most {MAX_BYTES:,} bytes, got {len(text):,}. "
                "Evaluate less often, or write a table (a sweep's `to_parquet(path)`)."
            )
        write_whole(path, text + "\n")

    @classmethod
    def from_json(cls, path: str | os.PathLike[str]) -> Self:
        """Read a result that `to_json` wrote. What it accepts can be shown, drawn and written again.

        A number that was written by hand is rounded to the type of its array.

        Args:
          path: the file, of at most 128 MiB.

        Returns:
          An equal result.

        Raises:
          ValueError: the file is no such result, damaged, or of a newer version; the message names the field.
          OSError: the file cannot be read.
        """
        path = check_path(f"{cls.__name__}.from_json(path)", path)
        where = f"`{cls.__name__}.from_json({os.fspath(path)!r})`"
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ValueError(f"{where} reads at most {MAX_BYTES:,} bytes, and this file is larger.")
        try:
            document = parse(content.decode())
        except ValueError as error:
            raise ValueError(f"{where} must be a JSON file, but: {error}.") from None
        return cls._from_document(where, document)

    @classmethod
    @without_alarms()
    def _from_document(cls, where: str, document: Any) -> Self:
        """The result that a file's JSON stands for; `where` begins the messages."""
        if not isinstance(document, dict) or document.get("format") != cls._FORMAT:
            found = show(document.get("format")) if isinstance(document, dict) else type(document).__name__
            raise ValueError(f"{where} must be a file of format {cls._FORMAT!r}, got {found}.")
        version = document.get("version")
        if type(version) is not int or version != VERSION:
            raise ValueError(
                f"{where} has version {show(version)}, and this lrjax reads version {VERSION}. Upgrade lrjax."
            )
        fields = {name: value for name, value in document.items() if name not in ("format", "version")}
        try:
            return decode(cls, fields)
        except ValueError as error:
            raise ValueError(f"{where} is damaged: {error}") from None


def write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all; a pipe or a device is written to as it is."""
    if path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8")
        return
    draft = path.parent / f".{uuid.uuid4().hex}.json"
    try:
        draft.write_text(text, encoding="utf-8")
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def encode(value: Any) -> Any:
    """What strict JSON has for a value: numbers that are not finite are the strings "inf", "-inf", "nan"."""
    names = field_names(value)
    if names is not None:
        return {name: encode(getattr(value, name)) for name in names}
    if isinstance(value, (jax.Array, np.ndarray)):
        array = np.asarray(value)
        return {"dtype": "str" if array.dtype.kind == "U" else str(array.dtype), "data": encode(array.tolist())}
    if isinstance(value, np.generic):
        return encode(value.item())
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)  # "inf", "-inf", "nan"
    return value

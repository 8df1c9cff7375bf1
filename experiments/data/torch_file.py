"""The tensors of a file that PyTorch wrote, as NumPy arrays: without PyTorch, and without running what the file says.

Read is the format of `torch.save` before PyTorch 1.6: five pickles in a row (a magic number, the version, the machine,
the tensors by name, the keys of the storages), then the storages. Source: `_legacy_save` in torch/serialization.py.
"""

import collections
import io
import pickle
from typing import Any, NamedTuple

import numpy as np

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
_TYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "IntStorage": "<i4",
    "LongStorage": "<i8",
}


class _Tensor(NamedTuple):
    """Numbers of a storage, counted in numbers."""

    storage: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Reader(pickle.Unpickler):
    """Makes mappings, tensors that have no numbers yet, and nothing else."""

    def __init__(self, file: io.BytesIO):
        super().__init__(file)
        self.types: dict[str, str] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: _Tensor(storage, offset, shape, strides)
        if module == "torch" and name in _TYPES:
            return _TYPES[name]
        raise pickle.UnpicklingError(
            f"it holds {module}.{name}, which is no tensor of these types: {', '.join(_TYPES)}"
        )

    def persistent_load(self, pid: Any) -> str:
        _, kind, key, _, _, view = pid
        if view is not None:
            raise pickle.UnpicklingError("it holds a storage that is a view of another one")
        self.types[key] = kind
        return key


def read_torch(data: bytes, name: str) -> dict[str, np.ndarray]:
    """The tensors of a state dict.

    Args:
      data: the file.
      name: of the file, for messages.

    Returns:
      Name -> array.

    Raises:
      ValueError: another format, a file that is cut short, or one that holds more than tensors.
    """
    try:
        return _read(io.BytesIO(data))
    except (pickle.UnpicklingError, AttributeError, EOFError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"`{name}` must be a whole file of tensors that PyTorch before 1.6 wrote, got {len(data):,} bytes that are "
            f"none: {error!r}. A later PyTorch writes one with `torch.save(tensors, path, "
            "_use_new_zipfile_serialization=False)`."
        ) from None


def _read(file: io.BytesIO) -> dict[str, np.ndarray]:
    magic, version, machine = (_Reader(file).load() for _ in range(3))
    if (magic, version) != (MAGIC, VERSION) or not machine["little_endian"]:
        raise ValueError(f"it begins with {magic!r}, {version!r}, {machine!r}")
    reader = _Reader(file)
    tensors = reader.load()
    storages = {}
    for key in _Reader(file).load():
        kind = np.dtype(reader.types[key])
        count = int.from_bytes(file.read(8), "little")
        storages[key] = np.frombuffer(file.read(count * kind.itemsize), kind, count)
    return {name: _fill(tensor, storages[tensor.storage]) for name, tensor in tensors.items()}


def _fill(tensor: _Tensor, storage: np.ndarray) -> np.ndarray:
    """NumPy refuses places that lie outside the storage."""
    offset, *strides = (storage.itemsize * count for count in (tensor.offset, *tensor.strides))
    return np.ndarray(tensor.shape, storage.dtype, storage, offset, strides).copy()

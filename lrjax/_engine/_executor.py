"""The executors: how lanes are run."""

import dataclasses
from typing import Literal, get_args

import jax

from .._checks import check_count, show


@dataclasses.dataclass(frozen=True)
class Chunked:
    """The executor that runs `size` lanes at a time in one program: vectorised, with bounded memory.

    Attributes:
      size: lanes in a chunk, >= 1.

    Raises:
      ValueError: `size` < 1.

    Examples:
      >>> import lrjax
      >>> lrjax.Chunked(8)
      Chunked(size=8)
    """

    size: int

    def __post_init__(self) -> None:
        check_count("Chunked(size)", self.size, unit="lanes")

    def __str__(self) -> str:
        return f"chunked({self.size})"


Word = Literal["auto", "vmap", "map", "loop"]
Executor = Word | Chunked

EXECUTOR_WORDS: tuple[Word, ...] = get_args(Word)
"""The executors that are written as a word."""


def check_executor(where: str, executor: object) -> Executor:
    """Return the executor, or say which there are."""
    word = executor if isinstance(executor, str) else ""
    if isinstance(executor, Chunked) or word in EXECUTOR_WORDS:
        if jax.config.jax_disable_jit and executor not in ("auto", "loop"):  # pyright: ignore[reportAttributeAccessIssue]
            raise ValueError(
                f'`{where}` must be "loop" under jax_disable_jit, got {show(executor)}, which is one compiled program. '
                '"loop" then runs your functions as plain Python.'
            )
        return executor  # pyright: ignore[reportReturnType]
    advice = "Write lrjax.Chunked(8)." if isinstance(executor, (int, type)) or word == "chunked" else ""
    words = ", ".join(f'"{one}"' for one in EXECUTOR_WORDS)
    raise ValueError(f"`{where}` must be {words} or lrjax.Chunked(k), got {show(executor)}. {advice}".strip())

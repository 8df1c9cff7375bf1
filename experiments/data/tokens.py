"""WordPiece tokens: text to numbers and back, for models that read and for models that write.

Every tokenizer here has the tokens [PAD], [UNK], [CLS] and [SEP] and is never changed by these functions.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int, Int32
from tokenizers import Tokenizer

from experiments.data._wordpiece import check_texts
from experiments.data._wordpiece import load_wordpiece as load_wordpiece
from experiments.data._wordpiece import train_wordpiece as train_wordpiece
from lrjax._checks import check_count

ROOM = "for [CLS], a token and [SEP]"


def encode(
    tokenizer: Tokenizer, texts: Sequence[str], length: int
) -> tuple[Int32[np.ndarray, "texts length"], Bool[np.ndarray, "texts length"]]:
    """Texts as rows `[CLS] tokens [SEP] [PAD] ...`, long ones cut so that [SEP] is last.

    Args:
      tokenizer: of `load_wordpiece` or `train_wordpiece`.
      texts: one for each row.
      length: tokens in a row, at least 3.

    Returns:
      The numbers of the tokens, and a mask that is True where there is no padding.

    Raises:
      TypeError: `texts` is one string, or not strings.
      ValueError: no texts, or `length` < 3.
    """
    check_texts("encode(texts)", texts)
    length = check_count("encode(length=...)", length, minimum=3, unit=ROOM)
    rows = tokenizer.encode_batch(list(texts), add_special_tokens=False)
    return pack(tokenizer, [row.ids for row in rows], length)


def pack(
    tokenizer: Tokenizer, rows: Sequence[Sequence[int]], length: int
) -> tuple[Int32[np.ndarray, "texts length"], Bool[np.ndarray, "texts length"]]:
    """`encode` of texts that are numbers of tokens already."""
    pad, start, end = (tokenizer.token_to_id(token) for token in ("[PAD]", "[CLS]", "[SEP]"))
    ids = np.full((len(rows), length), pad, np.int32)
    mask = np.zeros((len(rows), length), bool)
    for row, tokens in enumerate(rows):
        tokens = [start, *tokens[: length - 2], end]
        ids[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = True
    return ids, mask


def encode_target(tokenizer: Tokenizer, titles: Sequence[str], length: int) -> Int32[np.ndarray, "titles length"]:
    """Rows for a decoder to write: [CLS] begins each, [SEP] ends it, [PAD] fills up.

    Args:
      tokenizer: of `load_wordpiece` or `train_wordpiece`.
      titles: one for each row, none of them empty.
      length: tokens in a row, at least 3; long titles are cut so that [SEP] is last.

    Returns:
      The numbers of the tokens.

    Raises:
      TypeError: `titles` is one string, or not strings.
      ValueError: a title is empty, no titles, or `length` < 3.
    """
    check_texts("encode_target(titles)", titles)
    empty = [index for index, title in enumerate(titles) if not title.strip()]
    if empty:
        raise ValueError(
            f"`encode_target(titles)` must hold titles, got {len(empty)} empty ones, the first at index {empty[0]}. "
            "Leave out the articles without a title."
        )
    return encode(tokenizer, titles, check_count("encode_target(length=...)", length, minimum=3, unit=ROOM))[0]


def decode(tokenizer: Tokenizer, ids: Int[np.ndarray, "texts length"]) -> list[str]:
    """Rows of tokens as texts: without special tokens, and only up to the first [SEP].

    Args:
      tokenizer: of `load_wordpiece` or `train_wordpiece`.
      ids: numbers of tokens, as `encode` or a model gives them.

    Returns:
      One text for each row, lower-case where the tokenizer lowers.

    Raises:
      TypeError: `ids` are not whole numbers.
      ValueError: `ids` is no table, or holds a number beyond the vocabulary.
    """
    ids = np.asarray(ids)
    if ids.dtype.kind not in "iu":
        raise TypeError(f"`decode(ids)` must hold whole numbers, got {ids.dtype}. Take jnp.argmax of logits first.")
    if ids.ndim != 2:
        raise ValueError(
            f"`decode(ids)` must have shape (texts, length), got {ids.shape}. Write ids[None] for one text."
        )
    size = tokenizer.get_vocab_size()
    if ids.size and not 0 <= ids.min() <= ids.max() < size:
        raise ValueError(
            f"`decode(ids)` must hold numbers from 0 to {size - 1}, got {ids.min()} to {ids.max()}. "
            "Is it the tokenizer that the model was trained with?"
        )
    end = tokenizer.token_to_id("[SEP]")
    rows = [row[: row.index(end)] if end in row else row for row in ids.tolist()]
    return tokenizer.decode_batch(rows, skip_special_tokens=True)

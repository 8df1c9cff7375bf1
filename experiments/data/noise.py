"""BART's noise: spans of words become one [MASK] each, and sentences change places.

Source: Lewis et al. 2020, BART: Denoising Sequence-to-Sequence Pre-training, sections 2.2 and 4.
"""

import itertools
import math

import numpy as np
from jaxtyping import Bool, Int, Int32
from tokenizers import Tokenizer

from experiments.data.tokens import pack

SHARE = 0.3
"""Of the words that are masked."""

SPAN = 3.0
"""Mean length of a span, in words."""


def add_noise(
    tokenizer: Tokenizer, targets: Int[np.ndarray, "texts length"], *, seed: int
) -> tuple[Int32[np.ndarray, "texts length"], Bool[np.ndarray, "texts length"], Bool[np.ndarray, "texts length"]]:
    """A noisy copy of every text.

    Args:
      tokenizer: that made the targets.
      targets: of `encode`, at least one token in each.
      seed: of the noise; the same one gives the same copies.

    Returns:
      The noisy texts in rows as `encode` makes them, and their mask; then True for the tokens of `targets` that are
      hidden by a [MASK].
    """
    pad, start, end, mask, stop = map(tokenizer.token_to_id, ("[PAD]", "[CLS]", "[SEP]", "[MASK]", "."))
    inside = np.array([tokenizer.id_to_token(token).startswith("##") for token in range(tokenizer.get_vocab_size())])
    rng, sources, hidden = np.random.default_rng(seed), [], np.zeros(targets.shape, bool)
    for row, target in enumerate(targets):
        places = np.flatnonzero(~np.isin(target, (pad, start, end)))
        source, masked = hide_spans(permute_sentences(target[places], rng, stop), target[places], inside, rng, mask)
        sources.append(source)
        hidden[row, places[masked]] = True
    return *pack(tokenizer, sources, targets.shape[1]), hidden


def permute_sentences(
    tokens: Int[np.ndarray, " tokens"], rng: np.random.Generator, stop: int | None
) -> Int[np.ndarray, " tokens"]:
    """The places of the tokens in a random order of the sentences, each of which a full stop ends, or several."""
    stops = tokens == stop
    sentences = np.split(np.arange(len(tokens)), np.flatnonzero(stops[:-1] & ~stops[1:]) + 1)
    return np.concatenate([sentences[index] for index in rng.permutation(len(sentences))])


def hide_spans(
    order: Int[np.ndarray, " tokens"],
    tokens: Int[np.ndarray, " tokens"],
    inside: Bool[np.ndarray, " vocabulary"],
    rng: np.random.Generator,
    mask: int,
) -> tuple[list[int], list[int]]:
    """`tokens[order]` with one `mask` for each span of whole words, and the places of what is hidden.

    The lengths are Poisson draws until `SHARE` of the words is reached, the last one cut to it. Spans and visible
    words are in a random order; a span without words is a mask too many.
    """
    words = np.split(order, np.flatnonzero(~inside[tokens[order]])[1:])
    left, lengths = math.ceil(SHARE * len(words)), []
    while sum(lengths) < left:
        lengths.append(min(rng.poisson(SPAN), left - sum(lengths)))
    visible, following = -1, iter(words)
    source, hidden = [], []
    for length in rng.permutation([visible] * (len(words) - left) + lengths):
        if length == visible:
            source.extend(tokens[next(following)].tolist())
        else:
            hidden.extend(itertools.chain(*itertools.islice(following, length)))
            source.append(mask)
    return source, hidden

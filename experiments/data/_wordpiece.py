"""WordPiece vocabularies: read from a file, or learnt from texts."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def load_wordpiece(path: str | Path) -> Tokenizer:
    """A tokenizer from a file.

    Args:
      path: a `vocab.txt` (one token a line), a `tokenizer.json`, or a folder that holds one; the JSON, which knows
        more, is preferred. A vocabulary in which no token has an upper-case letter lowers the text.

    Returns:
      A WordPiece tokenizer that neither pads nor truncates.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is no WordPiece vocabulary.
    """
    path = Path(path)
    if path.is_dir():
        found = [path / name for name in ("tokenizer.json", "vocab.txt") if (path / name).exists()]
        if not found:
            raise FileNotFoundError(f"`load_wordpiece(path)` must hold tokenizer.json or vocab.txt, got {path}. {_TRY}")
        path = found[0]
    if not path.exists():
        raise FileNotFoundError(f"`load_wordpiece(path)` must be an existing file or folder, got {path}. {_TRY}")
    tokenizer = _from_json(path) if path.suffix == ".json" else _from_vocabulary(_read_vocabulary(path))
    missing = [token for token in SPECIAL[:4] if tokenizer.token_to_id(token) is None]
    if missing:
        raise ValueError(
            f"`{path}` must have the tokens {', '.join(SPECIAL[:4])}, got none called {', '.join(missing)}. "
            "Use the vocabulary of a BERT model."
        )
    return tokenizer


_TRY = "Give the folder of a BERT model, or train a vocabulary: `train_wordpiece(texts, vocab_size)`."


def _from_json(path: Path) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain Exception
        raise ValueError(f"`{path}` must be a tokenizer.json, got: {error}. Download it again.") from None
    if not isinstance(tokenizer.model, models.WordPiece):
        kind = type(tokenizer.model).__name__
        raise ValueError(f"`{path}` must be a WordPiece tokenizer, got {kind}. Use that of a BERT model.")
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _read_vocabulary(path: Path) -> list[str]:
    try:
        tokens = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError:
        raise ValueError(
            f"`{path}` must be a text file in UTF-8 with one token a line, got other bytes. {_TRY}"
        ) from None
    tokens = [token.removesuffix("\r") for token in tokens]
    seen: dict[str, int] = {}
    for line, token in enumerate(tokens, start=1):
        if not token or token in seen:
            got = f"{token!r} of line {seen[token]} again" if token else "an empty line"
            raise ValueError(f"`{path}, line {line}` must be a new token, got {got}. Download it again.")
        seen[token] = line
    return tokens


def _from_vocabulary(tokens: Sequence[str]) -> Tokenizer:
    """The tokenizer of BERT with these tokens, numbered in their order."""
    lowercase = not any(token != token.lower() for token in tokens if token not in SPECIAL)
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return _bert(models.WordPiece(vocabulary, unk_token="[UNK]"), lowercase=lowercase)


def _bert(model: models.WordPiece, *, lowercase: bool) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens([token for token in SPECIAL if tokenizer.token_to_id(token) is not None])
    return tokenizer


def train_wordpiece(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """A vocabulary of one's own, for models that start from scratch.

    The same texts in the same order give the same tokens with the same numbers.

    Args:
      texts: what to learn from.
      vocab_size: the most tokens, with the five special ones and every character of the texts, at its start and
        inside words.

    Returns:
      A WordPiece tokenizer that lowers the text; few texts give fewer tokens than `vocab_size`.

    Raises:
      ValueError: no texts, or `vocab_size` has no room for the characters.
    """
    texts = list(texts)
    check_texts("train_wordpiece(texts)", texts)
    blank = _bert(models.WordPiece({}, unk_token="[UNK]"), lowercase=True)
    words = {
        word
        for text in texts
        for word, _ in blank.pre_tokenizer.pre_tokenize_str(blank.normalizer.normalize_str(text))  # type: ignore
    }
    if not words:
        raise ValueError(f"`train_wordpiece(texts)` must hold words, got {len(texts)} texts without any.")
    # The trainer numbers the pieces inside words in the order of a hash table, which changes from run to run, and ties
    # between merges follow the numbers. Named as special tokens, they have numbers before it begins.
    inside = sorted({f"##{character}" for word in words for character in word[1:]})
    least = len(SPECIAL) + len(inside) + len({character for word in words for character in word})
    if vocab_size < least:
        raise ValueError(
            f"`train_wordpiece(vocab_size=...)` must be at least {least}, the special tokens and the characters of "
            f"these texts, got {vocab_size}. Several thousand are usual."
        )
    trainer = trainers.WordPieceTrainer(vocab_size=vocab_size, special_tokens=[*SPECIAL, *inside], show_progress=False)
    blank.train_from_iterator(texts, trainer)
    numbered = blank.get_vocab()
    return _from_vocabulary(sorted(numbered, key=numbered.__getitem__))


def check_texts(where: str, texts: object) -> None:
    """Raise unless `texts` is a sequence of strings, at least one."""
    if isinstance(texts, (str, bytes)) or not isinstance(texts, Sequence):
        raise TypeError(f"`{where}` must be a list of texts, got {type(texts).__name__}. Write [text] for one.")
    wrong = [index for index, text in enumerate(texts) if not isinstance(text, str)]
    if wrong:
        kind = type(texts[wrong[0]]).__name__
        raise TypeError(f"`{where}` must hold texts, got {kind} at index {wrong[0]}. Write str(...) or leave it out.")
    if not texts:
        raise ValueError(f"`{where}` must hold at least one text, got none.")

"""BART's noise, what is measured of a denoiser, and the bigram beside it."""

import csv
import math
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.data.noise import SHARE, SPAN, add_noise, hide_spans, permute_sentences
from experiments.data.tokens import encode, train_wordpiece
from experiments.paper import bart

STOP, MASK = 1, 0


def some_articles(count: int) -> list[str]:
    """Texts of one to four sentences, with words that are several tokens."""
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcde"), rng.integers(1, 7))) for _ in range(50)]
    sentences = [" ".join(rng.choice(words, rng.integers(2, 9))) for _ in range(200)]
    return [". ".join(rng.choice(sentences, rng.integers(1, 5))) for _ in range(count)]


@pytest.fixture(scope="module")
def denoised():
    """A tokenizer, targets and their noisy copies."""
    texts = some_articles(100)
    tokenizer = train_wordpiece(texts, 40)
    targets, _ = encode(tokenizer, texts, 32)
    before = targets.copy()
    noisy = add_noise(tokenizer, targets, seed=0)
    np.testing.assert_array_equal(targets, before)
    return tokenizer, targets, *noisy


def test_a_share_of_the_words_is_hidden_and_the_others_are_all_there(denoised):
    tokenizer, targets, ids, seen, hidden = denoised
    special = [tokenizer.token_to_id(token) for token in ("[PAD]", "[CLS]", "[SEP]", "[MASK]")]
    pieces = np.array([tokenizer.id_to_token(token).startswith("##") for token in range(tokenizer.get_vocab_size())])
    assert not hidden[np.isin(targets, special)].any()
    np.testing.assert_array_equal(seen, ids != special[0])
    assert {tokenizer.id_to_token(token) for token in ids[:, 0]} == {"[CLS]"}
    for target, source, masked in zip(targets, ids, hidden, strict=True):
        starts = ~np.isin(target, special) & ~pieces[target]
        assert (masked & starts).sum() == math.ceil(SHARE * starts.sum())
        np.testing.assert_array_equal(masked[1:][pieces[target[1:]]], masked[:-1][pieces[target[1:]]])  # whole words
        visible = [token for token in source if token not in special]
        assert sorted(visible) == sorted(target[~masked & ~np.isin(target, special)])


def test_the_noise_is_its_seeds_and_differs_between_copies(denoised):
    tokenizer, targets, *noisy = denoised
    for one, same in zip(noisy, add_noise(tokenizer, targets, seed=0), strict=True):
        np.testing.assert_array_equal(one, same)
    *_, twice = add_noise(tokenizer, np.tile(targets, (2, 1)), seed=0)
    assert (twice[: len(targets)] != twice[len(targets) :]).any(axis=1).mean() > 0.8


def test_spans_have_the_lengths_of_poisson_and_some_have_none():
    tokens = np.arange(1, 10_001)  # a word each
    source, hidden = hide_spans(np.arange(10_000), tokens, np.zeros(10_001, bool), np.random.default_rng(0), MASK)
    assert len(hidden) == len(set(hidden)) == 3000
    spans = source.count(MASK)
    assert spans == pytest.approx(3000 / SPAN, rel=0.1)
    visible = [token for token in source if token != MASK]
    assert visible == sorted(set(tokens) - set(tokens[hidden]))
    alone = [source[at - 1 : at + 2] for at in range(1, len(source) - 1) if source[at] == MASK]
    empty = sum(before and after and before + 1 == after for before, _, after in alone)
    assert empty == pytest.approx(spans * math.exp(-SPAN) * 0.75**2, rel=0.5)  # between two visible words


def test_sentences_change_places_as_a_whole():
    tokens = np.array([7, 8, STOP, STOP, STOP, 9, STOP, 5, 6])
    orders = {tuple(permute_sentences(tokens, np.random.default_rng(seed), STOP)) for seed in range(60)}
    sentences = (0, 1, 2, 3, 4), (5, 6), (7, 8)
    places = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
    assert orders == {tuple(token for index in order for token in sentences[index]) for order in places}
    np.testing.assert_array_equal(permute_sentences(np.array([4, 5]), np.random.default_rng(0), STOP), [0, 1])


PAD = 0
TARGETS = np.array([[1, 3, 4, 3, 4, 2], [1, 3, 5, 2, PAD, PAD]])
"""1 begins, 2 ends. After 1: 3. After 3: 4 twice, 5 once. After 4: 3 and 2, and 3 is the more frequent one."""


def test_the_bigram_is_the_most_frequent_follower():
    following = bart.bigram(TARGETS, 7, PAD)
    np.testing.assert_array_equal(following, [3, 3, 3, 4, 3, 2, 3])  # after what is never followed: 3


def test_accuracy_of_all_tokens_and_of_the_hidden_ones_of_a_model_and_of_the_bigram():
    hidden = np.array([[0, 0, 1, 0, 0, 0], [0, 0, 1, 0, 0, 0]], bool)
    arrays = TARGETS, TARGETS != PAD, TARGETS, hidden
    told = np.array([[3, 4, 4, 3, 2], [3, 4, 2, 2, 2]])  # right: 1, 1, 0, 0, 1 and 1, 0, 1; hidden: the second of each
    model = SimpleNamespace(
        init=lambda key, ids, mask, target, train: {"params": jnp.zeros(())},
        apply=lambda variables, ids, mask, target, train: 9.0 * jnp.eye(7)[told],
    )
    task = bart.make_task(model, arrays, arrays, batch_size=2, padding=PAD)
    scores = task.eval_fn(jnp.zeros(()), task.eval_batches[0])
    assert scores["accuracy"] == pytest.approx(5 / 8)
    assert scores["masked_accuracy"] == pytest.approx(1 / 2)
    assert set(bart.make_task(model, arrays[:3], arrays[:3], batch_size=2, padding=PAD).eval_fn((), arrays[:3])) == {
        "loss",
        "accuracy",
    }

    plan = SimpleNamespace(task=task, config={"model": {"vocabulary": 7}})
    texts = {"text": ["oil falls", "oil"], "noisy": ["[MASK] falls", "oil [MASK]"]}
    shares = bart.measure_baselines(plan, TARGETS, texts, PAD)
    assert shares == pytest.approx(
        # the bigram writes 3 4 3 4 3 and 3 4 2
        {"accuracy": 6 / 8, "masked_accuracy": 1 / 2, "masked_share": 2 / 8, "rouge_l": (2 / 3 + 1) / 2}
    )


@pytest.mark.slow
def test_the_plan_is_built_and_trained_for_a_step(tmp_path, capsys):
    folder = tmp_path / "ag_news_csv"
    folder.mkdir()
    texts = some_articles(bart.VALIDATION + 100)
    articles = [(1, title, text) for title, text in zip(texts, reversed(texts), strict=True)]
    for name, rows in {"train.csv": [(1, "", texts[0])], "test.csv": articles}.items():
        with open(folder / name, "w", newline="") as file:
            csv.writer(file).writerows(rows)
    bart.main(["--only", "denoising", "--one-step", "--data", str(tmp_path)])
    assert "bart/denoising: " in capsys.readouterr().err

"""The paper's three experiments: models against references, masks, ROUGE-L, and a whole small run that resumes."""

import dataclasses
import functools
import itertools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax
from marks import slow

import lrjax
from experiments.paper import budgets, run
from experiments.paper.models.bart import Bart, decode_greedily, score_tokens
from experiments.paper.models.bert import Classifier, Encoder, bert_from_safetensors, encoder_of, with_weights
from experiments.paper.models.resnet import ResNet18, check_image_size
from experiments.paper.models.rouge import longest_common_subsequence, rouge_l
from experiments.paper.store import Store, from_document
from lrjax.demos import digits

WIDTH, HEADS, HIDDEN, LAYERS, WORDS, LENGTH = 8, 2, 12, 2, 11, 6


def draw(model, *inputs, scale: float = 0.5):
    """Random variables of a model's shapes: its own initialisation takes longer to compile than all that is tested."""
    shapes = jax.eval_shape(lambda key: model.init(key, *inputs, train=False), jax.random.key(0))
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: np.float32(leaf.ndim == 1) + scale * rng.standard_normal(leaf.shape, np.float32), shapes
    )


def published_bert() -> dict[str, np.ndarray]:
    """Random weights under the names that published BERT weights have."""
    rng = np.random.default_rng(0)
    shapes = {
        "embeddings.word_embeddings.weight": (WORDS, WIDTH),
        "embeddings.position_embeddings.weight": (LENGTH, WIDTH),
        "embeddings.token_type_embeddings.weight": (2, WIDTH),
        "pooler.dense.weight": (WIDTH, WIDTH),
        "pooler.dense.bias": (WIDTH,),
    }
    norms = ["embeddings.LayerNorm"]
    for layer in range(LAYERS):
        prefix = f"encoder.layer.{layer}"
        dense = {f"attention.self.{part}": (WIDTH, WIDTH) for part in ("query", "key", "value")}
        dense |= {"attention.output.dense": (WIDTH, WIDTH)}
        dense |= {"intermediate.dense": (HIDDEN, WIDTH), "output.dense": (WIDTH, HIDDEN)}
        for name, shape in dense.items():
            shapes |= {f"{prefix}.{name}.weight": shape, f"{prefix}.{name}.bias": shape[:1]}
        norms += [f"{prefix}.attention.output.LayerNorm", f"{prefix}.output.LayerNorm"]
    shapes |= {f"{name}.{part}": (WIDTH,) for name in norms for part in ("weight", "bias")}
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def plain_bert(tensors: dict[str, np.ndarray], ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Hidden states in NumPy, one text and one head at a time, straight from the published names."""

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
        return x * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]

    def dense(x: np.ndarray, name: str) -> np.ndarray:
        return x @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]

    rows = []
    for tokens, seen in zip(ids, mask, strict=True):
        x = tensors["embeddings.word_embeddings.weight"][tokens]
        x = x + tensors["embeddings.position_embeddings.weight"][: len(tokens)]
        x = norm(x + tensors["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        for layer in range(LAYERS):
            prefix, heads, size = f"encoder.layer.{layer}", [], WIDTH // HEADS
            q, k, v = (dense(x, f"{prefix}.attention.self.{part}") for part in ("query", "key", "value"))
            for head in range(HEADS):
                part = slice(head * size, (head + 1) * size)
                scores = np.where(seen, q[:, part] @ k[:, part].T / math.sqrt(size), -np.inf)
                weights = np.exp(scores - scores.max(-1, keepdims=True))
                heads.append(weights / weights.sum(-1, keepdims=True) @ v[:, part])
            attended = dense(np.concatenate(heads, axis=-1), f"{prefix}.attention.output.dense")
            x = norm(x + attended, f"{prefix}.attention.output.LayerNorm")
            inner = dense(x, f"{prefix}.intermediate.dense")
            inner = inner * 0.5 * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))
            x = norm(x + dense(inner, f"{prefix}.output.dense"), f"{prefix}.output.LayerNorm")
        rows.append(x)
    return np.stack(rows)


def some_texts() -> tuple[np.ndarray, np.ndarray]:
    ids = np.random.default_rng(1).integers(0, WORDS, (3, LENGTH)).astype(np.int32)
    return ids, np.arange(LENGTH) < np.array([[6], [4], [1]])


def test_published_weights_give_the_hidden_states_of_a_plain_forward_pass():
    tensors = published_bert()
    weights, (ids, mask) = bert_from_safetensors(tensors), some_texts()
    encoder = encoder_of(weights, HEADS)
    assert (encoder.layers, encoder.hidden, encoder.positions) == (LAYERS, HIDDEN, LENGTH)
    ours = jax.jit(functools.partial(encoder.apply, train=False))({"params": weights["encoder"]}, ids, mask)
    ours = np.asarray(ours)
    np.testing.assert_allclose(ours[mask], plain_bert(tensors, ids, mask)[mask], rtol=2e-4, atol=2e-5)


def test_old_names_and_those_of_whole_models_are_read_too_and_a_missing_tensor_is_named():
    tensors = published_bert()
    old = {f"bert.{name}".replace("LayerNorm.weight", "LayerNorm.gamma"): array for name, array in tensors.items()}
    old = {name.replace("LayerNorm.bias", "LayerNorm.beta"): array for name, array in old.items()}
    jax.tree.map(np.testing.assert_array_equal, bert_from_safetensors(old), bert_from_safetensors(tensors))
    del tensors["encoder.layer.1.output.dense.bias"]
    with pytest.raises(ValueError, match=r"must hold 'encoder\.layer\.1\.output\.dense\.bias'"):
        bert_from_safetensors(tensors)


def test_the_head_is_fresh_and_weights_of_another_model_are_refused():
    weights = bert_from_safetensors(published_bert())
    model = Classifier(encoder_of(weights, HEADS), 4)
    params = draw(model, *some_texts())["params"]
    merged = with_weights(params, weights)
    np.testing.assert_array_equal(merged["head"]["kernel"], params["head"]["kernel"])
    np.testing.assert_array_equal(merged["encoder"]["words"]["embedding"], weights["encoder"]["words"]["embedding"])
    np.testing.assert_array_equal(merged["pooler"]["kernel"], weights["pooler"]["kernel"])
    smaller = {"encoder": {name: part for name, part in weights["encoder"].items() if name != "layer_1"}}
    with pytest.raises(ValueError, match="must have the shapes of the model"):
        with_weights(params, smaller)


@pytest.mark.parametrize("pooling", [slow("pooler"), "first", slow("mean")])
def test_padding_does_not_change_a_class(pooling):
    ids, mask = some_texts()
    model = Classifier(Encoder(WORDS, WIDTH, 1, HEADS, HIDDEN, positions=LENGTH), 4, pooling)
    apply = jax.jit(functools.partial(model.apply, draw(model, ids, mask), train=False))
    logits = apply(ids, mask)
    np.testing.assert_array_equal(logits, apply(np.where(mask, ids, (ids + 1) % WORDS), mask))
    np.testing.assert_allclose(logits[1:2], apply(ids[1:2, :4], mask[1:2, :4]), rtol=1e-4, atol=1e-5)
    changed = apply(np.where(np.arange(LENGTH) == 0, (ids + 1) % WORDS, ids), mask)
    assert np.abs(np.asarray(changed - logits)).max() > 1e-4  # a token of the text does


def test_dropout_needs_training_and_follows_its_key():
    ids, mask = some_texts()
    model = Classifier(Encoder(WORDS, WIDTH, 0, HEADS, HIDDEN, positions=LENGTH, dropout=0.5), 4, "mean")
    variables = draw(model, ids, mask)
    apply = jax.jit(lambda key: model.apply(variables, ids, mask, train=True, rngs={"dropout": key}))
    one, same, other = (apply(jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.fixture(scope="module")
def bart():
    ids, mask = some_texts()
    model = Bart(WORDS, WIDTH, 2, HEADS, HIDDEN, positions=LENGTH)
    return model, draw(model, ids, mask, ids, scale=0.25)["params"]


def test_later_tokens_and_padding_of_the_source_change_nothing(bart):
    model, params = bart
    ids, mask = some_texts()
    apply = jax.jit(lambda ids, mask, target: model.apply({"params": params}, ids, mask, target, train=False))
    logits = apply(ids, mask, ids)
    for place in range(1, LENGTH):
        later = apply(ids, mask, np.where(np.arange(LENGTH) >= place, (ids + 1) % WORDS, ids))
        np.testing.assert_array_equal(logits[:, :place], later[:, :place])
        assert np.abs(np.asarray(logits - later)[:, place]).max() > 1e-3
    np.testing.assert_array_equal(logits, apply(np.where(mask, ids, 0), mask, ids))
    assert np.abs(np.asarray(logits - apply(np.where(mask, (ids + 1) % WORDS, ids), mask, ids))).max() > 1e-3


def test_token_scores_leave_padding_out():
    targets = np.array([[3, 4, 0, 0], [5, 0, 0, 0]])
    logits = np.random.default_rng(0).standard_normal((2, 4, WORDS)).astype(np.float32)
    logits[0, 0, 3] = 9.0  # one of the three tokens is right
    logits[0, 1, 1] = logits[1, 0, 2] = 9.0
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    score = score_tokens(jnp.asarray(logits), jnp.asarray(targets), padding=0)
    np.testing.assert_allclose(score.loss, -(log_p[0, 0, 3] + log_p[0, 1, 4] + log_p[1, 0, 5]) / 3, rtol=1e-5)
    np.testing.assert_allclose(score.accuracy, 1 / 3, rtol=1e-6)


@pytest.mark.slow
def test_greedy_decoding_is_the_most_likely_token_again_and_again(bart):
    model, params = bart
    ids, mask = some_texts()
    apply = jax.jit(lambda target: model.apply({"params": params}, ids, mask, target, train=False))
    written = np.zeros((len(ids), LENGTH), np.int32)
    written[:, 0] = 1
    for place in range(LENGTH - 1):
        written[:, place + 1] = np.asarray(apply(written))[:, place].argmax(-1)
    ends = {int(token) for token in written[:, 1:].ravel()}
    options = {"length": LENGTH - 1, "start": 1, "padding": -1}
    decode = jax.jit(lambda end: decode_greedily(model, params, ids, mask, end=end, **options))
    for end in (*ends, WORDS + 1):  # one that no text has: none ends
        expected = written[:, 1:].copy()
        for row in expected:
            row[np.flatnonzero(row == end)[:1].sum() + 1 if (row == end).any() else len(row) :] = -1
        np.testing.assert_array_equal(decode(end), expected)


@pytest.mark.parametrize(
    ("written", "reference", "score"),
    [
        ("police killed the gunman", "police kill the gunman", 3 / 4),  # Lin 2004, section 3.1
        ("the gunman kill police", "police kill the gunman", 2 / 4),
        ("gunman the killed police", "police kill the gunman", 1 / 4),
        ("The U.S. wins!", "the u s wins", 1.0),
        ("oil", "oil prices rise again", 2 * 1 * 0.25 / 1.25),
        ("", "oil", 0.0),
        ("...", "oil", 0.0),
        ("gold", "oil", 0.0),
    ],
)
def test_rouge_l(written, reference, score):
    assert rouge_l(written, reference) == pytest.approx(score, rel=1e-12)
    assert rouge_l(reference, written) == pytest.approx(score, rel=1e-12)


def test_longest_common_subsequence_is_that_of_trying_all():
    rng = np.random.default_rng(0)
    for _ in range(40):
        one, other = ("".join(rng.choice(list("abc"), rng.integers(0, 7))) for _ in range(2))
        parts = {"".join(c) for size in range(len(one) + 1) for c in itertools.combinations(one, size)}
        found = [part for part in parts if all(letter in letters for letters in [iter(other)] for letter in part)]
        assert longest_common_subsequence(one, other) == max(map(len, found))


@pytest.mark.slow
def test_resnet_is_its_convolutions_and_moves_its_statistics():
    model = ResNet18(classes=3, width=2)
    images = np.random.default_rng(0).standard_normal((2, 128, 128, 3), np.float32)
    variables = draw(model, images, scale=0.2)
    leaves = jax.tree_util.tree_leaves_with_path(variables["params"])
    assert sum("Conv" in str(path) for path, _ in leaves) == 20  # 17, and three on the shortcuts

    def normalised(x, name, params):
        mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
        return (x - mean) / jnp.sqrt(variance + 1e-5) * params[name]["scale"] + params[name]["bias"]

    def plain(params, x):
        names = (f"_{index}" for index in range(20))

        def convolve(x, stride):
            name = next(names)
            kernel = params[f"Conv{name}"]["kernel"]
            pad = [(kernel.shape[0] // 2,) * 2] * 2
            layout = ("NHWC", "HWIO", "NHWC")
            x = lax.conv_general_dilated(x, kernel, (stride, stride), pad, dimension_numbers=layout)
            return normalised(x, f"BatchNorm{name}", params)

        x = jnp.maximum(convolve(x, 2), 0)
        x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), ((0, 0), (1, 1), (1, 1), (0, 0)))
        for stage, first in itertools.product(range(4), (True, False)):
            shrinks = stage > 0 and first
            y = convolve(jnp.maximum(convolve(x, 2 if shrinks else 1), 0), 1)
            x = jnp.maximum(y + (convolve(x, 2) if shrinks else x), 0)
        return x.mean((1, 2)) @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"]

    train = jax.jit(functools.partial(model.apply, train=True, mutable=["batch_stats"]))
    logits, moved = train(variables, images)
    np.testing.assert_allclose(logits, jax.jit(plain)(variables["params"], images), rtol=1e-3, atol=1e-4)
    before, after = (jax.tree.leaves(part["batch_stats"]) for part in (variables, moved))
    assert all(not np.array_equal(one, other) for one, other in zip(before, after, strict=True))


@pytest.mark.parametrize("size", [64, 96, 127])
def test_images_whose_last_stage_is_smaller_than_two_kernels_are_refused(size):
    check_image_size(128)
    with pytest.raises(ValueError, match=f"must be at least 128 pixels, got {size}"):
        check_image_size(size)


def adam(lr):
    return optax.adam(lr)


@pytest.fixture
def plan():
    """A small run on handwritten digits."""
    task = digits()

    def eval_fn(params, batch):
        loss = task.loss_fn(params, batch, jax.random.key(0))
        return {"loss": loss, "accuracy": jnp.exp(-loss)}

    return run.Plan(
        name="digits",
        task=dataclasses.replace(task, eval_fn=eval_fn, eval_batches=task.eval_batches[:2]),
        make_optimizer=adam,
        num_steps=12,
        exponents=(-3.0, 0.0),
        num_seeds=2,
        finder_seeds=1,
        finder_batches=1,
        eval_every=6,
        executor="map",
        range_steps=12,
        range_seeds=1,
        config={"model": "of the demonstration"},
    )


@pytest.mark.slow
def test_a_run_has_every_part_and_another_one_does_none_of_them_again(plan, tmp_path, monkeypatch, capsys):
    path = tmp_path / "paper_digits.json"
    run.run_plan(plan, Store(path, {"experiment": "digits"}), tmp_path / "work")
    results = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not strict JSON"))
    parts, summary = (results["plans"]["digits"][name] for name in ("parts", "summary"))
    assert list(parts) == ["finder_paper", "finder_default", "range_test", "grid", "picks"]
    assert "under 1 % from T = " in capsys.readouterr().err
    assert not (tmp_path / "work").exists()

    paper = from_document(lrjax.LRResult, parts["finder_paper"]["result"])
    assert paper.curve.horizons.tolist() == [5, 10, 20]
    assert paper.curve.losses.shape[1] == 1
    assert parts["finder_paper"]["trial_steps"] == 20 * paper.num_trials
    assert parts["finder_paper"]["picks"]["midpoint"] == paper.selections["midpoint"]
    default = from_document(lrjax.LRResult, parts["finder_default"]["result"])
    assert len(default.window.log10_lr) > len(paper.window.log10_lr)  # smoothed, not the trials themselves
    assert len(parts["range_test"]["tests"]) == 1
    assert len(from_document(lrjax.RangeTest, parts["range_test"]["tests"][0]["result"]).losses) <= 12

    grid = parts["grid"]
    np.testing.assert_allclose(grid["lrs"], np.geomspace(1e-3, 1, 7), rtol=1e-12)
    assert grid["steps"] == [6, 12]
    assert np.shape(grid["metrics"]["accuracy"]) == (7, 2, 2)
    assert grid["trial_steps"] == 7 * 2 * 12
    share = summary["cost"]["finder_paper"]
    assert share["share_of_grid_trial_steps"] == parts["finder_paper"]["trial_steps"] / (7 * 2 * 12)
    assert 0.99 < share["trial_steps"] / (0.01 * 14 * share["num_steps_for_one_percent"]) <= 1.0
    assert len(summary["at_picks"]) == 10
    best = np.asarray(grid["metrics"]["accuracy"], float)[:, :, -1].mean(1).max()
    assert summary["best_on_grid"]["mean"] == pytest.approx(best, rel=1e-12)

    lr = parts["finder_paper"]["picks"]["midpoint"]  # its lane is what a plain loop gives
    params, _ = run.train(plan.task, adam, lr, num_steps=plan.num_steps)
    losses = [plan.task.eval_fn(params, batch)["loss"] for batch in plan.task.eval_batches]
    lane = parts["picks"]["metrics"]["loss"][parts["picks"]["lrs"].index(lr)][0]
    np.testing.assert_allclose(np.mean(losses), lane[-1], rtol=1e-4)

    def never(*arguments, **options):
        pytest.fail("a finished part was made again")

    for name in ("find_lr", "sweep", "range_test"):
        monkeypatch.setattr(run.lrjax, name, never)
    run.run_plan(plan, Store(path, {"experiment": "another day"}), tmp_path / "work")
    assert json.loads(path.read_text()) == results
    with pytest.raises(ValueError, match="with other settings: num_steps was 12, now 24"):
        run.run_plan(dataclasses.replace(plan, num_steps=24), Store(path, {}), tmp_path / "work")


def test_a_cut_off_file_is_refused_and_numbers_that_are_not_finite_are_words(tmp_path):
    path = tmp_path / "results.json"
    store = Store(path, {})
    store.begin("a", {"lr": math.inf})
    store.part("a", "grid", lambda: {"losses": np.array([1.0, np.nan, -np.inf]), "text": "[\n 1,\n 2 ]"})
    part = json.loads(path.read_text())["plans"]["a"]["parts"]["grid"]
    assert part == {"losses": [1.0, "nan", "-inf"], "text": "[\n 1,\n 2 ]"}
    assert '"losses": [1.0, "nan", "-inf"]' in path.read_text()
    path.write_text(path.read_text()[:-20])
    with pytest.raises(ValueError, match="must be a file of results"):
        Store(path, {})


@pytest.mark.slow
def test_a_budgets_pick_is_trained_on_the_grids_seeds_and_set_beside_its_best(plan, tmp_path):
    plan = dataclasses.replace(plan, num_steps=24, eval_every=24)
    part = budgets.spend(plan, 2.0, tmp_path / "work")
    assert part["cost"] == part["trial_steps"] / 24 <= 17 * 5 / 24  # the shortest sweep is more than two trainings
    params, _ = run.train(plan.task, adam, part["lr"], num_steps=24)
    losses = [plan.task.eval_fn(params, batch)["loss"] for batch in plan.task.eval_batches]
    np.testing.assert_allclose(np.mean(losses), part["trained"]["metrics"]["loss"][0][0][-1], rtol=1e-4)

    store = Store(tmp_path / "paper_budgets.json", {})
    store.begin("bart_denoising", plan.describe())
    store.part("bart_denoising", "2", lambda: part)
    best = {"lr": 0.1, "accuracy": [0.5, 0.7], "mean": 0.6}
    midpoint = {"search": "finder_default", "name": "midpoint", "lr": 0.01, "accuracy": [0.4, 0.6], "mean": 0.5}
    summary = {"best_on_grid": best, "at_picks": [midpoint], "cost": {"finder_default": {"trial_steps": 12}}}
    (tmp_path / "paper_bart.json").write_text(json.dumps({"plans": {"denoising": {"summary": summary}}}))
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in budgets.markdown(tmp_path).splitlines()[2:]]
    assert [row[1] for row in rows] == ["grid search", "0", "2"]
    assert rows[1][2:] == ["0.50", "1.0e-02", "50.0%", "10.0 ± 0.0"]
    accuracy = np.asarray(part["trained"]["metrics"]["accuracy"])[0, :, -1]
    assert float(rows[2][5].split(" ")[0]) == pytest.approx(100 * (0.6 - accuracy.mean()), abs=0.06)

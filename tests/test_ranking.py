"""Searches that rank by a metric: where the loss over-fits, that of the best score lies a decade higher."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import check_message

import lrjax

KEY = jax.random.key(0)


def evaluate(w, batch):
    """The loss is lowest on the way to the optimum of training, at 0.3; the score goes on rising, even to infinity."""
    score = jnp.tanh(3.0 * jnp.nan_to_num(w, nan=9.0))
    return {"loss": (w - 0.3) ** 2 + 1.0, "score": score, "error": 1.0 - score, "weight": jnp.ones(())}


def task(eval_fn=evaluate, **options):
    return lrjax.Task(
        init=jnp.zeros(()),
        loss_fn=lambda w, batch, key: 0.5 * (w - 1.0) ** 2 + 0.0 * jnp.sum(batch),
        sample_batches=lambda key, num_steps: jnp.zeros((num_steps, 1)),
        batches_between=lambda key, start, stop: jnp.zeros((stop - start, 1)),
        eval_batches=[jnp.zeros(1)],
        eval_fn=eval_fn,
        **options,
    )


TASK = task(baseline_loss=2.0)
STRATEGIES = {
    "step sampling": {"strategy": lrjax.StepSampling(num_seeds=1, rule=lrjax.lowest_loss)},
    "budget": {"strategy": lrjax.Budget(trainings=2.0), "train_steps": 100},
}


def find(strategy="step sampling", of=TASK, **options):
    return lrjax.find_lr(of, optax.sgd, key=KEY, executor="map", **STRATEGIES[strategy], **options)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_lr_of_the_best_score_lies_above_that_of_the_lowest_loss(strategy):
    by_loss, by_score = find(strategy), find(strategy, metric="score", mode="max")
    assert by_score.lr > 4 * by_loss.lr
    assert by_score.lr < 2.0, "above 2 gradient descent diverges, where the score is 1 and the loss infinite"
    assert (by_loss.metric, by_loss.mode) == ("loss", "min")
    assert (by_score.metric, by_score.mode) == ("score", "max")
    assert find(strategy, metric="error", mode="min").lr == pytest.approx(by_score.lr)
    assert find(strategy, metric="loss", mode="min").lr == by_loss.lr


def test_the_curve_is_that_of_the_metric_and_the_loss_says_what_diverged():
    strategy = lrjax.StepSampling(num_seeds=1, max_lr=1e3)
    curve = lrjax.find_lr(TASK, optax.sgd, strategy, key=KEY, executor="map", metric="score", mode="max").curve
    lost = np.isinf(curve.final[0])
    assert lost.any()
    assert np.asarray(curve.lrs)[lost].min() > 1e1
    np.testing.assert_array_equal(-curve.final[0, ~lost], curve.metrics["score"][-1, 0, ~lost])


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_sentences_pictures_and_files_name_the_metric(strategy, tmp_path):
    result = find(strategy, metric="score", mode="max")
    assert "Ranked by score: a high one is good" in result.summary()
    assert "-score from 0 to -" in result.summary().replace("-0 ", "0 ")
    assert " loss" not in result.summary()
    assert "unknown_start" not in [one.name for one in result.warnings]
    axes = result.plot()
    assert axes.get_ylabel().startswith("-score after ")
    assert " loss" not in " ".join(text.get_text() for text in axes.get_legend().get_texts())
    result.to_json(tmp_path / "result.json")
    again = lrjax.LRResult.from_json(tmp_path / "result.json")
    assert (again.metric, again.mode, again.summary()) == ("score", "max", result.summary())


def undefined_below(level):
    """An evaluation whose score is not a number where the prediction has not gone far enough."""

    def evaluate_some(w, batch):
        metrics = evaluate(w, batch)
        return metrics | {"score": jnp.where((w > 0) & (w < level), jnp.nan, metrics["score"])}

    return evaluate_some


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_metric_that_is_not_a_number_is_no_divergence(strategy):
    whole = find(strategy, metric="score", mode="max")
    result = find(strategy, task(undefined_below(1e-3), baseline_loss=2.0), metric="score", mode="max")
    assert result.lr == pytest.approx(whole.lr, rel=0.3)
    curve, undefined = result.stages[0].curve, result.stages[0].losses == 0.0  # as of the untouched parameters
    assert undefined.sum() >= 2
    assert (np.asarray(curve.diverged_at)[undefined] == -1).all()
    assert np.isinf(curve.final).sum() == np.isinf(whole.stages[0].curve.final).sum()
    assert "it is not a number though the loss is finite" in result.summary()
    assert "not a number" not in whole.summary()


def test_a_metric_that_is_not_a_number_before_training_is_told():
    check_message(
        lambda: find(of=task(lambda w, batch: evaluate(w, batch) | {"score": jnp.nan * w}), metric="score", mode="max"),
        ValueError,
        ["find_lr(metric=...)", "must have a value there"],
    )


def test_warnings_name_the_metric():
    strategy = lrjax.StepSampling(num_seeds=1, max_lr=1e-2, num_steps=5)
    found = lrjax.find_lr(TASK, optax.sgd, strategy, key=KEY, executor="map", metric="error", mode="min")
    said = {one.name: one.message for one in found.warnings}
    assert said["edge_high"].startswith("At the highest lr tried, 1.0e-02, error is still within")
    assert "The best error, " in said["small_progress"]


def test_a_file_of_another_mode_is_refused_and_any_name_can_be_shown(tmp_path):
    result, path = find(metric="score", mode="max"), tmp_path / "result.json"
    odd = dataclasses.replace(result, metric=r"top\1 $5")
    assert odd.in_terms("The validation loss fell.") == r"-top\1 $5 fell."
    assert odd.plot().figure is not None
    for changes in ({"metric": "loss"}, {"mode": "best"}):
        dataclasses.replace(result, **changes).to_json(path)
        with pytest.raises(ValueError, match="mode"):
            lrjax.LRResult.from_json(path)


def test_a_preview_takes_a_metric():
    plan = lrjax.preview(lrjax.find_lr, TASK, optax.sgd, key=KEY, executor="map", metric="score", mode="max")
    assert plan.updates == lrjax.preview(lrjax.find_lr, TASK, optax.sgd, key=KEY, executor="map").updates


def test_a_second_search_compiles_nothing():
    find(metric="score", mode="max")
    assert find(metric="score", mode="max").execution.compile_seconds < 0.01


@pytest.mark.parametrize(
    ("error", "parts", "options"),
    [
        (ValueError, ["metric", "loss, score, error", "'accuracy'"], {"metric": "accuracy", "mode": "max"}),
        (ValueError, ["metric", "loss, score, error", "'weight'"], {"metric": "weight", "mode": "max"}),
        (ValueError, ["mode", "which end", "'score'"], {"metric": "score"}),
        (ValueError, ["mode", '"min" for the metric "loss"'], {"mode": "max"}),
        (TypeError, ["metric", "name", "1"], {"metric": 1, "mode": "max"}),
        (ValueError, ["eval_fn", "loss alone", "'score'"], {"metric": "score", "mode": "max", "of": task(None)}),
    ],
)
def test_a_wrong_metric_is_told(error, parts, options):
    check_message(lambda: find(**options), error, parts)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("After 5 updates the losses scatter", "After 5 updates the values of -aux-loss scatter"),
        ("The validation loss is lost", "-aux-loss is lost"),
        ("look at loss_fn", "look at loss_fn"),
    ],
)
def test_a_metric_with_a_loss_in_its_name_is_named_once(text, said):
    assert dataclasses.replace(find(), metric="aux-loss", mode="max").in_terms(text) == said

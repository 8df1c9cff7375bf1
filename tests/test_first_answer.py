"""The first answer: how much is compiled for it, and that nothing is compiled again for what is equal."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from processes import finish, start, tell

import lrjax

README = (Path(__file__).parents[1] / "README.md").read_text()
(EXAMPLE,) = [block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "def loss_fn" in block]


def count() -> dict[str, int]:
    """Compilations by XLA of the README's example in a new process, and of equal and almost equal calls after it."""
    compiled: list[float] = []

    def listen(event: str, duration_secs: float, **_: str | int) -> None:
        if event.endswith("backend_compile_duration"):
            compiled.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(listen)
    names: dict = {}
    exec(EXAMPLE, names)
    task, key, counts = names["task"], jax.random.key(0), {}

    def since(name: str) -> None:
        counts[name] = len(compiled)
        del compiled[:]

    since("README")
    lrjax.find_lr(task, optax.adam, key=key, train_steps=2_000)
    since("second call")
    for name in ("lambda", "equal lambda"):
        lrjax.find_lr(task, lambda lr: optax.adamw(lr, weight_decay=0.1), key=key)
        since(name)
    for name, steps in (("search", 200), ("search of other train_steps", 201)):
        lrjax.find_lr(task, lambda lr: optax.adamw(lr, weight_decay=0.1), key=key, train_steps=steps)
        since(name)
    for name, steps in (("sweep", 40), ("sweep of other train_steps", 50)):
        lrjax.sweep(task, optax.adam, {"learning_rate": [0.01, 0.1]}, key=key, train_steps=steps)
        since(name)
    return counts


def test_the_example_compiles_little_and_equal_calls_nothing():
    (counts,) = finish(start(__file__, 1, "count"))
    assert counts["README"] <= 16
    again = ("second call", "equal lambda", "search of other train_steps", "sweep of other train_steps")
    assert {name: counts[name] for name in again} == dict.fromkeys(again, 0)


def test_a_function_that_calls_the_host_is_not_taken_for_another_one():
    def factory(values: list[float]):
        def make(lr):
            jax.debug.callback(lambda lr: values.append(float(lr)), lr)
            return optax.sgd(lr)

        return make

    task = lrjax.demos.digits()
    one, two = [], []
    for values in (one, two):
        lrjax.sample_losses(task, factory(values), [0.01, 0.1], key=jax.random.key(0), num_steps=2, executor="map")
    jax.effects_barrier()
    assert set(one) == set(two) == {np.float32(0.01), np.float32(0.1)}


def closed_over() -> list[list[float]]:
    """Losses for a target that the loss closes over, and for twice the target."""

    def losses(target: jax.Array) -> list[float]:
        task = lrjax.Task(
            init=jnp.zeros(40),
            loss_fn=lambda params, batch, key: jnp.mean((params - target) ** 2) + 0.0 * batch.sum(),
            sample_batches=lambda key, num_steps: jnp.ones((num_steps, 2)),
            eval_batches=[jnp.ones(2)],
        )
        return lrjax.sample_losses(task, optax.sgd, [0.1, 1.0], key=jax.random.key(0), num_steps=3).final[0].tolist()

    return [losses(jnp.arange(40.0)), losses(2.0 * jnp.arange(40.0))]


@pytest.mark.parametrize("lifted", ["0", "1"])
def test_functions_that_close_over_other_arrays_are_not_taken_for_one_another(lifted, monkeypatch):
    """With 1 JAX takes such arrays out of a program's text, so that other programs have equal texts."""
    monkeypatch.setenv("JAX_USE_SIMPLIFIED_JAXPR_CONSTANTS", lifted)
    ((once, twice),) = finish(start(__file__, 1, "closed_over"))
    np.testing.assert_allclose(twice, 4 * np.asarray(once), rtol=1e-5)


if __name__ == "__main__":
    tell({"count": count, "closed_over": closed_over})

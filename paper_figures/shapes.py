"""One small run for every shape that a curve can have: the gallery of docs/curves.md.

    python -m paper_figures.shapes                       # seconds; draws docs/images/shapes/ and fills in the page

Most are gradient descent on a quadratic, where what happens can be worked out on paper. A test asserts that each run
gives the warning that the page shows.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import lrjax
from experiments.blocks import fill
from lrjax.demos import digits
from lrjax.plots import plot_lr
from paper_figures.style import new_figure

DOCS = Path(__file__).resolve().parents[1] / "docs"
IMAGES, PAGE = DOCS / "images/shapes", DOCS / "curves.md"
KEY = jax.random.key(0)


class Shape(NamedTuple):
    """A run, and the first warning that it gives; None for none."""

    warning: lrjax.WarningName | None
    run: Callable[[], lrjax.LRResult]


RUN = ("key", "executor", "throw")
"""Options of `find_lr` itself; the others are its strategy's."""


def find(task: lrjax.Task, **options: Any) -> lrjax.LRResult:
    """A search with one seed, plain gradient descent, nothing raised."""
    good: dict[str, Any] = {"key": KEY, "num_seeds": 1, "executor": "vmap", "throw": False}
    optimizer, fields = options.pop("optimizer", optax.sgd), good | options
    run = {name: fields.pop(name) for name in RUN if name in fields}
    return lrjax.find_lr(task, optimizer, lrjax.StepSampling(**fields), **run)


def task_of(start: Any, loss: Callable[..., Any], batch: Any = (0.0,), **options: Any) -> lrjax.Task:
    """A task whose batches are all the same, so that the curve has a closed form."""
    batch = jnp.asarray(batch, jnp.float32)
    return lrjax.Task(
        init=jnp.asarray(start, jnp.float32),
        loss_fn=loss,
        sample_batches=lambda key, num_steps: jnp.broadcast_to(batch, (num_steps, *batch.shape)),
        eval_batches=[batch],
        **options,
    )


def _bowl(w: jax.Array, curvatures: jax.Array, key: jax.Array) -> jax.Array:
    return jnp.sum(curvatures * w**2) / 2


def bowl(curvatures: tuple[float, float], start: tuple[float, float] = (1.0, 1.0)) -> lrjax.Task:
    """A quadratic: descent multiplies coordinate i by 1 - lr c_i at every step."""
    return task_of(start, _bowl, curvatures)


def _phase(w: jax.Array, batch: Any, key: jax.Array) -> jax.Array:
    return 1.0 - jnp.cos(w - 2.0)


def _direction(w: jax.Array, batch: Any, key: jax.Array) -> jax.Array:
    return 1.0 - w[1] / jnp.linalg.norm(w)


def _saddle(w: jax.Array, batch: Any, key: jax.Array) -> jax.Array:
    return (jnp.prod(w) - 1.0) ** 2


def _slope(w: jax.Array, batch: Any, key: jax.Array) -> jax.Array:
    return (w - 1.0) ** 2 / 2


def _simulated(w: jax.Array, batch: Any) -> jax.Array:
    """The same loss, measured by a chaotic simulation that starts at the parameter."""
    x = jax.lax.fori_loop(0, 60, lambda _, x: 3.9 * x * (1.0 - x), 0.3 + 0.01 * w)
    return (w - 1.0) ** 2 / 2 + 0.15 * x


def _opposite(w: jax.Array, batch: Any) -> jax.Array:
    return (w + 1.0) ** 2 / 2


SHAPES: dict[str, Shape] = {
    "good": Shape(None, lambda: find(digits(), optimizer=optax.adam)),
    "tiny_effect": Shape(lrjax.WarningName.tiny_effect, lambda: find(bowl((1.0, 1e-5), (1.0, 3000.0)))),
    "no_plateau": Shape(lrjax.WarningName.no_plateau, lambda: find(bowl((1.0, 0.1)), min_lr=0.03, extend_range=False)),
    "edge_high": Shape(lrjax.WarningName.edge_high, lambda: find(task_of((1.0, 0.0), _direction))),
    "narrow_window": Shape(lrjax.WarningName.narrow_window, lambda: find(task_of((0.1, 0.1, 0.1), _saddle))),
    "multi_basin": Shape(lrjax.WarningName.multi_basin, lambda: find(task_of(0.0, _phase), num_steps=1)),
    "noisy": Shape(lrjax.WarningName.noisy, lambda: find(task_of(0.0, _slope, eval_fn=_simulated))),
    "all_diverged": Shape(lrjax.WarningName.all_diverged, lambda: find(bowl((1e18, 1e18)))),
    "no_learning": Shape(lrjax.WarningName.no_learning, lambda: find(task_of(0.0, _slope, eval_fn=_opposite))),
}


def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    results = {name: shape.run() for name, shape in SHAPES.items()}
    for name, result in results.items():
        figure, ax = new_figure(6.6, 3.9)
        plot_lr(result, ax=ax)
        figure.savefig(IMAGES / f"{name}.png", dpi=110)
    PAGE.write_text(fill(PAGE.read_text(), {name: partial(block, name, found) for name, found in results.items()}))


def block(name: str, result: lrjax.LRResult) -> str:
    """The picture and the warnings of a run, as the page shows them."""
    picture = f"![Curve, {name}](images/shapes/{name}.png)"
    said = [f"> **{warning.name}**: {warning.message} {warning.remedy}" for warning in result.warnings]
    return "\n\n".join([picture, *(said or ["No warning."])])


if __name__ == "__main__":
    main()

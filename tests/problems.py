"""Analytic problems: tasks whose step-sampled losses have a closed form."""

import jax
import jax.numpy as jnp
import numpy as np

import lrjax

CURVATURES = np.array([1.0, 0.25, 0.04])
START = np.array([1.0, -2.0, 3.0])


def quadratic(offset: float = 0.0, scale: float = 1.0) -> lrjax.Task:
    """f(w) = scale * sum(c * w**2) / 2 + offset: gradient descent multiplies coordinate i by 1 - lr * scale * c_i."""
    curvatures = jnp.asarray(CURVATURES, jnp.float32)
    return lrjax.Task(
        init=jnp.asarray(START, jnp.float32),
        loss_fn=lambda w, batch, key: scale * jnp.sum(curvatures * w**2) / 2 + offset + 0.0 * jnp.sum(batch),
        sample_batches=lambda key, num_steps: jnp.zeros((num_steps, 1)),
        eval_batches=[jnp.zeros(1)],
    )


def quadratic_loss(lr: np.ndarray, num_steps: int) -> np.ndarray:
    """The closed form of `quadratic()` after plain gradient descent, float64, shape of lr."""
    lr = np.asarray(lr, np.float64)[..., None]
    return np.sum(CURVATURES * (START * (1 - lr * CURVATURES) ** num_steps) ** 2, axis=-1) / 2


def regression(num_examples: int = 96, features: int = 6, hidden: int = 8, batch_size: int = 16) -> lrjax.Task:
    """A small tanh network on a noisy linear target: minibatches, several seeds, everything depends on the key."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(num_examples + 32, features)).astype(np.float32)
    y = (x @ rng.normal(size=features) + 0.1 * rng.normal(size=len(x))).astype(np.float32)

    def init(key: jax.Array) -> dict[str, jax.Array]:
        return {"w": 0.5 * jax.random.normal(key, (features, hidden)), "v": jnp.full(hidden, 0.3), "b": jnp.zeros(())}

    def loss_fn(params: dict[str, jax.Array], batch: tuple[jax.Array, jax.Array], key: jax.Array) -> jax.Array:
        x, y = batch
        return jnp.mean((jnp.tanh(x @ params["w"]) @ params["v"] + params["b"] - y) ** 2)

    return lrjax.Task.from_arrays(
        init,
        loss_fn,
        train=(x[:num_examples], y[:num_examples]),
        validation=(x[num_examples:], y[num_examples:]),
        batch_size=batch_size,
        eval_batch_size=32,
    )


def curve_from(x: np.ndarray, losses: np.ndarray, initial_loss: float | np.ndarray = 1.0) -> lrjax.LossCurve:
    """A curve at log10(lr) = x with the given losses, shape (trials,) or (seeds, trials)."""
    losses = np.atleast_2d(np.asarray(losses, np.float32))
    return lrjax.LossCurve(
        lrs=(10.0 ** np.asarray(x, np.float64)).astype(np.float32),
        losses=losses[None],
        initial_loss=np.broadcast_to(np.asarray(initial_loss, np.float32), losses.shape[:1]),
        horizons=np.asarray([20], np.int32),
        rounds=np.zeros(len(x), np.int32),
        diverged_at=np.full(losses.shape, -1, np.int32),
    )

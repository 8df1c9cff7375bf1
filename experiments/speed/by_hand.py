"""The shortest hand-written scripts for what the first answers are: one `jit` of a `vmap` of a `scan`, no more.

Command: python experiments/speed/by_hand.py search|sweep      (4 to 5 s; `first_answer.py` measures it)
`search`: 24 learning rates and 3 seeds, 20 steps of the README's model, one validation loss each. `sweep`: 16 learning
rates, 300 steps, a validation loss every 30. Prints the learning rate with the lowest loss.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from lrjax.demos import load_digits

SIZES = {"search": (np.logspace(-7, 1, 24), 3, 20, 20), "sweep": (np.logspace(-5, 0, 16), 1, 300, 30)}


def init(key):
    return {"w": 0.1 * jax.random.normal(key, (64, 10)), "b": jnp.zeros(10)}


def loss_fn(params, batch):
    images, labels = batch
    logits = images @ params["w"] + params["b"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def main(which: str) -> None:
    """Train every learning rate, and print the best."""
    lrs, seeds, num_steps, every = SIZES[which]

    @jax.jit
    def run(lrs, keys, x, y):
        def trial(lr, key):
            init_key, data_key = jax.random.split(key)
            order = jax.random.randint(data_key, (num_steps // every, every, 64), 256, len(y))
            params, optimizer = init(init_key), optax.adam(lr)

            def step(carry, rows):
                params, state = carry
                grads = jax.grad(loss_fn)(params, (x[rows], y[rows]))
                updates, state = optimizer.update(grads, state, params)
                return (optax.apply_updates(params, updates), state), None

            def part(carry, rows):
                carry, _ = lax.scan(step, carry, rows)
                return carry, loss_fn(carry[0], (x[:256], y[:256]))

            return lax.scan(part, (params, optimizer.init(params)), order)[1]

        return jax.vmap(jax.vmap(trial, (0, None)), (None, 0))(lrs, keys)

    keys = jax.random.split(jax.random.key(0), seeds)
    losses = np.asarray(run(lrs.astype(np.float32), keys, *jax.device_put(load_digits())))
    print(lrs[np.nanargmin(losses[..., -1].mean(axis=0))])


if __name__ == "__main__":
    main(*sys.argv[1:])

"""A physics-informed network: the heat equation from its residual alone, judged by the exact solution."""

import jax
import jax.numpy as jnp
import lrjax  # lrjax
import optax

STEPS = 800
conductivity = 0.1


def init(key):
    keys, sizes = jax.random.split(key, 3), ((2, 32), (32, 32), (32, 1))
    pairs = zip(keys, sizes, strict=True)
    return [(jax.random.normal(one, size) / size[0] ** 0.5, jnp.zeros(size[1])) for one, size in pairs]


def temperature(params, point):  # 0 at x = 0 and x = 1, sin(pi x) at t = 0, whatever the network says
    x, t = hidden = point
    for weights, bias in params[:-1]:
        hidden = jnp.tanh(hidden @ weights + bias)
    hidden = hidden @ params[-1][0] + params[-1][1]
    return jnp.sin(jnp.pi * x) + t * x * (1 - x) * hidden[0]


def residual(params, point):
    u = lambda x, t: temperature(params, jnp.stack([x, t]))
    u_t = jax.grad(u, argnums=1)(*point)
    u_xx = jax.grad(jax.grad(u))(*point)
    return u_t - conductivity * u_xx


def loss_fn(params, points, key):
    return jnp.mean(jax.vmap(residual, (None, 0))(params, points) ** 2)


def error(params, points):  # relative, in L2
    exact = jnp.sin(jnp.pi * points[:, 0]) * jnp.exp(-conductivity * jnp.pi**2 * points[:, 1])
    guess = jax.vmap(temperature, (None, 0))(params, points)
    return jnp.linalg.norm(guess - exact) / jnp.linalg.norm(exact)


points = jax.random.uniform(jax.random.key(0), (4_256, 2)) * jnp.array([1.0, 4.0])  # x in [0, 1], t in [0, 4]
task = lrjax.Task.from_arrays(  # lrjax
    init, loss_fn, train=points[256:], validation=points[:256], batch_size=128, eval_batch_size=256, eval_fn=error
)
result = lrjax.find_lr(task, optax.adam, key=jax.random.key(0), train_steps=STEPS)  # lrjax
print(result.summary())

"""A GAN: generator and critic with an optimizer each, trained in turns by a step of one's own."""

import jax
import jax.numpy as jnp
import lrjax.integrations  # lrjax
import optax

STEPS, BATCH = 600, 64
optimizer = optax.inject_hyperparams(optax.adam)(learning_rate=1e-3, b1=0.5)


def real_samples(key, count):  # eight Gaussians on a ring
    which, noise = jax.random.split(key)
    angle = 2 * jnp.pi * jax.random.randint(which, (count,), 0, 8) / 8
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1) + 0.05 * jax.random.normal(noise, (count, 2))


def mlp(key, *sizes):
    keys = jax.random.split(key, len(sizes))
    pairs = zip(keys, sizes[:-1], sizes[1:], strict=False)
    return [(jax.random.normal(one, (m, n)) * (2 / m) ** 0.5, jnp.zeros(n)) for one, m, n in pairs]


def apply(layers, x):
    for weights, bias in layers[:-1]:
        x = jax.nn.leaky_relu(x @ weights + bias, 0.2)
    return x @ layers[-1][0] + layers[-1][1]


def critic_loss(critic, generator, real, noise):
    fake = apply(generator, noise)
    return jnp.mean(jax.nn.softplus(-apply(critic, real)) + jax.nn.softplus(apply(critic, fake)))


def generator_loss(generator, critic, noise):
    return jnp.mean(jax.nn.softplus(-apply(critic, apply(generator, noise))))


def step(state, real):
    key, *now = jax.random.split(state["key"], 3)
    one, two = jax.random.normal(jnp.stack(now)[0], (2, BATCH, 4))
    grads = jax.grad(critic_loss)(state["critic"], state["generator"], real, one)
    updates, critic_opt = optimizer.update(grads, state["critic_opt"])
    critic = optax.apply_updates(state["critic"], updates)
    grads = jax.grad(generator_loss)(state["generator"], critic, two)
    updates, generator_opt = optimizer.update(grads, state["generator_opt"])
    generator = optax.apply_updates(state["generator"], updates)
    return {
        "critic": critic,
        "generator": generator,
        "critic_opt": critic_opt,
        "generator_opt": generator_opt,
        "key": key,
    }


def start(key):
    one, two, key = jax.random.split(key, 3)
    critic, generator = mlp(one, 2, 64, 64, 1), mlp(two, 4, 64, 64, 2)
    optimizers = {"critic_opt": optimizer.init(critic), "generator_opt": optimizer.init(generator)}
    return {"critic": critic, "generator": generator, "key": key, **optimizers}


def energy_distance(state):  # of samples: neither loss of a GAN says how good they are
    fake = apply(state["generator"], jax.random.normal(jax.random.key(1), (512, 4)))
    real = real_samples(jax.random.key(2), 512)
    apart = lambda a, b: jnp.mean(jnp.sqrt(jnp.sum((a[:, None] - b) ** 2, axis=-1) + 1e-12))
    return 2 * apart(fake, real) - apart(fake, fake) - apart(real, real)


batches = list(real_samples(jax.random.key(0), STEPS * BATCH).reshape(STEPS, BATCH, 2))
task = lrjax.integrations.step_task(step, start, batches, energy_distance)  # lrjax
result = lrjax.find_lr(task, task.set_lr, key=jax.random.key(0), train_steps=STEPS)  # lrjax
print(result.summary())

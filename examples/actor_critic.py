"""Reinforcement learning, jitted whole (A2C): environments, acting and learning are one update without batches.

There is no validation set: what is judged is the mean reward of the games that are played anyway.
"""

import jax
import jax.numpy as jnp
import lrjax.integrations  # lrjax
import optax

ROWS, COLUMNS, ENVS, LENGTH, UPDATES = 8, 5, 32, 7, 300
optimizer = optax.chain(optax.clip_by_global_norm(0.5), optax.inject_hyperparams(optax.adam)(learning_rate=1e-3))


def new_game(key):  # catch: a ball falls in one of five columns, the paddle begins in the middle
    return {"row": 0, "ball": jax.random.randint(key, (), 0, COLUMNS), "paddle": jnp.int32(COLUMNS // 2)}


def play(game, action, key):
    paddle, row = jnp.clip(game["paddle"] + action - 1, 0, COLUMNS - 1), game["row"] + 1
    over = row == ROWS - 1
    reward = jnp.where(over, jnp.where(paddle == game["ball"], 1.0, -1.0), 0.0)
    return jax.tree.map(
        lambda a, b: jnp.where(over, a, b), new_game(key), game | {"row": row, "paddle": paddle}
    ), reward


def network(params, game):
    places = jnp.stack([game["row"] / ROWS, game["ball"] - 2.0, game["paddle"] - 2.0], axis=-1)
    out = jnp.tanh(places @ params["in"] + params["bias"]) @ params["out"]
    return out[..., :3], out[..., 3]  # logits of left, stay, right; the value


def unroll(params, games, key):
    def act(games, key):
        chance, *fresh = jax.random.split(key, 1 + ENVS)
        action = jax.random.categorical(chance, network(params, games)[0])
        after, reward = jax.vmap(play)(games, action, jnp.stack(fresh))
        return after, (games, action, reward)

    return jax.lax.scan(act, games, jax.random.split(key, LENGTH))


def loss_fn(params, games, actions, returns):
    logits, values = network(params, games)
    log_policy = jax.nn.log_softmax(logits)
    chosen = jnp.take_along_axis(log_policy, actions[..., None], axis=-1)[..., 0]
    entropy = -jnp.sum(jnp.exp(log_policy) * log_policy, axis=-1)
    advantage = jax.lax.stop_gradient(returns - values)
    return jnp.mean(-chosen * advantage + 0.5 * (returns - values) ** 2 - 0.01 * entropy)


def update(state):
    key, now = jax.random.split(state["key"])
    games, (seen, actions, rewards) = unroll(state["params"], state["games"], now)
    returns = jnp.cumsum(rewards[::-1], axis=0)[::-1]  # a game lasts as long as an unroll
    grads = jax.grad(loss_fn)(state["params"], seen, actions, returns)
    updates, opt = optimizer.update(grads, state["opt"])
    score = 0.9 * state["score"] + 0.1 * rewards.sum(axis=0).mean()
    params = optax.apply_updates(state["params"], updates)
    return {"params": params, "opt": opt, "games": games, "key": key, "score": score}


def start(key):
    one, two, three, four = jax.random.split(key, 4)
    params = {
        "in": jax.random.normal(one, (3, 64)),
        "bias": jnp.zeros(64),
        "out": 0.1 * jax.random.normal(two, (64, 4)),
    }
    games = jax.vmap(new_game)(jax.random.split(three, ENVS)) | {"row": jnp.zeros(ENVS, jnp.int32)}
    return {"params": params, "opt": optimizer.init(params), "games": games, "key": four, "score": jnp.float32(0.0)}


task = lrjax.integrations.step_task(update, start, None, lambda state: -state["score"])  # lrjax
look = lrjax.Budget(num_seeds=3)  # lrjax: the last rungs with three seeds, since rewards are noisy
result = lrjax.find_lr(task, task.set_lr, look, key=jax.random.key(0), train_steps=UPDATES)  # lrjax
print(result.summary())

"""Flax linen: the CNN of Flax's first tutorial, with a TrainState."""

import jax
import lrjax  # lrjax
import optax
from flax import linen as nn
from flax.training.train_state import TrainState
from lrjax.demos import load_digits
from lrjax.integrations.flax import linen_task, train_state_with_lr  # lrjax


class CNN(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.avg_pool(nn.relu(nn.Conv(8, (3, 3))(x)), (2, 2), strides=(2, 2))
        return nn.Dense(10)(nn.relu(nn.Dense(32)(x.reshape(x.shape[0], -1))))


def loss(logits, batch):
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch[1]).mean()


images, labels = load_digits()[0].reshape(-1, 8, 8, 1), load_digits()[1]
data = {"train": (images[256:], labels[256:]), "validation": (images[:256], labels[:256]), "batch_size": 32}
params = CNN().init(jax.random.key(0), images[:1])["params"]
state = TrainState.create(apply_fn=CNN().apply, params=params, tx=optax.adam(1e-3))
task = linen_task(state, loss, **data)  # lrjax
result = lrjax.find_lr(task, optax.adam, lrjax.StepSampling(num_seeds=1), key=jax.random.key(0))  # lrjax
state = train_state_with_lr(state, optax.adam, result.lr)  # lrjax

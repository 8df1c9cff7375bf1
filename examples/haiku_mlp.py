"""Haiku: a transformed function; stax and every other pair (init, apply) go the same way."""

import haiku as hk
import jax
import lrjax  # lrjax
import optax
from lrjax.demos import load_digits
from lrjax.integrations.plain import pair_task  # lrjax


def forward(images, is_training):
    hidden = jax.nn.relu(hk.Linear(32)(images))
    hidden = hk.dropout(hk.next_rng_key(), 0.1, hidden) if is_training else hidden
    return hk.Linear(10)(hidden)


def loss(logits, batch):
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch[1]).mean()


images, labels = load_digits()
data = {"train": (images[256:], labels[256:]), "validation": (images[:256], labels[:256]), "batch_size": 32}
task = pair_task(hk.transform(forward), loss, **data)  # lrjax
result = lrjax.find_lr(task, optax.adam, lrjax.StepSampling(num_seeds=1), key=jax.random.key(0))  # lrjax
optimizer = optax.adam(result.lr)  # lrjax

"""The paper's third experiment: ResNet18 tells ants from bees, on 244 photographs. Searches, grid search, picks.

    python -m experiments.paper.resnet --scale small
    python -m experiments.paper.resnet --scale paper     # for a GPU

Trained from random weights (the paper's is pretrained on ImageNet), by SGD with momentum 0.9, with BatchNorm and the
augmentation of PyTorch's tutorial, drawn anew for every batch and the same for every learning rate; 153 photographs
validate. Small: a quarter of ResNet18's channels (16 in the first stage), 128x128 pixels, 16 photographs a batch, 100
updates (6.7 epochs), three seeds; grid from 1e-4 to 10. At 128 pixels the last stage has 4x4, larger than its kernels.
Paper: all channels, 224x224 pixels, 25 epochs of batches of 4, which is the tutorial's training.

Small took 50 minutes on one core of a busy machine. Expected: 63 % at best (54 % of the validation part are bees), from
1e-4 to 1e-2 alike within 1 point, so that the picks differ by less than their errors. A run that is stopped goes on
where it was. Writes experiments/results/paper_resnet.json.
"""

import argparse
import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import optax
from flax import linen as nn

import lrjax
from experiments.data.hymenoptera import MEAN, STD, Colour, Photos, augment, load_hymenoptera, normalise
from experiments.data.places import data_folder
from experiments.paper.models.bert import with_weights
from experiments.paper.models.resnet import ResNet18
from experiments.paper.run import Plan, parse, run_experiment


def sgd_with_momentum(lr: Any) -> optax.GradientTransformation:
    """The tutorial's optimizer."""
    return optax.sgd(lr, momentum=0.9)


def main(arguments: list[str] | None = None) -> None:
    """Run what is missing."""
    options = parse("resnet", __doc__ or "", arguments)
    run_experiment("resnet", {"scratch": lambda: scratch(options)}, options)


def scratch(options: argparse.Namespace) -> Plan:
    """ResNet18 from random weights."""
    small = options.scale == "small"
    size, width, batch_size = (128, 16, 16) if small else (224, 64, 4)
    photos = load_hymenoptera(data_folder(options.data), size)
    return Plan(
        name="scratch",
        task=make_task(ResNet18(len(photos.classes), width), photos, size=size, batch_size=batch_size),
        make_optimizer=sgd_with_momentum,
        num_steps=100 if small else 25 * len(photos.train_labels) // batch_size,
        exponents=(-4.0, 1.0) if small else (-6.0, 1.0),
        num_seeds=3,
        finder_seeds=2 if small else 3,
        finder_batches=None,
        eval_every=25 if small else 100,
        executor="loop" if small else "auto",
        config={"width": width, "image_size": size, "batch_size": batch_size},
    )


def make_task(
    model: nn.Module,
    photos: Photos,
    *,
    size: int,
    batch_size: int,
    scale: tuple[Colour, Colour] = (MEAN, STD),
    weights: Mapping[str, Any] | None = None,
) -> lrjax.Task:
    """Photographs, augmented on the way in, and the cross-entropy of their classes.

    Args:
      model: with BatchNorm; called with images and `train`.
      photos: what it is trained and evaluated on.
      size: side of its input in pixels.
      batch_size: photographs of an update.
      scale: of its input, see `normalise`.
      weights: variables that training starts from; what they lack, such as the head, is drawn, and the statistics stay
        as they are: those of a few small photographs are worse. None: all is drawn, and the statistics are the batch's.
    """
    draw = jax.jit(functools.partial(model.init, train=False))  # compiled once for all seeds and parts

    def init(key: jax.Array) -> Any:
        made = draw(key, np.zeros((1, size, size, 3), np.float32))
        parts = ("params", "batch_stats")
        return tuple(made[part] if weights is None else with_weights(made[part], weights[part]) for part in parts)

    def loss_fn(params: Any, statistics: Any, batch: Any, key: jax.Array) -> tuple[jax.Array, Any]:
        images, labels = batch
        variables, crops = {"params": params, "batch_stats": statistics}, augment(key, images, size, scale)
        logits, moved = model.apply(variables, crops, train=weights is None, mutable=["batch_stats"])
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), moved["batch_stats"]

    def eval_fn(params: Any, statistics: Any, batch: Any) -> dict[str, jax.Array]:
        images, labels = batch
        logits = model.apply({"params": params, "batch_stats": statistics}, normalise(images, scale), train=False)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return {"loss": losses.mean(), "accuracy": (logits.argmax(-1) == labels).mean()}

    order = np.random.default_rng(0).permutation(len(photos.val_labels))  # both classes in every batch
    return lrjax.Task.from_arrays(
        init,
        loss_fn,
        stateful=True,
        eval_fn=eval_fn,
        train=(photos.train_images, photos.train_labels),
        validation=(photos.val_images[order], photos.val_labels[order]),
        batch_size=batch_size,
        eval_batch_size=51,
        baseline_loss=float(np.log(len(photos.classes))),
    )


if __name__ == "__main__":
    main()

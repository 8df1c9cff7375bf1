"""The models of `models.py` in PyTorch, and the loop over learning rates that a PyTorch user writes."""

import copy
import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import models
import numpy as np
import torch
from models import CLASSES, SEQUENCE, VOCABULARY, Model
from torch import nn
from torch.nn import functional


class Transformer(nn.Module):
    def __init__(self, width: int = 128, layers: int = 2, heads: int = 4):
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, width)
        self.position = nn.Parameter(0.02 * torch.randn(SEQUENCE, width))
        gelu = functools.partial(functional.gelu, approximate="tanh")  # as in flax
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, 4 * width, dropout=0.0, activation=gelu, batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, VOCABULARY)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(SEQUENCE), persistent=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embed(tokens) + self.position
        for block in self.blocks:
            x = block(x, src_mask=self.mask, is_causal=True)
        return self.head(self.norm(x)).transpose(1, 2)  # cross_entropy wants the classes second


class BasicBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.body = nn.Sequential(*_conv(inputs, outputs, 3, stride), nn.ReLU(), *_conv(outputs, outputs, 3, 1))
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else nn.Sequential(*_conv(inputs, outputs, 1, stride))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.body(x) + self.shortcut(x))


def _conv(inputs: int, outputs: int, size: int, stride: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False), nn.BatchNorm2d(outputs)


def _mlp(*widths: int) -> nn.Module:
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _conv_net(batch_norm: bool) -> nn.Module:
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, 32), (32, 64)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), *([nn.BatchNorm2d(outputs)] if batch_norm else [])]
        layers += [nn.ReLU(), nn.AvgPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 8 * 8, 128), nn.ReLU(), nn.Linear(128, CLASSES))


def _resnet18() -> nn.Module:
    widths = (64, 64, 128, 256, 512)
    blocks = [
        BasicBlock(inputs if first else outputs, outputs, 2 if first and stage else 1)
        for stage, (inputs, outputs) in enumerate(itertools.pairwise(widths))
        for first in (True, False)
    ]
    stem = (*_conv(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, CLASSES))


MODULES: dict[type, Callable[[Model, Any], nn.Module]] = {
    models.Mlp: lambda model, module: _mlp(*model.example, *module.widths, CLASSES),
    models.Transformer: lambda _, module: Transformer(module.width, module.layers, module.heads),
    models.ConvNet: lambda _, module: _conv_net(module.batch_norm),
    models.ResNet18: lambda *_: _resnet18(),
}
"""By the flax module's type."""

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": functools.partial(torch.optim.SGD, momentum=0.9),
    "adam": torch.optim.Adam,
    "adamw": functools.partial(torch.optim.AdamW, weight_decay=1e-4),
}


def build(model: Model) -> nn.Module:
    """The PyTorch module of a model.

    Raises:
      ValueError: it has not as many parameters as the JAX one, so the comparison would not be fair.
    """
    torch.manual_seed(0)
    module = MODULES[type(model.module)](model, model.module)
    count = sum(parameter.numel() for parameter in module.parameters())
    if count != model.num_parameters:
        raise ValueError(f"{model.name} has {count} parameters in PyTorch and {model.num_parameters} in JAX.")
    return module


def sequential_loop(
    model: Model, batches: list[Any], validation: Any, *, gpu: bool, compiled: bool
) -> Callable[[Any], np.ndarray]:
    """A function from learning rates to validation losses: the first parameters, a new optimizer, train, validate.

    On a GPU matrix products may take TF32, as JAX's default precision does; `compiled` is of `torch.compile`.
    """
    if gpu and not torch.cuda.is_available():
        raise RuntimeError("PyTorch sees no GPU where JAX does.")
    device = torch.device("cuda" if gpu else "cpu")
    if gpu:
        torch.set_float32_matmul_precision("high")
    module = build(model).to(device)
    initial = copy.deepcopy(module.state_dict())
    half = getattr(model.module, "dtype", None) == jnp.bfloat16
    if compiled:
        module.compile()
    pairs = [_tensors(batch, device) for batch in batches]
    x_validation, y_validation = _tensors(validation, device)

    def loss(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            return functional.cross_entropy(module(x), y)

    def run(lrs: np.ndarray) -> np.ndarray:
        losses = []
        for lr in lrs.tolist():
            module.load_state_dict(initial)
            optimizer = OPTIMIZERS[model.optimizer](module.parameters(), lr=lr)
            module.train()
            for x, y in pairs:
                optimizer.zero_grad()
                loss(x, y).backward()
                optimizer.step()
            module.eval()
            with torch.no_grad():
                losses.append(loss(x_validation, y_validation).item())
        return np.asarray(losses)

    return run


def _tensors(batch: Any, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs (images as NCHW) and labels."""
    if not isinstance(batch, tuple):
        tokens = torch.from_numpy(np.array(batch, np.int64)).to(device)
        return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
    x, y = np.asarray(batch[0]), np.array(batch[1], np.int64)
    if x.ndim == 4:
        x = x.transpose(0, 3, 1, 2)
    return torch.from_numpy(np.array(x, order="C")).to(device), torch.from_numpy(y).to(device)

"""muP from shapes alone: an optimizer whose learning rates, per parameter, hold at every width."""

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from .._checks import check_choice, check_flag, describe
from .._engine import check_factory
from .._repr import line_repr
from .._types import OptimizerFactory, Params, PyTree
from ._leaves import Leaf, initial_ratio, name_of_path, read_leaves
from ._update_rule import RULES, Rule, find_rules, muon_scale


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class WidthScaling:
    """A factory of optimizers, called as the one it was made from, whose learning rates per parameter follow muP.

    Attributes:
      leaves: each parameter: its path, both shapes, its kind and by how much its fan grew.
      factors: path -> what the learning rate is multiplied by.
      rules: path -> the rule of its update; without the parameters that the optimizer does not move.
      independent_weight_decay: whether the factors leave weight decay as it is.
      make_optimizer: the factory at the base's width.
    """

    leaves: tuple[Leaf, ...]
    factors: Mapping[str, float]
    rules: Mapping[str, Rule]
    independent_weight_decay: bool
    make_optimizer: OptimizerFactory

    __repr__ = line_repr

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self.make_optimizer)  # `scheduled` and Optax look for names of hyperparameters

    def __call__(self, *args: Any, **hyperparams: Any) -> optax.GradientTransformationExtraArgs:
        """The optimizer at hyperparameters, which may be traced. Its state is that of the factory's own."""
        made: Any = self.make_optimizer(*args, **hyperparams)
        if isinstance(made, optax.MultiSteps):
            made = made.gradient_transformation()
        inner = optax.with_extra_args_support(made)

        shapes = {leaf.path: leaf.shape for leaf in self.leaves}

        def scaled(path: tuple, leaf: Any, power: int) -> Any:
            name = name_of_path(path)
            if shapes.get(name) != jnp.shape(leaf):
                was = f"one of shape {shapes[name]}" if name in shapes else "no such parameter"
                raise ValueError(
                    f"`mup(params=...)` must be the parameters that the optimizer gets: of {name}, {describe(leaf)} "
                    f"here, it knows {was}."
                )
            factor = self.factors[name]
            return leaf if factor == 1 else leaf * factor**power

        def scale(tree: PyTree, power: int) -> PyTree:
            return jax.tree_util.tree_map_with_path(lambda path, leaf: scaled(path, leaf, power), tree)

        def update(updates: PyTree, state: PyTree, params: PyTree = None, **extra: Any) -> tuple[PyTree, PyTree]:
            # decay is a multiple of the parameters: what divides them here cancels the factor of the update
            seen = scale(params, -1) if self.independent_weight_decay and params is not None else params
            updates, state = inner.update(updates, state, seen, **extra)
            return scale(updates, 1), state

        return optax.GradientTransformationExtraArgs(inner.init, update)

    def summary(self) -> str:
        """A table of the parameters, and what muP asks for that an optimizer cannot do."""
        rows = [("parameter", "base", "here", "kind", "rule", "lr", "initial std")]
        for leaf in self.leaves:
            rule = self.rules.get(leaf.path, "-")
            numbers = f"x {self.factors[leaf.path]:.4g}", f"x {initial_ratio(leaf):.4g}"
            rows.append((leaf.path, _dims(leaf.base_shape), _dims(leaf.shape), leaf.kind, rule, *numbers))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        return "\n".join([*(line.rstrip() for line in lines), *_notes(self.leaves)])


def _dims(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "1"


def _notes(leaves: tuple[Leaf, ...]) -> list[str]:
    """What shapes show of the things that the model itself has to do."""
    kinds = {leaf.kind for leaf in leaves}
    if kinds == {"fixed"}:
        return ["Nothing grows: this is the base's own width, and the optimizer is the plain one."]
    notes = []
    tables = [leaf.path for leaf in leaves if leaf.kind == "input" and len(leaf.shape) > 1]
    if "output" not in kinds and tables:
        notes.append(
            f"No output weight: if {tables[0]} is also the readout (tied embeddings), divide the logits by the growth "
            "of the width in the model."
        )
    for leaf in leaves:
        grows = [new > old for old, new in zip(leaf.base_shape, leaf.shape, strict=True)]
        if leaf.kind == "hidden" and grows in ([True, False, True], [False, True, True]):
            notes.append(
                f"If the axes of {leaf.path} are those of attention, its heads are wider: muP's attention divides by "
                "the head's width, not by its square root."
            )
            break
    return notes


def mup(
    make_optimizer: OptimizerFactory,
    *,
    base: Params,
    params: Params,
    rule: Literal["sgd", "adam", "sign", "muon"] | None = None,
    independent_weight_decay: bool = True,
    kinds: Mapping[str, Literal["input", "hidden", "output", "vector", "fixed"]] | None = None,
    layout: Literal["in_out", "out_in"] | None = None,
) -> WidthScaling:
    r"""A factory like `make_optimizer` whose learning rates per parameter follow muP, from shapes at two widths.

    The best learning rate at the base's width is then about the best one at that of `params`. What each parameter is
    shows in how its shape changes; with $r$ the growth of the width, its learning rate is multiplied by

    | kind   | what grows                           | SGD   | Adam, Lion | Muon         | initial std  |
    |--------|--------------------------------------|-------|------------|--------------|--------------|
    | input  | the fan-out (first layer, embedding) | $r$   | 1          | $r^{1/2}/s$  | 1            |
    | vector | the only axis (bias, gain)           | $r$   | 1          | as Adam      | 1            |
    | hidden | both                                 | 1     | $1/r$      | $1/s$        | $r^{-1/2}$   |
    | output | the fan-in (readout)                 | $1/r$ | $1/r$      | $r^{-1/2}/s$ | $1/r$        |
    | fixed  | nothing                              | 1     | 1          | 1            | 1            |

    Muon's matrices have singular values of $\max(1, f_{out}/f_{in})^{1/2}$ by Optax's default, which grew by $s$.

    Print `summary()` and read it. The learning rate that schedules, searches, sweeps and `current_hyperparams` know is
    the base's; the state is that of the plain optimizer, and at the base's own width all updates are equal. Initialise
    with `rescale_init`. What an optimizer cannot do is left to the model: attention that divides by the head's width
    where heads get wider, and tied embeddings (`summary()` says so where shapes show it). Norms of gradients, as in
    clipping, change with the width.

    Args:
      make_optimizer: `make_optimizer(lr) -> optax optimizer`, or of several hyperparameters (with `rule`).
      base: the parameters of the same model at a smaller width, where the learning rate is searched: arrays or
        `jax.ShapeDtypeStruct` (`jax.eval_shape(init, key)`).
      params: those at the width that is trained, as the optimizer gets them.
      rule: how updates go with gradients: "sgd" in proportion (momentum too), "adam" (AdamW, NAdam, ...) and "sign"
        (Lion) with one size, "muon" for the matrices and Adam for the rest, unless its `consistent_rms` is set. None:
        found by trying the optimizer on the base's shapes, each parameter for itself, so that `optax.multi_transform`
        and masks may mix them; refused if it is not certain.
      independent_weight_decay: whether lr times weight decay stays what it is at the base's width; False multiplies
        the decay by the learning rate's factor, as a smaller learning rate would, and is needed for optimizers that use
        parameters in other ways (with `rule`).
      kinds: corrections, path or pattern (`"*/readout/*"`) -> kind. A vector that is a readout, say, looks like a bias.
      layout: whether weights are used as `x @ w` ("in_out": Flax, Haiku, Keras) or `w @ x` ("out_in": PyTorch). None:
        what Equinox's own layers are is known; else "in_out", unless a layer's bias contradicts it.

    Returns:
      The factory: for `find_lr`, `sweep`, `schedules.scheduled`, or to be called with a learning rate.

    Raises:
      TypeError: what is no factory, or leaves that are no arrays.
      ValueError: different models, a smaller width than the base's, a parameter that grows by another factor than the
        rest, one that may be an input or an output, a path of no parameter, or an optimizer whose rule is unclear.

    Source: Yang et al. 2022, Tensor Programs V, table 3 (SGD, Adam); Yang, Simon & Bernstein 2023, A spectral condition
      for feature learning, condition 1, and Jordan et al. 2024, Muon; Wang & Aitchison 2024, How to set AdamW's weight
      decay as you scale model and dataset size.

    Examples:
      >>> import jax, jax.numpy as jnp, optax, lrjax
      >>> def shapes(width):
      ...     sizes = {"first": (784, width), "middle": (width, width), "bias": (width,), "last": (width, 10)}
      ...     return {name: jax.ShapeDtypeStruct(size, jnp.float32) for name, size in sizes.items()}
      >>> make_optimizer = lrjax.scaling.mup(optax.adam, base=shapes(64), params=shapes(256))
      >>> print(make_optimizer.summary())
      parameter  base      here       kind    rule  lr      initial std
      bias       64        256        vector  adam  x 1     x 1
      first      784 x 64  784 x 256  input   adam  x 1     x 1
      last       64 x 10   256 x 10   output  adam  x 0.25  x 0.25
      middle     64 x 64   256 x 256  hidden  adam  x 0.25  x 0.5
      >>> optimizer = make_optimizer(1e-2)
    """
    if hasattr(make_optimizer, "update") or not callable(make_optimizer):
        check_factory("mup(make_optimizer)", make_optimizer)
    told: Rule | None = check_choice("mup(rule=...)", rule, (*RULES, None))
    independent = check_flag("mup(independent_weight_decay=...)", independent_weight_decay)
    leaves = read_leaves("mup", base, params, kinds, layout)
    trained = [leaf for leaf in leaves if leaf.trains]
    found: dict[str, Rule]
    found = {leaf.path: _ruled(told, leaf) for leaf in trained} if told else find_rules("mup", make_optimizer, base)
    rules: dict[str, Rule] = {leaf.path: found[leaf.path] for leaf in trained if leaf.path in found}
    factors = {leaf.path: 1.0 for leaf in leaves}
    factors |= {leaf.path: _factor(leaf, rules[leaf.path]) for leaf in trained if leaf.path in rules}
    return WidthScaling(
        leaves=leaves,
        factors=factors,
        rules=rules,
        independent_weight_decay=independent,
        make_optimizer=make_optimizer,
    )


def _ruled(rule: Rule, leaf: Leaf) -> Rule:
    """The rule of a parameter under that of its optimizer: Muon moves matrices, and the rest as Adam."""
    return "adam" if rule == "muon" and len(leaf.shape) != 2 else rule


def _factor(leaf: Leaf, rule: Rule) -> float:
    """What the learning rate of a parameter is multiplied by."""
    grown = leaf.growth
    if rule == "sgd":
        return {"input": grown, "vector": grown, "output": 1 / grown}.get(leaf.kind, 1.0)
    if rule != "muon":
        return 1 / grown if leaf.kind in ("hidden", "output") else 1.0
    wanted = {"input": grown**0.5, "vector": grown**0.5, "output": grown**-0.5}.get(leaf.kind, 1.0)
    return wanted * muon_scale(leaf.base_shape) / muon_scale(leaf.shape)

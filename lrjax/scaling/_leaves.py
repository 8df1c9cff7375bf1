"""What each parameter is as the width grows, from the shapes of one model at two widths."""

import fnmatch
import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

from .._checks import check_choice, check_type, show, show_with_type
from .._trees import first_leaf_difference
from .._types import Params

Kind = Literal["input", "hidden", "output", "vector", "fixed"]
"""Only the fan-out grows, both fans, only the fan-in; biases and gains; what does not grow."""

Layout = Literal["in_out", "out_in"]
"""Which side of a weight is its fan-in: the first axes (`x @ w`: Flax, Haiku, Keras) or the last (`w @ x`: PyTorch)."""

KINDS, LAYOUTS = get_args(Kind), get_args(Layout)

ROUNDED = 0.1
"""How far a growth, as a power of the widest axis's, may be from 1 or 2: layers are rounded to multiples of 64."""

Path = tuple[Any, ...]
Shape = tuple[int, ...]


class Leaf(NamedTuple):
    """What a parameter is.

    Attributes:
      path: its keys, joined by "/".
      base_shape, shape: at the two widths.
      kind: what it is.
      growth: how many times larger the fan is that grows; 1 where none does.
      trains: whether it is floating, so that an optimizer moves it.
    """

    path: str
    base_shape: Shape
    shape: Shape
    kind: Kind
    growth: float
    trains: bool


class _Grown(NamedTuple):
    """A parameter at both widths, with the container that holds it."""

    path: Path
    base: Shape
    shape: Shape
    dtype: Any
    owner: Any

    @property
    def ratios(self) -> tuple[float, ...]:
        return tuple(new / old if old else 1.0 for old, new in zip(self.base, self.shape, strict=True))

    @property
    def growth(self) -> float:
        return math.prod(self.ratios)


def name_of_path(path: Path) -> str:
    """The keys of a leaf, joined by "/"."""
    return jax.tree_util.keystr(path, simple=True, separator="/") or "(root)"


def read_leaves(
    where: str, base: Params, params: Params, kinds: Mapping[str, Kind] | None, layout: Layout | None
) -> tuple[Leaf, ...]:
    """Every leaf with its kind; `where` is the caller."""
    check_choice(f"{where}(layout=...)", layout, (*LAYOUTS, None))
    grown = _pair_leaves(where, base, params)
    given = _given_kinds(where, kinds, [name_of_path(leaf.path) for leaf in grown])
    width = max((ratio for leaf in grown for ratio in leaf.ratios), default=1.0)
    leaves = []
    for leaf in grown:
        name = name_of_path(leaf.path)
        kind = given.get(name) or _kind(where, leaf, width, grown, layout)
        trains = bool(jnp.issubdtype(leaf.dtype, jnp.floating))
        leaves.append(Leaf(name, leaf.base, leaf.shape, kind, _growth(where, leaf, kind, width), trains))
    return tuple(leaves)


def _pair_leaves(where: str, base: Params, params: Params) -> list[_Grown]:
    """The leaves of both trees, which must be those of one model, no smaller in the second."""
    for name, tree in (("base", base), ("params", params)):
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            if not (hasattr(leaf, "shape") and hasattr(leaf, "dtype")):
                raise TypeError(
                    f"`{where}({name}=...)` must hold arrays or jax.ShapeDtypeStruct, got {show_with_type(leaf)} at "
                    f"{name_of_path(path)}. Pass the parameters alone: of an Equinox model eqx.filter(model, "
                    "eqx.is_array), of a Flax one nnx.state(model, nnx.Param) or the 'params' collection."
                )
        if not jax.tree.leaves(tree):
            raise TypeError(f"`{where}({name}=...)` must hold parameters, got {show_with_type(tree)} without any.")
    if difference := first_leaf_difference(base, params, compare="ranks"):
        raise ValueError(
            f"`{where}(base=..., params=...)` must be parameters of one model at two widths, but in params "
            f"{difference}. Change the width alone, not the number or the kind of layers."
        )
    owners = _owners(params)
    pairs = zip(jax.tree_util.tree_leaves_with_path(params), jax.tree.leaves(base), strict=True)
    grown = [_Grown(path, one.shape, leaf.shape, leaf.dtype, owners[path]) for (path, leaf), one in pairs]
    for leaf in grown:
        if smaller := [ratio for ratio in leaf.ratios if ratio < 1]:
            raise ValueError(
                f"`{where}(params=...)` must be at least as wide as base, but {name_of_path(leaf.path)} shrinks from "
                f"{leaf.base} to {leaf.shape}, by {1 / smaller[0]:g}. base is the small model: are the two swapped?"
            )
    return grown


def _owners(params: Params) -> dict[Path, Any]:
    """For each leaf the innermost container that holds it."""
    owners: dict[Path, Any] = {}
    waiting: list[tuple[Path, Any]] = [((), params)]
    while waiting:
        above, node = waiting.pop()
        for key, child in jax.tree_util.tree_leaves_with_path(node, is_leaf=lambda other, node=node: other is not node):
            if jax.tree_util.all_leaves([child]):
                owners[above + key] = node
            else:
                waiting.append((above + key, child))
    return owners


def _given_kinds(where: str, kinds: Mapping[str, Kind] | None, names: list[str]) -> dict[str, Kind]:
    """The kinds that the user says, by the whole path; of two patterns for a leaf the later one."""
    if kinds is None:
        return {}
    check_type(f"{where}(kinds=...)", kinds, Mapping, 'a mapping from a path to a kind: {"*/readout": "output"}')
    given = {}
    for pattern, kind in kinds.items():
        check_type(f"{where}(kinds=...)", pattern, str, "a mapping from paths, which are text")
        check_choice(f"{where}(kinds={{{pattern!r}: ...}})", kind, KINDS)
        matching = fnmatch.filter(names, pattern)
        if not matching:
            raise ValueError(
                f"`{where}(kinds=...)` must name parameters, but no path matches {show(pattern)}. There are "
                f"{', '.join(names[:8])}{', ...' * (len(names) > 8)}."
            )
        given |= dict.fromkeys(matching, kind)
    return given


def _grows_as(power: int, growth: float, width: float) -> bool:
    """Whether a growth is this power of the width's, but for rounding."""
    return abs(math.log(growth) / math.log(width) - power) <= ROUNDED


def _growth(where: str, leaf: _Grown, kind: Kind, width: float) -> float:
    """How much the fan grows that a kind goes by."""
    total = leaf.growth
    if kind == "fixed" or total == 1:
        return 1.0
    if kind != "hidden" or _grows_as(1, total, width):
        return total
    if _grows_as(2, total, width):
        return math.sqrt(total)
    raise ValueError(_two_ways(where, leaf, width))


def _two_ways(where: str, leaf: _Grown, width: float) -> str:
    grows = " and ".join(f"axis {axis} by {ratio:g}" for axis, ratio in enumerate(leaf.ratios) if ratio > 1)
    return (
        f"`{where}(params=...)` must grow by one factor, but the widest axis grows by {width:g} and of "
        f"{name_of_path(leaf.path)}, {leaf.base} to {leaf.shape}, {grows}. Scale all widths by the same factor, "
        "and leave depth, vocabulary and context as they are."
    )


def _kind(where: str, leaf: _Grown, width: float, others: list[_Grown], layout: Layout | None) -> Kind:
    """What a leaf is, from the axes that grow; an error where these do not say it."""
    if leaf.growth == 1:
        return "fixed"
    if _grows_as(2, leaf.growth, width) and len(leaf.shape) > 1:
        return "hidden"
    if not _grows_as(1, leaf.growth, width):
        raise ValueError(_two_ways(where, leaf, width))
    siblings = [other for other in others if _layer(other) == _layer(leaf) and other is not leaf]
    if len(leaf.shape) == 1 or any(_is_bias(leaf, other) for other in siblings):
        return "vector"
    if library := _equinox_layer(leaf.owner):
        return _equinox_kind(where, leaf, library, layout)
    last = len(leaf.shape) - 1
    grows = [axis for axis, ratio in enumerate(leaf.ratios) if ratio > 1]
    biases = [other for other in siblings if _is_bias(other, leaf)]
    if grows[-1] == last or grows[0] == 0:
        side = _by_layout(grows[-1] == last, layout)
        if layout is None and last == 1 and _contradicted(leaf, siblings):
            raise ValueError(_unclear(where, leaf, "the layer's bias has the length of its first axis, as in PyTorch"))
        return side
    if biases:  # it has the axes of the fan-out
        return "input" if biases[0].growth > 1 else "output"
    raise ValueError(_unclear(where, leaf, "an axis in the middle grows, and no bias beside it tells which it is"))


def _by_layout(last_grows: bool, layout: Layout | None) -> Kind:
    return "input" if last_grows == (layout != "out_in") else "output"


def _unclear(where: str, leaf: _Grown, why: str) -> str:
    name = name_of_path(leaf.path)
    return (
        f"`{where}` cannot tell whether {name}, {leaf.base} to {leaf.shape}, is an input or an output weight: {why}. "
        f'Say it with kinds={{{name!r}: "input"}} (its fan-out grows) or "output" (its fan-in grows), or for all '
        'weights with layout="in_out" (x @ w) or "out_in" (w @ x).'
    )


def _layer(leaf: _Grown) -> Path:
    """The path of the layer of a leaf: that of its container; `flax.nnx` puts each into a box of its own."""
    boxed = isinstance(leaf.path[-1], jax.tree_util.GetAttrKey) and leaf.path[-1].name == "value" if leaf.path else 0
    return leaf.path[: -2 if boxed else -1]


def _is_bias(leaf: _Grown, weight: _Grown) -> bool:
    """Whether a leaf has the last axes of a weight of the same layer, behind the axis of scanned layers if any."""

    def fits(one: Shape, other: Shape) -> bool:
        scanned = len(one) > 1 and one[0] == other[0] and one[1:] == other[len(other) - len(one) + 1 :]
        return len(one) < len(other) and (one == other[len(other) - len(one) :] or scanned)

    return fits(leaf.base, weight.base) and fits(leaf.shape, weight.shape)


def _contradicted(leaf: _Grown, siblings: list[_Grown]) -> bool:
    """Whether the bias of a layer of one matrix has the length of its first axis and not of its last."""
    matrices = [other for other in siblings if len(other.shape) > 1]
    vectors = [(other.base, other.shape) for other in siblings if len(other.shape) == 1]
    first, last = (((leaf.base[axis],), (leaf.shape[axis],)) for axis in (0, 1))
    return not matrices and first in vectors and last not in vectors


def _equinox_layer(owner: Any) -> str:
    """The name of the Equinox module that holds a leaf; empty for other containers."""
    bases = [(kind.__module__.split(".")[0], kind.__name__) for kind in type(owner).__mro__]
    return type(owner).__name__ if ("equinox", "Module") in bases else ""


def _equinox_kind(where: str, leaf: _Grown, name: str, layout: Layout | None) -> Kind:
    """Input or output, of a weight of Equinox: fan-out x fan-in and then space, but an embedding's rows are vectors."""
    if not type(leaf.owner).__module__.startswith("equinox."):
        if layout is None:
            raise ValueError(_unclear(where, leaf, f"it lies in {name} itself, which may call it as x @ w or as w @ x"))
        return _by_layout(leaf.ratios[-1] > 1, layout)
    if leaf.path[-1].name == "bias":  # that of a convolution has axes of length 1
        return "vector"
    if name == "Embedding":
        return "input"
    out_axis = len(leaf.shape) - 2 - getattr(leaf.owner, "num_spatial_dims", 0)
    return "input" if leaf.ratios[out_axis] > 1 else "output"


def initial_ratio(leaf: Leaf) -> float:
    """The initial standard deviation of muP, relative to that at the base's width."""
    return {"hidden": leaf.growth**-0.5, "output": 1 / leaf.growth}.get(leaf.kind, 1.0)

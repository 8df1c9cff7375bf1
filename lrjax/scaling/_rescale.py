"""From the parameters of a usual initialisation to those of muP's."""

from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from .._types import Array, Params
from ._leaves import Leaf, initial_ratio, read_leaves

SPREAD = 4.0
"""Standard errors within which a measured ratio of initial deviations is taken for a rule's."""


def rescale_init(
    params: Params,
    base: Params,
    *,
    kinds: Mapping[str, Literal["input", "hidden", "output", "vector", "fixed"]] | None = None,
    layout: Literal["in_out", "out_in"] | None = None,
) -> Params:
    r"""Initial parameters rescaled to muP: as at the base's width, but for what has to shrink with a fan-in that grows.

    Relative to the base the standard deviation becomes 1 (inputs, biases, gains), $r^{-1/2}$ (hidden) and $1/r$
    (outputs), with $r$ the growth of the width; means move along, and zeros stay zeros.

    Initialisers differ in what they do with the width: fan-in ones (LeCun, He) need a change of the outputs alone, a
    fixed deviation of 0.02 one of the hidden weights too, and Flax's embeddings shrink as they get wider. So the
    deviations of both are measured where `base` holds arrays. Where the ratio is that of a rule (fan-in, fixed, or
    fan-out), up to 4 standard errors, the rule's is used. Where `base` holds shapes alone, all are taken for fan-in.

    Args:
      params: as an initialiser made them, before training. Traced ones do, so call it within `init(key)`.
      base: parameters of the same model at the smaller width that `mup` is given, also as initialised; the key may be
        any.
      kinds, layout: as for `mup`.

    Returns:
      Parameters of the same structure, shapes and types. At the base's own width they are unchanged.

    Raises:
      TypeError: leaves that are no arrays.
      ValueError: as for `mup`.

    Source: Yang et al. 2022, Tensor Programs V, table 3.

    Examples:
      >>> import jax, jax.numpy as jnp, lrjax
      >>> def init(key, width):
      ...     first, last = jax.random.normal(key, (2, width, width))
      ...     return {"hidden": first / width**0.5, "last": last[:, :10] / width**0.5}
      >>> params, base = (init(jax.random.key(0), width) for width in (256, 64))
      >>> scaled = lrjax.scaling.rescale_init(params, base)
      >>> print(*(round(float(scaled[name].std() / params[name].std()), 3) for name in params))
      1.0 0.5
    """
    leaves = read_leaves("rescale_init", base, params, kinds, layout)
    arrays, treedef = jax.tree.flatten(params)
    return treedef.unflatten(map(_rescaled, leaves, arrays, jax.tree.leaves(base)))


def _rescaled(leaf: Leaf, array: Array, base: Any) -> Array:
    if not leaf.trains or leaf.kind == "fixed":
        return array
    fan_in = initial_ratio(leaf) if leaf.kind == "hidden" else leaf.growth**-0.5 if leaf.kind == "output" else 1.0
    if isinstance(base, jax.ShapeDtypeStruct):
        measured = jnp.float32(fan_in)
    else:
        measured = _measured_ratio(array, base, (fan_in, 1.0, leaf.growth**-0.5))
    return (array * (initial_ratio(leaf) / measured)).astype(array.dtype)


def _measured_ratio(array: Array, base: Array, rules: tuple[float, ...]) -> Array:
    """How the root mean square went from the base's: the first of the rules that fits, else as measured."""
    here, there = (jnp.sqrt(jnp.mean(jnp.square(leaf.astype(np.float32)))) for leaf in (array, base))
    measured = jnp.where((here > 0) & (there > 0), here / jnp.where(there > 0, there, 1.0), 1.0)
    error = SPREAD * (0.5 / array.size + 0.5 / base.size) ** 0.5  # of normal values: the widest of the usual ones
    fits = [jnp.abs(measured / rule - 1) <= error for rule in rules]
    return jnp.select(fits, [jnp.float32(rule) for rule in rules], measured)

"""Programs over lanes: the pure functions of one trial, lifted over (seeds, lanes), compiled once and kept.

The functions are those of `_trial`. The number of steps of `advance_lane` is an argument, so that how a training is cut
into calls changes no bit of it. `vmap` and `chunked` vectorise, `map` is a loop over the lanes in the program; the
fourth executor, `loop`, is a loop on the host (`_host_loop`).
"""

import dataclasses
import functools
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from .._settings import current_settings, quick_options
from .._types import Array, PyTree
from ._devices import lane_axis
from ._executor import Chunked, Executor
from ._trial_data import SeedData, Shared, TrialSpec
from ._weak import WeakCache


@dataclasses.dataclass(frozen=True)
class Program:
    """A function of one lane, lifted for an executor and a mesh. Equal ones on equal shapes share one executable."""

    lane: Callable[..., Any]  # lane(spec, setting, state, seed, shared)
    spec: TrialSpec
    executor: Executor  # of a `Chunked` the size divides the lanes of a shard
    mesh: Mesh | None = None  # lanes are spread over one of its axes by hand, all others are XLA's
    shardings: tuple[PartitionSpec, ...] | None = None  # of the leaves of returned states, behind the axis of the lanes
    in_place: bool = False  # whether the states are overwritten by those that it returns

    def jitted(self) -> Any:
        """The program, ready to be lowered."""
        return jax.jit(self.function(), donate_argnums=(1,) if self.in_place else ())

    def function(self) -> Callable[..., Any]:
        """The program as a function of (settings, states, seeds, shared).

        Settings, states and results have the axes (seeds, lanes, ...), seeds (seeds, ...). What a kind does not read is
        None.
        """
        if self.mesh is None:
            return self._run
        axis, whole = lane_axis(self.mesh), PartitionSpec()
        lanes = PartitionSpec(None, axis)
        run = jax.shard_map(
            self._run,
            mesh=self.mesh,
            in_specs=(lanes, lanes, whole, whole),
            out_specs=lanes,
            axis_names={axis},
            check_vma=False,  # a loop's carry starts equal on all devices and ends different
        )
        if self.shardings is None:
            return run
        where = [NamedSharding(self.mesh, PartitionSpec(None, axis, *spec)) for spec in self.shardings]

        def placed(*arguments: Any) -> Any:
            leaves, treedef = jax.tree.flatten(run(*arguments))
            return treedef.unflatten(map(lax.with_sharding_constraint, leaves, where))

        return placed

    def _run(self, settings: PyTree, states: PyTree, seeds: SeedData, shared: Shared) -> Any:
        one = functools.partial(self.lane, self.spec)
        if self.executor == "vmap":
            lanes = jax.vmap(one, in_axes=(0, 0, None, None))
            return jax.vmap(lanes, in_axes=(0, 0, 0, None))(settings, states, seeds, shared)
        if isinstance(self.executor, Chunked):
            size = self.executor.size

            def of_seed(lanes: tuple[PyTree, PyTree, SeedData]) -> Any:
                *each, seed = lanes
                return _map_chunks(lambda lane: one(*lane, seed, shared), tuple(each), size)

            return lax.map(of_seed, (settings, states, seeds))
        return _map_rows(one, settings, states, seeds, shared, in_place=self.in_place)


def _map_chunks(one: Callable[[PyTree], PyTree], lanes: PyTree, size: int) -> PyTree:
    """`lax.map` in batches, which cannot put together results of size 0 (galore has them): they are made anew."""
    width, made = jax.tree.leaves(lanes)[0].shape[0], []

    def filled(lane: PyTree) -> list[Array]:
        made[:] = [one(lane)]
        return [leaf for leaf in jax.tree.leaves(made[0]) if leaf.size]

    results = iter(lax.map(filled, lanes, batch_size=size))
    empty = lambda leaf: jnp.zeros((width, *leaf.shape), leaf.dtype)  # noqa: E731
    return jax.tree.map(lambda leaf: next(results) if leaf.size else empty(leaf), made[0])


def _map_rows(
    one: Callable[..., Any], settings: PyTree, states: PyTree, seeds: SeedData, shared: Shared, *, in_place: bool
) -> Any:
    """One lane after the other; the rest of the output is zeros, or with `in_place` the states as they were."""
    assert shared.rows is not None
    num_seeds, width = jax.tree.leaves((settings, states))[0].shape[:2]
    first, stop = shared.rows
    outputs = states
    if not in_place:
        lane = lambda: one(*_at((settings, states), 0, 0), _at(seeds, 0), shared)  # noqa: E731
        outputs = jax.tree.map(lambda shape: _blank(shape, num_seeds, width), jax.eval_shape(lane))

    def body(index: Array, outputs: PyTree) -> PyTree:
        seed, row = index // (stop - first), first + index % (stop - first)
        lane = _at((settings, outputs if in_place else states), seed, row)
        return _put(outputs, one(*lane, _at(seeds, seed), shared), seed, row)

    return lax.fori_loop(0, num_seeds * (stop - first), body, outputs)


def _at(tree: PyTree, *index: Any) -> PyTree:
    for place in index:
        tree = jax.tree.map(lambda leaf, i=place: lax.dynamic_index_in_dim(leaf, i, keepdims=False), tree)
    return tree


def _put(tree: PyTree, new: PyTree, seed: Array, row: Array) -> PyTree:
    def put(leaf: Array, value: Array) -> Array:
        zero = jnp.zeros_like(row)  # under x64 a Python 0 is an int64, and the indices must be of one type
        return lax.dynamic_update_slice(leaf, value[None, None], (seed, row) + (zero,) * value.ndim)

    return jax.tree.map(put, tree, new)


def _blank(shape: Any, *axes: int) -> Array:
    """Zeros, of typed PRNG keys too."""
    if not jnp.issubdtype(shape.dtype, jax.dtypes.prng_key):
        return jnp.zeros((*axes, *shape.shape), shape.dtype)
    words = jax.eval_shape(jax.random.key_data, shape)
    return jax.random.wrap_key_data(jnp.zeros((*axes, *words.shape), words.dtype), impl=key_impl(shape))


def key_impl(shape: Any) -> Any:
    """How a typed PRNG key of this shape and dtype is made; `jax.random.key_impl` takes keys only."""
    found = []
    jax.eval_shape(lambda key: found.append(jax.random.key_impl(key)), shape)
    return found[0]


def compile_program(program: Program, arguments: tuple) -> Any:
    """The executable of a program for arguments of these shapes; compiled once for equal steps."""
    leaves, treedef = jax.tree.flatten(arguments)
    shapes = tuple(
        jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding if program.mesh else None)
        for leaf in leaves
    )
    known = (treedef, shapes, current_settings())
    lower = lambda: lower_program(program, treedef.unflatten(shapes))  # noqa: E731
    return programs.get((program, *known), lambda: compile_once(lower(), program.mesh, *known))


programs = WeakCache(64)
"""The executables; they hold none of the functions that they were compiled from."""


def lower_program(program: Program, arguments: tuple) -> Any:
    """The program before compilation."""
    return program.jitted().lower(*arguments)


RECENT, LONGEST_TEXT = 16, 2**20
"""Executables that are kept by the text of their program, and the characters of a text that holds no user's data."""

_by_text: OrderedDict[Any, Any] = OrderedDict()


def compile_once(lowered: Any, *known: Any, quick: bool = False) -> Any:
    """The executable of a lowered program; that of an equal one made of other functions, as a `lambda` written again.

    `known` is what the text does not say: the structure of the arguments, devices, settings. `quick` is for programs
    whose last bit does not matter.
    """
    # Arrays that a program closes over may be no part of its text: docs.jax.dev/en/latest/internals/constants.html
    compile = functools.partial(lowered.compile, quick_options() if quick else None)
    if len(getattr(getattr(lowered, "_lowering", None), "const_args", [None])):
        return compile()
    text = lowered.as_text()
    if len(text) > LONGEST_TEXT or "callback" in text or "stablehlo.send" in text:  # calls a function of the user's
        return compile()
    key = (hashlib.sha256(text.encode()).digest(), jax.tree.structure(lowered.out_info), quick, *known)
    compiled = _by_text.pop(key, None) or compile()
    _by_text[key] = compiled
    if len(_by_text) > RECENT:
        _by_text.popitem(last=False)
    return compiled

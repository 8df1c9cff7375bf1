"""Values that a user, or a program of a user's, may pass by mistake: makers, so that nobody gets a spent generator."""

import decimal
import enum
import fractions
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lrjax import schedules


class Refusing:
    """An object that fails at everything that is asked of it."""

    def _refuse(self, *arguments):
        raise RuntimeError("this object refuses")

    __repr__ = __str__ = __bool__ = __float__ = __index__ = __int__ = __array__ = __len__ = _refuse
    __eq__ = __lt__ = __gt__ = _refuse
    __hash__ = object.__hash__


class Evasive:
    """An object whose attributes cannot be read."""

    def __getattr__(self, name):
        raise ZeroDivisionError("no attributes today")


class Endless:
    """An object with a repr of a megabyte."""

    def __repr__(self):
        return "x" * 1_000_000


class Level(enum.IntEnum):
    """Whole numbers with names."""

    LOW = 2


def _fail(step):
    raise RuntimeError("this function fails")


def _pandas(name, *arguments):
    pandas = __import__("pytest").importorskip("pandas")
    return getattr(pandas, name)(*arguments)


NUMBERS = {
    "0": lambda: 0,
    "1": lambda: 1,
    "2": lambda: 2,
    "3": lambda: 3,
    "-1": lambda: -1,
    "0.5": lambda: 0.5,
    "0.1": lambda: 0.1,
    "2.0": lambda: 2.0,
    "2.5": lambda: 2.5,
    "-0.0": lambda: -0.0,
    "nan": lambda: float("nan"),
    "inf": lambda: float("inf"),
    "-inf": lambda: -float("inf"),
    "1e-320": lambda: 1e-320,
    "1e39": lambda: 1e39,
    "1e300": lambda: 1e300,
    "2**31": lambda: 2**31,
    "2**63": lambda: 2**63,
    "10**25": lambda: 10**25,
    "-10**25": lambda: -(10**25),
    "10**400": lambda: 10**400,
    "10**5000": lambda: 10**5000,
    "True": lambda: True,
    "False": lambda: False,
    "1j": lambda: 1j,
    "Decimal": lambda: decimal.Decimal("0.5"),
    "Decimal nan": lambda: decimal.Decimal("sNaN"),
    "Fraction": lambda: fractions.Fraction(1, 3),
    "IntEnum": lambda: Level.LOW,
    "np.int64": lambda: np.int64(2),
    "np.uint8": lambda: np.uint8(3),
    "np.float16": lambda: np.float16(2),
    "np.float32": lambda: np.float32(0.5),
    "np.float64 nan": lambda: np.float64("nan"),
    "np.longdouble": lambda: np.longdouble(2),
    "np.bool_": lambda: np.bool_(True),
    "np.complex64": lambda: np.complex64(2),
    "np.datetime64": lambda: np.datetime64("2020-01-01"),
    "np.timedelta64": lambda: np.timedelta64(2, "s"),
    "np.str_": lambda: np.str_("2"),
    "np.array(2)": lambda: np.array(2),
    "np.array(2.)": lambda: np.array(2.0),
    "jnp.int32": lambda: jnp.int32(2),
    "jnp.float32": lambda: jnp.float32(0.5),
    "jnp.bfloat16": lambda: jnp.bfloat16(2),
    "jnp.bool_": lambda: jnp.asarray(True),
    "jnp nan": lambda: jnp.asarray(jnp.nan),
}

ARRAYS = {
    "np.array([2])": lambda: np.array([2]),
    "np.ones(3)": lambda: np.ones(3),
    "np.ones((2, 2))": lambda: np.ones((2, 2)),
    "np.zeros(0)": lambda: np.zeros(0),
    "np words": lambda: np.array(["a"]),
    "np objects": lambda: np.array([None]),
    "np object number": lambda: np.array(2, object),
    "np record": lambda: np.zeros(2, [("a", "f4")]),
    "np masked": lambda: np.ma.masked_array([1.0, 2.0], [True, False]),
    "np large": lambda: np.zeros((300, 300)),
    "jnp.ones(1)": lambda: jnp.ones(1),
    "jnp.ones(2)": lambda: jnp.ones(2),
    "jnp.zeros((0, 2))": lambda: jnp.zeros((0, 2)),
    "key": lambda: jax.random.key(1),
    "legacy key": lambda: jax.random.PRNGKey(1),
    "keys": lambda: jax.random.split(jax.random.key(1), 3),
    "shape": lambda: jax.ShapeDtypeStruct((2,), np.float32),
    "series": lambda: _pandas("Series", [2.0]),
    "frame": lambda: _pandas("DataFrame", {"a": [1, 2]}),
    "timestamp": lambda: _pandas("Timestamp", 0),
    "pandas NA": lambda: _pandas("isna", None) and __import__("pandas").NA,
}

WORDS = {
    "empty": lambda: "",
    "no": lambda: "no",
    "a number in words": lambda: "10",
    "a share": lambda: "10%",
    "an endless share": lambda: "9" * 400 + "%",
    "a long word": lambda: "loss " * 10_000,
    "odd letters": lambda: "𝓁𝓇\u202e\x00\n`{}%s",
    "a surrogate": lambda: "\ud800",
    "bytes": lambda: b"x",
    "a path": lambda: pathlib.Path("no such folder/file"),
}

OBJECTS = {
    "None": lambda: None,
    "...": lambda: ...,
    "[]": lambda: [],
    "[1, 2]": lambda: [1, 2],
    "[2, 1]": lambda: [2, 1],
    "(0.1,)": lambda: (0.1,),
    "[None]": lambda: [None],
    "['a', 1]": lambda: ["a", 1],
    "nested": lambda: [[1.0], [1.0, 2.0]],
    "a long list": lambda: [0.5] * 10_000,
    "{}": lambda: {},
    "{'a': 1}": lambda: {"a": 1},
    "{1: 'a'}": lambda: {1: "a"},
    "{1, 2}": lambda: {1, 2},
    "range": lambda: range(3),
    "generator": lambda: (x for x in (1, 2)),
    "slice": lambda: slice(2),
    "memoryview": lambda: memoryview(b"ab"),
    "object": object,
    "Refusing": Refusing,
    "[Refusing]": lambda: [Refusing()],
    "Evasive": Evasive,
    "Endless": Endless,
    "error": lambda: ValueError("x"),
    "class": lambda: Refusing,
    "module": lambda: np,
    "lambda: 0": lambda: lambda: 0,
    "lambda x: x": lambda: lambda x: x,
    "lambda x: None": lambda: lambda x: None,
    "lambda of six": lambda: lambda a, b, c, d, e, f: None,
    "a failing function": lambda: _fail,
    "optimizer": lambda: optax.sgd(0.1),
    "factory": lambda: optax.sgd,
    "schedule": lambda: schedules.constant(0.1),
    "schedules": lambda: [schedules.constant(0.1)],
    "optax schedule": lambda: optax.constant_schedule(0.1),
    "device": lambda: jax.devices()[0],
    "mesh": lambda: jax.sharding.Mesh(np.array(jax.devices()[:1]), ("trial",)),
}

ODD = {**NUMBERS, **ARRAYS, **WORDS, **OBJECTS}

"""One process, one device, no settings from outside: what each test needs, it makes itself."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("KERAS_BACKEND", "jax")

from jaxtyping import install_import_hook

# Shapes and types are checked at run time, in the tests only. Not in the modules whose own argument checks come
# first: their messages are tested.
CHECKED = [
    "lrjax.finder._curve",
    "lrjax.finder._refine",
    "lrjax.finder._rules",
    "lrjax.finder._warnings",
    "lrjax.finder._window",
    "lrjax.range_rules._smoothing",
    "lrjax.trials._devices",
    "lrjax.trials._executors",
    "lrjax.trials._memory",
    "lrjax.trials._trial",
]

with install_import_hook(CHECKED, "beartype.beartype"):
    import lrjax  # noqa: F401

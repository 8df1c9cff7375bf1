"""One process, one device, no settings from outside: what each test needs, it makes itself."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "Agg")

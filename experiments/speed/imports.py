"""How long `import lrjax` takes beside `import jax, optax`, which it needs anyway.

Command: python experiments/speed/imports.py [pairs]      (about a minute)
Prints the processor seconds (user and system) of fresh interpreters, both programs in turn: the medians, and the median
of the pairs' ratios with its quartiles; once more with the garbage collector off. With compiled modules, as an
installation has them.
A full collection of what jax and optax left takes as long as all of lrjax, and happens to become due while lrjax is
imported; without lrjax it comes a little later.
"""

import os
import statistics
import subprocess
import sys
import tempfile

PROGRAMS = {"jax, optax": "import jax, optax", "lrjax": "import jax, optax, lrjax"}
WAYS = {"": "", ", collector off": "import gc; gc.disable(); "}


def seconds_of(program: str, environment: dict[str, str]) -> float:
    """Processor seconds of a fresh interpreter."""
    before = os.times()
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def main(pairs: int = 15) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = cache
        seconds_of(PROGRAMS["lrjax"], environment)  # compiles the modules
        for way, before in WAYS.items():
            runs = [[seconds_of(before + program, environment) for program in PROGRAMS.values()] for _ in range(pairs)]
            for name, seconds in zip(PROGRAMS, zip(*runs, strict=True), strict=True):
                print(f"import {name + way:26s}{statistics.median(seconds):.3f} s")
            low, middle, high = statistics.quantiles([with_lrjax / without for without, with_lrjax in runs], n=4)
            print(f"ratio {middle:.3f} ({low:.3f} to {high:.3f}) over {pairs} pairs")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

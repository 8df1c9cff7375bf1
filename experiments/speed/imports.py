"""How long `import lrjax` takes beside `import jax, optax`, which it needs anyway.

Command: python experiments/speed/imports.py [pairs]      (about 20 s)
Prints the processor seconds (user and system) of fresh interpreters, both programs in turn, and the ratio of the
smallest ones. With compiled modules, as an installation has them.
"""

import os
import subprocess
import sys
import tempfile

PROGRAMS = {"jax, optax": "import jax, optax", "lrjax": "import jax, optax, lrjax"}


def seconds_of(program: str, environment: dict[str, str]) -> float:
    """Processor seconds of a fresh interpreter."""
    before = os.times()
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def main(pairs: int = 9) -> float:
    """Measure, print, and return the ratio."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = cache
        seconds_of(PROGRAMS["lrjax"], environment)  # compiles the modules
        runs = [[seconds_of(program, environment) for program in PROGRAMS.values()] for _ in range(pairs)]
    least = [min(column) for column in zip(*runs, strict=True)]
    for name, seconds in zip(PROGRAMS, least, strict=True):
        print(f"import {name:12s}{seconds:.3f} s")
    print(f"ratio {least[1] / least[0]:.3f} over {pairs} pairs")
    return least[1] / least[0]


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

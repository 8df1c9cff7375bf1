"""How long the first answer takes beside a hand-written script, and how much is compiled for it.

Command: python experiments/speed/first_answer.py [--runs 5] [--equal 15] [--results FILE]      (about 10 minutes)
Processor seconds (user and system) and compilations of fresh processes, which take turns; ratios are of one turn, to
the hand-written script of the same turn (`by_hand.py`). Then whether equal calls in fresh processes give the same curve
bit for bit: those of the turns, and some with programs kept, beside processes that take all cores. Prints a table and
writes the samples.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import describe_machine

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "experiments" / "results" / "speed_first_answer.json"

COUNT = """
import atexit, jax, sys
compiled = []
listen = lambda event, duration, **_: event.endswith("backend_compile_duration") and compiled.append(duration)
jax.monitoring.register_event_duration_secs_listener(listen)
atexit.register(lambda: print("compilations", len(compiled), file=sys.stderr))
"""
(EXAMPLE,) = [
    block
    for block in re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    if "def loss_fn" in block
]
BY_HAND = "import runpy; sys.argv = ['by_hand.py', {which!r}]; runpy.run_path({path!r}, run_name='__main__')"
OF_HAND = {
    which: BY_HAND.format(which=which, path=str(Path(__file__).with_name("by_hand.py")))
    for which in ("search", "sweep")
}
TASK, _, _ = EXAMPLE.partition("result = lrjax.find_lr(")
SAMPLED = f"""{TASK}
result = lrjax.find_lr(task, optax.adam, key=jax.random.key(0))
print(result.summary())
import hashlib
print(hashlib.sha256(result.curve.losses.tobytes()).hexdigest())
"""
GRID = '{"learning_rate": jnp.logspace(-5, 0, 16)}'
SCRIPT = "import runpy; runpy.run_path({!r}, run_name='__main__')"
FIND_COMMAND = "from lrjax.cli import main; sys.exit(main(['find', '--out', 'out']))"

WITHOUT = "without train_steps: step sampling"
PROGRAMS: dict[str, tuple[str, str]] = {
    "README, a search with a budget": (EXAMPLE, "search"),
    "the same, programs kept": (EXAMPLE, "search"),
    WITHOUT: (SAMPLED, "search"),
    "sweep 16 x 300": (
        f"{TASK}lrjax.sweep(task, optax.adam, {GRID}, key=jax.random.key(0), train_steps=300)",
        "sweep",
    ),
    "lrjax find, picture and JSON": (FIND_COMMAND, "search"),
    "examples/nnx_cnn.py": (SCRIPT.format(str(ROOT / "examples" / "nnx_cnn.py")), "search"),
    "examples/equinox_mlp.py": (SCRIPT.format(str(ROOT / "examples" / "equinox_mlp.py")), "search"),
}
"""What is measured -> its code, and the hand-written script that it is compared with."""


def run(code: str, folder: str, *, keep: bool = False, platforms: str = "cpu") -> dict[str, Any]:
    """Processor and wall seconds, compilations and the last line of a fresh process; platforms "": JAX's choice."""
    environment = {name: value for name, value in os.environ.items() if "CACHE" not in name}
    environment |= {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": platforms, "MPLBACKEND": "Agg"}
    environment |= {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}  # another process may hold most of a GPU
    if keep:
        environment |= {"JAX_COMPILATION_CACHE_DIR": folder, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        environment |= {"JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}
    started, before = time.perf_counter(), os.times()
    done = subprocess.run(
        [sys.executable, "-c", COUNT + code], env=environment, cwd=folder, capture_output=True, text=True
    )
    after = os.times()
    if done.returncode:
        raise SystemExit(done.stderr)
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    compilations = int(re.findall(r"compilations (\d+)", done.stderr)[-1])
    found = {"seconds": seconds, "compilations": compilations, "last": done.stdout.strip().splitlines()[-1:]}
    return found | {"wall_seconds": time.perf_counter() - started}


def measure(runs: int, folder: str) -> dict[str, list[dict[str, Any]]]:
    """The samples of every program, in turns."""
    samples: dict[str, list[dict[str, Any]]] = {}
    kept = "the same, programs kept"
    run(EXAMPLE, folder, keep=True)  # fills the folder
    for turn in range(runs):
        for which, code in OF_HAND.items():
            samples.setdefault(f"by hand, {which}", []).append(run(code, folder))
        for name, (code, _) in PROGRAMS.items():
            samples.setdefault(name, []).append(run(code, folder, keep=name == kept))
        print(f"turn {turn + 1} of {runs}", file=sys.stderr)
    return samples


def curves(count: int, folder: str) -> set[str]:
    """The curves of equal calls in fresh processes, beside as many busy processes as cores."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    found = {run(SAMPLED, folder, keep=True)["last"][0] for _ in range(count)}
    for process in busy:
        process.kill()
        process.wait()
    return found


def table(samples: dict[str, list[dict[str, Any]]]) -> str:
    """Medians, and ratios of one turn."""
    lines = ["| from a fresh process | CPU seconds | compilations | beside by hand |", "|---|---|---|---|"]
    for name, found in samples.items():
        seconds, ratio = [one["seconds"] for one in found], ""
        if name in PROGRAMS:
            pairs = zip(found, samples[f"by hand, {PROGRAMS[name][1]}"], strict=True)
            ratios = [one["seconds"] / other["seconds"] for one, other in pairs]
            ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        compiled = statistics.median(one["compilations"] for one in found)
        lines.append(f"| {name} | {statistics.median(seconds):.2f} | {compiled:.0f} | {ratio} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--equal", type=int, default=15)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        samples = measure(options.runs, folder)
        kept = sum(path.stat().st_size for path in Path(folder).glob("*-cache"))
        print(table(samples), f"\nprograms kept: {kept / 2**20:.2f} MiB", flush=True)
        equal = curves(options.equal, folder) | {one["last"][0] for one in samples[WITHOUT]}
    print(f"{options.equal + options.runs} equal calls: {len(equal)} curve{'s' * (len(equal) != 1)}")
    found: dict[str, Any] = {"machine": describe_machine(), "kept_bytes": kept}
    found |= {"equal_calls": options.equal + options.runs, "curves": len(equal)}
    found["samples"] = {
        name: [{key: one[key] for key in ("seconds", "compilations")} for one in of] for name, of in samples.items()
    }
    options.results.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

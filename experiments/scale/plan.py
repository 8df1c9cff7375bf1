"""What 10,000 trials of a 100-million-parameter model would take on 256 devices, and how far to trust that.

    python experiments/scale/plan.py             # about 8 minutes on two cores; a run that was stopped goes on

Three parts, written to experiments/results/scale.json: `check` compares `lrjax.preview` with sweeps that ran here
(bytes of the compiled program and of the process, seconds); `mesh` compiles and runs a sweep on 256 forced host
devices; `plan` compiles the large model for two and four lanes and plans the rest. Expected: bytes within 20 %, time
within a factor of 2, no collective on 256 devices.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).resolve().parent.parent / "results" / "scale.json"
CHECKS = [("mlp", "map", 24), ("mlp", "vmap", 24), ("transformer", "map", 8), ("transformer", "vmap", 8)]
CHECK_STEPS = {"mlp": 40, "transformer": 6}
WIDE = {"mlp": 192, "transformer": 24}
DEVICES, TRIALS, STEPS = 256, 10_000, 10_000
DEVICE_BYTES = 80e9
FLOPS = 400e12
SHARE = 0.4
"""An assumption: a device with 400 TFLOP/s of which training reaches 40 %."""

WIDTH, LAYERS, HEADS, VOCABULARY, SEQUENCE, BATCH = 768, 12, 12, 20_000, 512, 8


def main() -> None:
    """Run the parts, each in a process of its own, and print the page's numbers."""
    parser = argparse.ArgumentParser(description="What a large sweep would take.")
    parser.add_argument("--fresh", action="store_true", help="measure again what was measured")
    parser.add_argument("--part", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        print(json.dumps(PARTS[options.part[0]](*options.part[1:])))
        return
    results: dict[str, Any] = {}
    if RESULTS.exists() and not options.fresh:
        results = json.loads(RESULTS.read_text())
    parts: dict[str, tuple[str, ...]] = {"plan": ("plan",), "mesh": ("mesh",)}
    for model, executor, lanes in CHECKS:
        for count in (lanes, WIDE[model]):
            parts[f"check {model} {executor} {count}"] = ("check", model, executor, str(count))
    for part, words in parts.items():
        if part not in results:
            results[part] = in_process(*words, devices=DEVICES if part == "mesh" else 1)
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        print(part, json.dumps(results[part]), flush=True)


def in_process(*words: str, devices: int = 1) -> dict[str, Any]:
    """A part in a process of its own: its peak memory is its own."""
    flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"} if devices > 1 else {}
    ended = subprocess.run(
        [sys.executable, __file__, "--part", *words],
        env=os.environ | flags,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(ended.stdout.splitlines()[-1])


def check(model: str, executor: str, lanes: str) -> dict[str, Any]:
    """A plan from eight lanes, and the sweep of all."""
    import jax

    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "speed"))
    from models import MODELS

    import lrjax

    problem, count, steps = MODELS[model], int(lanes), CHECK_STEPS[model]
    task, factory, grid = problem.task(), problem.make_optimizer(), {"lr": problem.lrs(count)}
    plan = lrjax.preview(lrjax.sweep, task, factory, grid, key=jax.random.key(0), train_steps=steps, executor=executor)
    before = resident()
    result = lrjax.sweep(task, factory, grid, key=jax.random.key(0), train_steps=steps, executor=executor)
    grown = peak_resident() - before
    return {
        "model": model,
        "executor": executor,
        "lanes": count,
        "planned_bytes": plan.bytes,
        "compiled_bytes": result.execution.bytes,
        "process_bytes": grown,
        "planned_over_compiled": plan.bytes / result.execution.bytes,
        "planned_over_process": plan.bytes / grown,
        "planned_seconds": plan.seconds,
        "seconds": result.execution.run_seconds,
        "planned_over_measured_seconds": plan.seconds / result.execution.run_seconds,
    }


def resident() -> int:
    """Bytes of the process now; its peak is set back to that."""
    Path("/proc/self/clear_refs").write_text("5")
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) * 1024


def peak_resident() -> int:
    """The most bytes that the process has had since `resident`."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields.get("VmHWM", f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss} kB").split()[0]) * 1024


def mesh() -> dict[str, Any]:
    """A sweep of 1,024 tiny trials on 256 forced host devices."""
    import jax
    import optax
    from jax.sharding import Mesh

    import lrjax
    from lrjax._engine import _lane_engine as _engine
    from lrjax._engine import compile_program, program_bytes
    from lrjax.demos import digits

    seen: dict[str, Any] = {}

    def compile_and_look(program: Any, arguments: tuple) -> Any:
        compiled = compile_program(program, arguments)
        if program.kind == "advance":
            words = re.findall(
                r"(all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)", compiled.as_text()
            )
            seen.update({"collectives": len(words), "bytes": program_bytes(compiled)})
        return compiled

    _engine.compile_program = compile_and_look
    lrs = np.geomspace(1e-4, 1e-2, 4 * DEVICES)
    options: dict[str, Any] = {"key": jax.random.key(0), "train_steps": 4, "executor": "map"}
    task = digits(hidden=8)
    many = lrjax.sweep(
        task, optax.adam, {"learning_rate": lrs}, mesh=Mesh(np.asarray(jax.devices()), ("trial",)), **options
    )
    bytes_many = dict(seen)
    one = Mesh(np.asarray(jax.devices()[:1]), ("trial",))
    alone = lrjax.sweep(task, optax.adam, {"learning_rate": lrs}, mesh=one, **options)
    return {
        "devices": jax.device_count(),
        "trials": len(lrs),
        "collectives": bytes_many["collectives"],
        "bytes_per_device": bytes_many["bytes"],
        "bytes_on_one": seen["bytes"],
        "same_numbers": bool(np.array_equal(many.final(), alone.final())),
    }


def plan() -> dict[str, Any]:
    """The large sweep."""
    import dataclasses

    import jax
    import optax

    import lrjax

    task, parameters = large_task()
    update = 6 * parameters * BATCH * SEQUENCE / (FLOPS * SHARE)
    grid = lrjax.zipped(learning_rate=np.geomspace(1e-5, 1e-2, TRIALS), weight_decay=np.geomspace(1e-3, 1, TRIALS))
    planned = lrjax.preview(
        lrjax.sweep,
        task,
        optax.adamw,
        grid,
        key=jax.random.key(0),
        train_steps=STEPS,
        devices=DEVICES,
        device_bytes=DEVICE_BYTES,
        update_seconds=update,
    )
    print(planned.summary(), file=sys.stderr)
    return {"parameters": parameters, "steps": STEPS, "assumed_flops": FLOPS * SHARE, **dataclasses.asdict(planned)}


def large_task() -> tuple[Any, int]:
    """A causal language model of 12 layers as plain functions, each layer recomputed in the backward pass."""
    import jax
    import jax.numpy as jnp
    import optax

    import lrjax

    def init(key: Any) -> Any:
        keys = jax.random.split(key, 6)
        normal = lambda k, *shape: 0.02 * jax.random.normal(k, shape)  # noqa: E731
        return {
            "embed": normal(keys[0], VOCABULARY, WIDTH),
            "position": normal(keys[1], SEQUENCE, WIDTH),
            "qkv": normal(keys[2], LAYERS, WIDTH, 3 * WIDTH),
            "out": normal(keys[3], LAYERS, WIDTH, WIDTH),
            "up": normal(keys[4], LAYERS, WIDTH, 4 * WIDTH),
            "down": normal(keys[5], LAYERS, 4 * WIDTH, WIDTH),
            "scales": jnp.ones((LAYERS, 2, WIDTH)),
        }

    def normalise(x: Any, scale: Any) -> Any:
        return scale * x * jax.lax.rsqrt(jnp.mean(x**2, -1, keepdims=True) + 1e-6)

    @jax.checkpoint
    def layer(x: Any, weights: Any) -> tuple[Any, None]:
        qkv, out, up, down, scales = weights
        q, k, v = jnp.split(normalise(x, scales[0]) @ qkv, 3, axis=-1)
        q, k, v = (part.reshape(*part.shape[:2], HEADS, -1) for part in (q, k, v))
        mixed = jax.nn.dot_product_attention(q, k, v, is_causal=True).reshape(x.shape)
        x = x + mixed @ out
        return x + jax.nn.gelu(normalise(x, scales[1]) @ up) @ down, None

    def loss_fn(params: Any, tokens: Any, key: Any) -> Any:
        x = params["embed"][tokens[:, :-1]] + params["position"]
        x, _ = jax.lax.scan(layer, x, tuple(params[name] for name in ("qkv", "out", "up", "down", "scales")))
        logits = x @ params["embed"].T
        return optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:]).mean()

    params = jax.eval_shape(init, jax.random.key(0))
    tokens = np.zeros((2 * BATCH, SEQUENCE + 1), np.int32)
    task = lrjax.Task.from_arrays(init, loss_fn, train=tokens, validation=tokens[:BATCH], batch_size=BATCH)
    return task, sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params))


PARTS = {"check": check, "mesh": mesh, "plan": plan}


if __name__ == "__main__":
    main()

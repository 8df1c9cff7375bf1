"""Test files as scripts in processes of their own, which have devices and hosts that the tests' process has not."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import lrjax


def start(file: str, devices: int, function: str, *arguments: str) -> subprocess.Popen:
    """A function of a test file in a process with so many devices; the file ends with `tell`."""
    settings = {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(Path(lrjax.__file__).parent.parent),
    }
    # A process that was killed may have left half a program in the suite's folder of compiled ones.
    warnings = ["-W", "error", "-W", "ignore:Error reading persistent compilation cache"]
    command = [sys.executable, *warnings, file, function, *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=os.environ | settings, text=True, **pipes)


def start_lrjax(*words: str, cwd: Path) -> subprocess.Popen[str]:
    """`lrjax` with these words in a process of its own that heeds Ctrl-C."""
    path = os.pathsep.join([str(Path(lrjax.__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    # A shell's background jobs ignore Ctrl-C, and their children inherit that; a handled signal becomes the default.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "lrjax", *words],
            cwd=cwd,
            env=os.environ | {"PYTHONPATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        signal.signal(signal.SIGINT, before)


def tell(functions: dict[str, Any]) -> None:
    """Call the function that the command line names, and print what it returns for `finish`."""
    print(json.dumps(functions[sys.argv[1]](*sys.argv[2:])))


def finish(*processes: subprocess.Popen) -> list[dict[str, Any]]:
    """What they measured, once all have ended."""
    try:
        ended = [process.communicate(timeout=400) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    for process, (_, errors) in zip(processes, ended, strict=True):
        assert process.returncode == 0, errors[-3000:]
    return [json.loads(output.splitlines()[-1]) for output, _ in ended]


def free_port() -> str:
    """A port that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])

"""The benchmark for one GPU runs on a CPU: its smallest cells, one after the other, each in the file at once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("flax")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "experiments" / "speed" / "gpu.py"
NAMES = ["peak", "first answer", "lanes/torch, 1", "engine/tiny_mlp/vmap", "engine/tiny_mlp/step loop"]
NAMES += ["sweep/tiny_mlp/streamed", "facts/tiny_mlp"]


def run_script(path: Path, *options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(SCRIPT), "--quick", "--results", str(path), *options]
    (path.parent / "torch.py").write_text("raise ImportError('a broken PyTorch')")
    folders = os.pathsep.join([str(path.parent), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": folders, "JAX_PLATFORMS": "cpu"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    path = tmp_path_factory.mktemp("gpu") / "results.json"
    done = run_script(path, "--only", *NAMES)
    assert done.returncode == 0, done.stderr
    return path, done.stdout


def test_smallest_cells_are_measured_and_one_that_fails_keeps_none_from_being_measured(measured):
    path, output = measured
    cells = json.loads(path.read_text())["cells"]
    assert list(cells) == NAMES
    errors = {name: cell["error"] for name, cell in cells.items() if "error" in cell}
    assert errors == {"lanes/torch, 1": "ImportError: a broken PyTorch"}
    assert min(cells["peak"][kind] for kind in ("fp32", "default", "bf16")) > 0
    assert cells["first answer"]["cold"]["compilations"] == 1
    for name in ("vmap", "step loop"):
        assert cells[f"engine/tiny_mlp/{name}"]["ms"] > 0
        assert cells[f"engine/tiny_mlp/{name}"]["lanes"] == 2
    assert 0 <= cells["sweep/tiny_mlp/streamed"]["stall_share"] <= 1
    assert not cells["facts/tiny_mlp"]["convolution"]
    assert 1.0 <= cells["facts/tiny_mlp"]["predicted / actual"] <= 1.2
    assert "| tiny_mlp/streamed | -" in output
    assert "| tiny_mlp | 1.7e+06 | no " in output


def test_the_process_ends_with_its_time_and_what_is_known_is_kept(measured):
    path, _ = measured
    before = json.loads(path.read_text())["cells"]
    done = run_script(path, "--only", "lanes/vmap*", "--minutes", "0.005")
    assert done.returncode != 0
    assert "Timeout" in done.stderr
    after = json.loads(path.read_text())["cells"]
    assert {name: after[name] for name in before} == before

"""The speed benchmark runs: its smallest setting, without PyTorch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # CI runs them

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "experiments" / "speed" / "engine.py"


@pytest.fixture(scope="module")
def run_script(tmp_path_factory):
    folder = tmp_path_factory.mktemp("speed")
    results, tables = folder / "results.json", folder / "tables.md"

    def run() -> tuple[dict, str, str]:
        options = ["--models", "tiny_mlp", "--widths", "2", "--budget-minutes", "0.1", "--quick", "--no-torch"]
        command = [sys.executable, str(SCRIPT), *options, "--results", str(results), "--markdown", str(tables)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert tables.read_text() == done.stdout
        return json.loads(results.read_text()), done.stdout, done.stderr

    return run


def test_smallest_setting_measures_every_engine_and_goes_on_from_its_file(run_script):
    results, tables, progress = run_script()
    assert "tiny_mlp, 2 learning rates" in progress
    engines = results["cells"]["tiny_mlp/2"]["engines"]
    assert list(engines) == ["step loop", "scan loop", "auto", "vmap", "map", "loop"]
    for entry in engines.values():
        assert entry["lanes"] == 2
        assert len(entry["samples"]) >= 1
        assert min(entry["samples"]) > 0
        assert entry["deviation"] < 1e-3
    assert results["machine"]["backend"] == "cpu"
    assert "| tiny_mlp | 2 " in tables

    again, same, progress = run_script()
    assert again == results
    assert same == tables
    assert "has 1 cells" in progress

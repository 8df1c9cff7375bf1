"""The public surface: names, imports, docstrings and the arrows between the rooms."""

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import lrjax

ROOT = Path(lrjax.__file__).parent

NAMES = [
    "AutoResult",
    "BestTrial",
    "Chunked",
    "Evaluation",
    "Execution",
    "LRFinderResult",
    "LRNotFound",
    "LRWarning",
    "LossCurve",
    "PeakNotFound",
    "PlateauState",
    "Outcome",
    "PlannedRung",
    "Preview",
    "RangeTest",
    "Recommendation",
    "RefindResult",
    "ScheduledState",
    "SearchInterrupted",
    "SearchPlan",
    "SearchProgress",
    "SearchResult",
    "SearchRung",
    "SearchWarning",
    "SearchWarningName",
    "StopDiverged",
    "SuccessiveHalving",
    "SweepExecution",
    "SweepInterrupted",
    "SweepPlan",
    "SweepProgress",
    "SweepResult",
    "Suggestions",
    "Task",
    "TunedPeak",
    "WarningName",
    "Window",
    "Zipped",
    "at_step",
    "auto",
    "crossing",
    "current_hyperparams",
    "experimental",
    "find_lr",
    "find_warnings",
    "find_window",
    "half_loss",
    "lowest_for",
    "lowest_loss",
    "midpoint",
    "peak_for",
    "plan_search",
    "plan_sweep",
    "preview_lr",
    "range_rules",
    "range_test",
    "recommend",
    "reduce_on_plateau",
    "refind_lr",
    "sample_losses",
    "scheduled",
    "schedules",
    "search_lr",
    "steepest",
    "sweep",
    "tune_peak",
    "zipped",
]

MODULES = ("experimental", "range_rules", "schedules")

# room -> the rooms it may import; the files above the rooms are the ground, everybody's
ARROWS = {
    "schedules": set(),
    "range_rules": set(),
    "_curve": set(),
    "_engine": set(),
    "_search": {"_curve", "_engine", "_sweeps", "range_rules"},
    "_sweeps": {"_engine", "schedules"},
    "_plan": {"_curve", "_engine", "_search", "schedules"},
    "experimental": {"_curve", "_engine", "_search", "schedules"},
    "demos": {"_engine"},
    "integrations": {"_engine", "_search", "schedules"},
    "explorer": {"_curve", "_search", "_plan", "demos", "schedules"},
    "cli": {"_curve", "_engine", "_plan", "_search", "_sweeps", "demos", "explorer", "range_rules", "schedules"},
}


def test_public_names_are_these():
    found = {name for name in dir(lrjax) if not name.startswith("_") and _is_api(name, getattr(lrjax, name))}
    assert found == set(NAMES)


def _is_api(name, value):
    return not inspect.ismodule(value) or name in MODULES


def test_what_is_imported_later_is_what_the_type_checker_sees():
    tree = ast.parse((ROOT / "__init__.py").read_text())
    checked = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {(f".{node.module or ''}", node.names[0].name) for node in checked.body}
    later = {(room, name) for room, names in lrjax._LATER.items() for name in names}
    assert seen == later | {(".", room) for room in lrjax._ROOMS}
    with pytest.raises(AttributeError, match=r"module 'lrjax' has no attribute 'serach_lr'"):
        lrjax.serach_lr()


SCHEDULES = [
    "Description",
    "Durations",
    "Phase",
    "Problem",
    "ProblemName",
    "clip",
    "constant",
    "cooldown_from",
    "cosine_decay",
    "cosine_restarts",
    "cyclic_exponential_decay",
    "describe",
    "exp_range",
    "exponential_decay",
    "extend",
    "from_spec",
    "inverse_sqrt_decay",
    "inverse_time_decay",
    "join",
    "k_decay",
    "linear_decay",
    "multiply",
    "one_cycle",
    "one_cycle_momentum",
    "piecewise_constant",
    "piecewise_interpolate",
    "polynomial_decay",
    "power_decay",
    "range_test_ramp",
    "repeat",
    "shift",
    "stack",
    "step_decay",
    "stretch",
    "tanh_decay",
    "to_spec",
    "triangular",
    "triangular2",
    "triangular_momentum",
    "validate",
    "warmup",
    "warmup_cosine",
    "warmup_stable_decay",
]


def test_public_schedules_are_these():
    found = {name for name, value in vars(lrjax.schedules).items() if name[0] != "_" and not inspect.ismodule(value)}
    assert found == set(SCHEDULES)


@pytest.mark.parametrize("name", [name for name in SCHEDULES if name[0].islower()])
def test_schedules_name_every_argument(name):
    _check_docstring(getattr(lrjax.schedules, name))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in MODULES])
def test_public_docstrings_name_every_argument(name):
    value = getattr(lrjax, name)
    assert value.__doc__, f"{name} has no docstring"
    if inspect.isfunction(value):
        _check_docstring(value)


def _check_docstring(value):
    section = value.__doc__.split("Args:")[1].split("Returns:")[0]
    for argument in inspect.signature(value).parameters:
        assert f"{argument}:" in section or f"{argument}," in section or f", {argument}" in section, argument
    assert "Returns:" in value.__doc__
    assert ">>>" in value.__doc__, f"{value.__name__} has no doctest"


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_rooms_import_only_what_they_may(path):
    room = path.relative_to(ROOT).parts[0].removesuffix(".py")
    if room not in ARROWS:
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom) or node.level == 0:
            continue
        package = path.relative_to(ROOT).parent.parts[: len(path.relative_to(ROOT).parent.parts) - node.level + 1]
        target = [*package, *(node.module or "").split(".")] if node.module else [*package]
        targets = [target[0]] if target and target[0] else [alias.name for alias in node.names]
        for other in targets:
            ground = (ROOT / f"{other}.py").exists()
            assert ground or other == room or other in ARROWS[room], f"{path.name} imports {other}"


def test_importing_lrjax_imports_nothing_heavy():
    heavy = ["matplotlib", "flax", "equinox", "keras", "haiku", "tyro", "rich", "torch", "orbax", "pandas", "xarray"]
    code = f"import sys, lrjax; print([m for m in {heavy} if m in sys.modules])"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    assert output.stdout.strip() == "[]"


def test_the_integrations_room_imports_no_ecosystem():
    code = "import sys, lrjax.integrations as i; print([m for m in ('flax', 'equinox', 'keras') if m in sys.modules], "
    code += "[n for n in vars(i) if n[0] != '_'])"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    assert output.stdout.strip() == "[] ['StepTask', 'step_task']"


INTEGRATIONS = {
    "flax": ["linen_task", "nnx_task", "optimizer_with_lr", "train_state_with_lr"],
    "equinox": ["task"],
    "keras": ["LRSchedule", "optimizer_factory", "set_lr", "task"],
    "plain": ["loss_task", "pair_task"],
    "data": ["epochs"],
}


@pytest.mark.parametrize("name", INTEGRATIONS)
def test_public_integrations_name_every_argument(name):
    module = _integration(name)
    own = {key: value for key in INTEGRATIONS[name] if (value := getattr(module, key))}
    for value in filter(inspect.isfunction, own.values()):
        section = value.__doc__.split("Args:")[1].split("Raises:")[0]
        for argument in inspect.signature(value).parameters:
            assert f"{argument}:" in section, f"{value.__name__}: {argument}"
        assert ">>>" in value.__doc__


def _integration(name):
    try:
        return importlib.import_module(f"lrjax.integrations.{name}")
    except ImportError as error:
        pytest.skip(f"{name} is not installed: {error}")


def test_rooms_are_attributes_before_anybody_imports_them():
    code = "import lrjax; lrjax.demos.digits, lrjax.plots.plot_finder, lrjax.explorer.explore, lrjax.cli.main; "
    code += "lrjax.experimental.piecewise, lrjax.integrations.step_task; print('demos' in dir(lrjax))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT.parent)
    assert (output.stdout, output.stderr) == ("True\n", "")


def test_importing_lrjax_starts_no_backend():
    code = "import jax, lrjax, lrjax.plots, lrjax.demos; jax.config.update('jax_num_cpu_devices', 2)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT.parent)
    assert output.returncode == 0, output.stderr


def test_no_path_of_a_machine_in_the_sources():
    for path in ROOT.rglob("*.py"):
        text = path.read_text()
        assert "/home/" not in text, path
        assert "/root/" not in text, path


def test_files_stay_readable():
    long = {path.name: n for path in ROOT.rglob("*.py") if (n := len(path.read_text().splitlines())) > 480}
    assert not long

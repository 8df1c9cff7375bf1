"""The public surface: names, imports and docstrings."""

import ast
import importlib
import inspect
import pkgutil
import re
import statistics
import subprocess
import sys
import types
from pathlib import Path

import house
import pytest

import lrjax

ROOT = Path(lrjax.__file__).parent

NAMES = [
    "Budget",
    "Checkpoint",
    "Chunked",
    "Execution",
    "LRNotFound",
    "LRResult",
    "LRWarning",
    "LossCurve",
    "Outcome",
    "Preview",
    "Progress",
    "RangeTest",
    "Recommendation",
    "Request",
    "SearchInterrupted",
    "Stage",
    "StepSampling",
    "StopDiverged",
    "Strategy",
    "SuccessiveHalving",
    "SweepResult",
    "Task",
    "WarningName",
    "Window",
    "crossing",
    "find_lr",
    "find_warnings",
    "find_window",
    "half_loss",
    "lowest_for",
    "lowest_loss",
    "midpoint",
    "peak_for",
    "preview",
    "range_rules",
    "range_test",
    "recommend",
    "sample_losses",
    "schedules",
    "steepest",
    "sweep",
    "zipped",
]

MODULES = ("range_rules", "schedules")

MOST_NAMES = 40
"""Public names at top level, modules not counted."""


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
    "PlateauState",
    "Problem",
    "ProblemName",
    "ScheduledState",
    "add",
    "at_step",
    "check_resume",
    "clip",
    "constant",
    "cooldown_from",
    "cosine_decay",
    "cosine_restarts",
    "current_hyperparams",
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
    "reduce_on_plateau",
    "repeat",
    "scheduled",
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


SCALING = [
    "CoordinateCheck",
    "Exponent",
    "LRPrediction",
    "Leaf",
    "NoiseScale",
    "NoiseScales",
    "Optimum",
    "Reach",
    "ScalingLaw",
    "Slope",
    "WidthScaling",
    "coordinate_check",
    "fit",
    "measure",
    "mup",
    "noise_scale",
    "rescale_init",
]


def test_public_names_of_scaling_are_these():
    module = lrjax.scaling
    assert {name for name, value in vars(module).items() if name[0] != "_" and not inspect.ismodule(value)} == set(
        SCALING
    )


@pytest.mark.parametrize("name", SCALING)
def test_scaling_names_every_argument(name):
    value = getattr(lrjax.scaling, name)
    assert value.__doc__, f"{name} has no docstring"
    if inspect.isfunction(value):
        _check_docstring(value)


def test_importing_lrjax_imports_nothing_heavy():
    heavy = ["matplotlib", "flax", "equinox", "keras", "haiku", "cyclopts", "rich", "torch", "orbax"]
    heavy += ["pandas", "xarray"]
    code = f"import sys, lrjax; print([m for m in {heavy} if m in sys.modules])"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    assert output.stdout.strip() == "[]"


def test_the_integrations_room_imports_no_ecosystem():
    code = "import sys, lrjax.integrations as i; print([m for m in ('flax', 'equinox', 'keras') if m in sys.modules], "
    code += "[n for n in vars(i) if n[0] != '_'])"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    assert output.stdout.strip() == "[] ['function_task', 'StepTask', 'step_task']"


INTEGRATIONS = {
    "flax": ["linen_task", "nnx_task", "optimizer_with_lr", "train_state_with_lr"],
    "equinox": ["task"],
    "keras": ["LRSchedule", "optimizer_factory", "set_lr", "task"],
    "plain": ["loss_task", "pair_task"],
    "data": ["epochs"],
}


def test_every_public_integration_is_listed():
    files = {path.stem for path in (ROOT / "integrations").glob("*.py") if path.stem[0] != "_"}
    assert files == set(INTEGRATIONS), "INTEGRATIONS has the public names of every file"


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
    code = "import lrjax; lrjax.demos.digits, lrjax.plots.plot_lr, lrjax.explorer.explore, lrjax.cli.main; "
    code += "lrjax.integrations.step_task; print('demos' in dir(lrjax))"
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


# The house: what tests/house.py reads off the sources, against the rules that docs/contributing.md states.

ARROWS = {
    "_curve": set(),
    "schedules": set(),
    "range_rules": set(),
    "_engine": set(),
    "_sweeps": {"_engine", "schedules"},
    "_search": {"_curve", "_engine", "range_rules"},
    "_plan": {"_curve", "schedules"},
    "scaling": {"_engine", "_sweeps"},
    "plots": {"_search", "_sweeps", "schedules"},
    "demos": {"_engine"},
    "integrations": {"_engine", "schedules"},
    "explorer": {"_curve", "_plan", "_search", "demos", "schedules"},
    "cli": {"_curve", "_engine", "_plan", "_search", "_sweeps", "demos", "explorer", "range_rules", "schedules"},
    "__main__": {"cli"},
}
"""Room -> the rooms that it may import. The other files beside the rooms are the ground, which imports only itself."""

ORACLES = {
    "experiments/benchmark/constants.py": "the constants of the search with a budget, changed one by one",
    "experiments/benchmark/drift.py": "the drift of the optimum, with what the search reads off its lanes",
    "experiments/benchmark/frontier.py": "a search with a budget, replayed from recorded losses",
    "experiments/benchmark/searching.py": "a search by step sampling, replayed from recorded losses",
    "experiments/data/hymenoptera.py": "the words for a wrong count",
    "experiments/data/tokens.py": "the words for a wrong count",
    "experiments/scale/plan.py": "the memory of the engine's programs, for devices that are not there",
    "experiments/speed/cells.py": "the times of the engine's parts",
    "experiments/speed/contenders.py": "the times of the engine's parts",
    "experiments/speed/explorer.py": "the times of the explorer's answers",
    "experiments/speed/sweep.py": "the times of the engine's parts",
    "paper_figures/explorer.py": "the explorer's page, with answers that are made before",
    "paper_figures/figure_8.py": "the marks of the finder's picture",
    "paper_figures/style.py": "the colours of all pictures",
    "tests/inside.py": "all that the tests use of the inside, each name with what for",
    "tests/test_docs.py": "what `import lrjax` imports later",
}
"""File of tests or experiments that looks behind the public names -> what for. The fewer, the better."""

OFTEN = {"__init__", "_result", "_picture"}
"""File names that every room may have."""

MOST_FILES = 13
"""On the longest way down the imports, each file that only hands on names left out."""

MOST_LINES, MOST_LINES_OF_A_FILE, MEDIAN_LINES, MOST_LINES_OF_A_BODY = 19_000, 350, 150, 60

KNOWN: dict[str, set[str]] = {
    "sizes": {
        "lines",
    },
}
"""Rule -> what breaks it today. Only ever taken from: what no longer breaks its rule must be struck off."""


def circles() -> set[str]:
    """Files that import one another."""
    return house.circles(house.as_written()) | house.circles(house.by_definition())


def arrows() -> set[str]:
    """Imports that the table does not allow, inside functions and for types too; and what it allows for nothing."""
    pairs = {(house.room(name), house.room(other)) for name, others in house.as_written().items() for other in others}
    files = {name for name in house.files() if "." not in name}
    ground = files - {"__init__", *ARROWS}
    return {
        f"{one} -> {other}"
        for one, other in pairs
        if one not in ("__init__", other) and other not in ground | ARROWS.get(one, set())
    } | {f"{one} -> {other}, unused" for one, below in ARROWS.items() for other in below if (one, other) not in pairs}


def private_files() -> set[str]:
    """Imports from inside another room, instead of from its `__init__`."""
    return {
        f"{name} takes {other}"
        for name, others in house.as_written().items()
        for other in others
        if house.room(other) != house.room(name) and "." in other and not other.endswith("__init__")
    }


def private_imports() -> set[str]:
    """Tests, experiments and examples that look behind the public names."""
    rooms = ("tests", "experiments", "paper_figures", "examples")
    paths = {str(path.relative_to(house.ROOT)): path for room in rooms for path in (house.ROOT / room).rglob("*.py")}
    judges = {"tests/test_public_names.py", "tests/house.py"}
    looking = {name for name, path in paths.items() if house.private_imports(path)} - judges
    return (looking - {*ORACLES}) | {f"{name}, listed for nothing" for name in {*ORACLES} - looking}


def second_paths() -> set[str]:
    """Functions and classes that can be reached without an underscore by more than one path."""
    paths: dict[int, set[str]] = {}
    for name, module in public_modules().items():
        for key, value in vars(module).items():
            own = getattr(value, "__module__", None) or ""
            if key[0] != "_" and not inspect.ismodule(value) and own.split(".")[0] == "lrjax":
                paths.setdefault(id(value), set()).add(f"{name}.{key}")
    return {" is ".join(sorted(found)) for found in paths.values() if len(found) > 1}


def public_modules() -> dict[str, types.ModuleType]:
    """Every module and package of lrjax whose path has no underscore, as far as what it needs is installed."""
    for name in dir(lrjax):
        getattr(lrjax, name)  # what is imported when it is first asked for
    found, waiting = {}, ["lrjax"]
    while waiting:
        name = waiting.pop()
        try:
            found[name] = importlib.import_module(name)
        except ImportError:
            continue
        below = pkgutil.iter_modules(getattr(found[name], "__path__", ()))
        waiting += [f"{name}.{module.name}" for module in below if module.name[0] != "_"]
    return found


def file_names() -> set[str]:
    """File names that occur twice."""
    stems = [name.split(".")[-1] for name in house.files()]
    return {stem for stem in stems if stems.count(stem) > 1} - OFTEN


def chain() -> set[str]:
    """The longest way down the imports, if it is too long."""
    found = house.longest_chain(house.by_definition())
    return {"longest chain"} if len(found) > MOST_FILES else set()


def long_bodies() -> set[str]:
    """Functions of too many lines, without their docstring."""
    return house.long_functions(MOST_LINES_OF_A_BODY)


def long_files() -> set[str]:
    """Files of too many lines."""
    return {name for name, count in house.lengths().items() if count > MOST_LINES_OF_A_FILE}


def sizes() -> set[str]:
    """The whole package, its median file and its public names, where there is too much of them."""
    lines = house.lengths()
    names = [name for name in NAMES if name not in MODULES]
    return {
        name
        for name, too_much in {
            "lines": sum(lines.values()) > MOST_LINES,
            "median file": statistics.median(lines.values()) >= MEDIAN_LINES,
            "public names": len(names) > MOST_NAMES,
        }.items()
        if too_much
    }


RULES = (
    circles,
    arrows,
    private_files,
    private_imports,
    second_paths,
    file_names,
    chain,
    long_bodies,
    long_files,
    sizes,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps_its_rules(rule):
    found, known = rule(), KNOWN.get(rule.__name__, set())
    new, mended = sorted(found - known), sorted(known - found)
    assert not new, f"new: {rule.__doc__} Mend it; tests/house.py says how it is read. {new}"
    assert not mended, f"mended: strike it off KNOWN. {mended}"


def test_every_name_from_the_inside_is_used_and_stands_below_what_for():
    text = (house.ROOT / "tests/inside.py").read_text()
    users = [path.read_text() for path in (house.ROOT / "tests").glob("*.py") if path.name != "inside.py"]
    known = set().union(
        *(re.findall(r"\w+", user) for user in users if re.search(r"^ *(from|import) inside\b", user, re.M))
    )
    groups = [group for group in text.split("\n\n") if "\nfrom lrjax" in group]
    assert all(group.startswith("# ") for group in groups)
    assert set(re.findall(r"^from lrjax.* as (\w+)$", text, re.M)) <= known


def test_the_arrows_have_no_circle():
    left = dict(ARROWS)
    while free := {room for room, below in left.items() if not below & left.keys()}:
        left = {room: below for room, below in left.items() if room not in free}
    assert not left


def test_the_map_of_the_rooms_shows_the_arrows():
    page = (house.ROOT / "docs/contributing.md").read_text()
    lines = re.findall(r"^(\w+) +->(.*)$", page, flags=re.MULTILINE)
    assert {room: set(below.split()) for room, below in lines} == ARROWS


def test_the_places_to_change_things_exist():
    page = (house.ROOT / "docs/contributing.md").read_text()
    table = page.split("## Where do I change ...?")[1].split("## ")[0]
    places = re.findall(r"`([\w/.]+)`", table)
    assert len(places) > 20
    assert not [place for place in places if not (house.ROOT / place).exists()]

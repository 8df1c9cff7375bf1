"""The sources of the package as tests/test_public_names.py judges them: who imports whom, and how long things are."""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "lrjax"

Graph = dict[str, set[str]]
"""File, as a dotted name below lrjax (`_curve.__init__`) -> the files it imports."""


@functools.cache
def files() -> dict[str, Path]:
    """Every Python file of the package by its dotted name."""
    paths = sorted(path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts)
    return {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in paths}


@functools.cache
def tree(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text())


def room(name: str) -> str:
    """The room of a file, which is its first folder; a file above the rooms is its own."""
    return name.split(".")[0]


def imports(name: str) -> Iterator[tuple[str, str]]:
    """What a file imports from the package, inside functions and for types too: (dotted module, name)."""
    for node in ast.walk(tree(files()[name])):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "lrjax":
                    yield alias.name.removeprefix("lrjax").removeprefix("."), ""
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                above = name.split(".")[:-1]
                base = above[: len(above) - node.level + 1]
            elif (node.module or "").split(".")[0] == "lrjax":
                base = []
            else:
                continue
            module = (node.module or "").split(".")[0 if node.level else 1 :]
            for alias in node.names:
                yield ".".join(filter(None, [*base, *module])), alias.name


def as_written() -> Graph:
    """The files that each file names in its imports; a room's is its `__init__`."""
    return {name: {_named(*one) for one in imports(name)} - {name, ""} for name in files()}


def by_definition() -> Graph:
    """The files where the names are defined that each file imports: re-exports are seen through."""
    return {name: set().union(*(_defining(*one) for one in imports(name))) - {name, ""} for name in files()}


def _named(module: str, name: str) -> str:
    ways = (f"{module}.{name}", f"{module}.{name}.__init__", module, f"{module}.__init__")
    return next((way for one in ways if (way := one.strip(".")) in files()), "")


def _defining(module: str, name: str) -> set[str]:
    """The file that defines a name; of a room that only hands on names, all that define one of them."""
    found = _named(module, name)
    if not found.endswith("__init__"):
        return {found}
    original = _renamed(found).get(name, name)
    handed = [one for one in imports(found) if one[1] == original]
    if not handed and all(isinstance(node, ast.Expr | ast.ImportFrom) for node in tree(files()[found]).body):
        handed = list(imports(found))
    return set().union(*(_defining(*one) for one in handed)) or {found}


def _renamed(name: str) -> dict[str, str]:
    """What a file imports under another name: that name -> the original."""
    nodes = [node for node in ast.walk(tree(files()[name])) if isinstance(node, ast.ImportFrom)]
    return {alias.asname: alias.name for node in nodes for alias in node.names if alias.asname}


def circles(graph: Graph) -> set[str]:
    """The groups of files that import one another, each as one line."""
    reach = {name: _reachable(graph, name) for name in graph}
    groups = (sorted(other for other in reach[name] if name in reach[other]) for name in graph)
    return {" <-> ".join(group) for group in groups if group}


def _reachable(graph: Graph, start: str) -> set[str]:
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        new = graph[waiting.pop()] - seen
        seen |= new
        waiting += new
    return seen


def longest_chain(graph: Graph) -> list[str]:
    """The longest way down the imports; what is in a circle counts once."""

    reach = {name: _reachable(graph, name) for name in graph}
    group = {name: min([name, *(other for other in reach[name] if name in reach[other])]) for name in graph}
    flat: Graph = {}
    for name, others in graph.items():
        flat.setdefault(group[name], set()).update({group[other] for other in others} - {group[name]})
    order: dict[str, tuple[str, ...]] = {}

    def longest(name: str) -> tuple[str, ...]:
        if name not in order:
            order[name] = (name, *max((longest(other) for other in sorted(flat[name])), key=len, default=()))
        return order[name]

    return list(max(map(longest, flat), key=len))


def private_imports(path: Path) -> set[str]:
    """The private modules and names of the package that a file outside of it imports or reaches into."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            words = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            words = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute):
            words = [ast.unparse(node)]
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and re.fullmatch(r"lrjax(\.\w+)+", node.value)
        ):
            words = [node.value]
        else:
            continue
        for word in words:
            first, *rest = word.split(".")
            private = next((i for i, part in enumerate(rest) if part[:1] == "_" and not part.endswith("__")), None)
            if first == "lrjax" and private is not None:
                found.add(".".join(["lrjax", *rest[: private + 1]]))
    return found


def long_functions(limit: int) -> set[str]:
    """Functions whose body, its docstring apart, has more lines than the limit."""
    found = set()
    for name, path in files().items():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) is not None else node.body
                if body and (body[-1].end_lineno or 0) - body[0].lineno + 1 > limit:
                    found.add(f"{name}.{node.name}")
    return found


def lengths() -> dict[str, int]:
    """Lines of every file of the package, those of the page too, by their path below lrjax."""
    kinds = (".py", ".html", ".css", ".js")
    paths = [path for path in PACKAGE.rglob("*") if path.suffix in kinds and "__pycache__" not in path.parts]
    return {str(path.relative_to(PACKAGE)): len(path.read_text().splitlines()) for path in sorted(paths)}

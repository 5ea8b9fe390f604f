"""Imports run one way, from the command line down, and never in a circle."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import ssdet_cli

ROOT = Path(ssdet_cli.__file__).parent
#: From the top down; an import may only go to a floor further down.
FLOORS = [
    {"__main__"},
    {"cli"},
    {"recipes"},
    {"engine"},
    {"tasks", "models", "data"},
    {"augment", "evaluation", "video", "viz"},
    {"config"},
    {"batch", "catalog", "files", "interrupts", "telling"},
    {"errors"},
]
#: The one arrow between neighbours: pictures are made of videos.
ALLOWED = ("viz", "video")
FLOOR = {part: number for number, floor in enumerate(FLOORS) for part in floor}


def imports(path: Path) -> set[str]:
    """Modules of ssdet_cli that a file imports, anywhere in it, as `part.module...`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        found |= {name.removeprefix("ssdet_cli.") for name in names if name.startswith("ssdet_cli.")}
    return found


def modules() -> dict[str, Path]:
    found = {}
    for path in ROOT.rglob("*.py"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        found[name] = path
    return found


def test_every_module_stands_on_a_floor():
    assert {name.split(".")[0] for name in modules()} - {"__init__"} <= set(FLOOR)


def test_imports_only_go_down():
    upward = [
        f"{name} imports {target}"
        for name, path in modules().items()
        for target in imports(path)
        for here, there in [(name.split(".")[0], target.split(".")[0])]
        if there in FLOOR and here != there and here != "__init__" and FLOOR[there] <= FLOOR[here]
        if (here, there) != ALLOWED
    ]
    assert upward == []


def test_no_circle_of_modules():
    known = modules()
    packages = {name for name, path in known.items() if path.name == "__init__.py"}
    graph = {
        # a package's own catalogue file is read before its modules, so `from package import X` is no arrow to itself
        name: {target for target in imports(path) & set(known) if target != name} - (packages if "." in name else set())
        for name, path in known.items()
    }
    TopologicalSorter(graph).prepare()


def test_the_torch_free_part_never_names_torch_at_module_level():
    for name, path in modules().items():
        if name.split(".")[0] not in (
            "__main__",
            "cli",
            "config",
            "errors",
            "catalog",
            "files",
            "interrupts",
            "telling",
        ):
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            assert not any(found.split(".")[0] == "torch" for found in names), name

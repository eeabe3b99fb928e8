"""The house style and the layers, enforced: each rule is a function from source to faults, and each one has teeth."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "paribus"
MAX_MODULE_LINES = 500
MAX_FUNCTION_LINES = 60
MAX_PARAMETERS = 6
MAX_NESTING = 3
GRAB_BAGS = {"utils", "util", "helpers", "helper", "common", "misc", "base", "shared", "stuff"}
TORCH = {"torch", "torchvision", "timm"}
HEAVY = {"torchvision", "timm", "scipy", "sklearn", "matplotlib", "jinja2", "statsmodels", "fastapi", "ray"}
MARKS = "|".join(("TO" + "DO", "FIX" + "ME", "HA" + "CK"))
MACHINE_PATHS = "|".join(("home", "ro" + "ot", "Users", "wo" + "rk", "tm" + "p", "mnt"))
Function = ast.FunctionDef | ast.AsyncFunctionDef
Block = ast.For | ast.AsyncFor | ast.While | ast.If | ast.With | ast.AsyncWith | ast.Try | ast.Match

SOURCES = sorted(PACKAGE.rglob("*.py"))
CODE = SOURCES + [path for name in ("tests", "benchmarks", "docs") for path in sorted((ROOT / name).rglob("*.py"))]
TEXTS = [
    *CODE,
    *sorted(PACKAGE.rglob("*.toml")),
    *sorted(PACKAGE.rglob("*.j2")),
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *(ROOT / name for name in ("pyproject.toml", "constraints.txt", "Makefile", ".ci/run")),
]


def functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def long_module(source: str) -> list[str]:
    lines = len(source.splitlines())
    return [f"{lines} lines, at most {MAX_MODULE_LINES}"] if lines > MAX_MODULE_LINES else []


def long_functions(source: str) -> list[str]:
    lengths = {f.name: (f.end_lineno or f.lineno) - f.lineno + 1 for f in functions(ast.parse(source))}
    return [
        f"{name} has {length} lines, at most {MAX_FUNCTION_LINES}"
        for name, length in lengths.items()
        if length > MAX_FUNCTION_LINES
    ]


def many_parameters(source: str) -> list[str]:
    faults = []
    for function in functions(ast.parse(source)):
        given = function.args
        every = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
        names = [argument.arg for argument in every if argument is not None and argument.arg not in ("self", "cls")]
        if len(names) > MAX_PARAMETERS:
            faults.append(f"{function.name} takes {len(names)} parameters, at most {MAX_PARAMETERS}")
    return faults


def depth_of(body: list[ast.stmt]) -> int:
    """How deep blocks lie in each other; an `elif` is as deep as its `if`, and a nested function counts by itself."""
    deepest = 0
    for statement in body:
        if isinstance(statement, Block):
            inner = [depth_of(part) for part in parts_of(statement)]
            deepest = max(deepest, 1 + max(inner))
    return deepest


def parts_of(block: Block) -> Iterator[list[ast.stmt]]:
    if isinstance(block, ast.Match):
        yield from (case.body for case in block.cases)
        return
    yield block.body
    rest = getattr(block, "orelse", [])
    if isinstance(block, ast.If) and len(rest) == 1 and isinstance(rest[0], ast.If):
        yield from parts_of(rest[0])
    else:
        yield rest
    yield getattr(block, "finalbody", [])
    yield from (handler.body for handler in getattr(block, "handlers", []))


def deep_nesting(source: str) -> list[str]:
    depths = {function.name: depth_of(function.body) for function in functions(ast.parse(source))}
    return [f"{name} nests {d} levels, at most {MAX_NESTING}" for name, d in depths.items() if d > MAX_NESTING]


def swallowed_errors(source: str) -> list[str]:
    faults = []
    for handler in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ExceptHandler)):
        is_broad = isinstance(handler.type, ast.Name) and handler.type.id in ("Exception", "BaseException")
        does_nothing = all(isinstance(each, ast.Pass | ast.Continue) or is_ellipsis(each) for each in handler.body)
        if handler.type is None:
            faults.append(f"line {handler.lineno}: a bare except")
        elif is_broad and does_nothing:
            faults.append(f"line {handler.lineno}: every error is swallowed")
    return faults


def is_ellipsis(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def left_marks(source: str) -> list[str]:
    return [match.group() for match in re.finditer(rf"\b({MARKS})\b", source)]


def machine_paths(source: str) -> list[str]:
    return [match.group() for match in re.finditer(rf"(?<![\w./-])/({MACHINE_PATHS})/[\w.-]+", source)]


CODE_RULES: dict[str, Callable[[str], list[str]]] = {
    "long module": long_module,
    "long function": long_functions,
    "many parameters": many_parameters,
    "deep nesting": deep_nesting,
    "swallowed errors": swallowed_errors,
}
TEXT_RULES: dict[str, Callable[[str], list[str]]] = {"left marks": left_marks, "machine paths": machine_paths}


def faults_in(paths: list[Path], rules: dict[str, Callable[[str], list[str]]]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}: {rule}: {fault}"
        for path in paths
        for rule, find in rules.items()
        for fault in find(path.read_text(encoding="utf-8"))
    ]


def test_code_follows_the_house_style() -> None:
    faults = faults_in(CODE, CODE_RULES)
    assert not faults, "\n".join(faults)


def test_texts_hold_no_marks_and_no_paths_of_a_machine() -> None:
    faults = faults_in(TEXTS, TEXT_RULES)
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("rule", "bad", "good"),
    [
        ("long module", "x = 1\n" * 501, "x = 1\n" * 500),
        ("long function", "def f():\n" + "    x = 1\n" * 60, "def f():\n" + "    x = 1\n" * 59),
        ("many parameters", "def f(a, b, c, d, *e, f, g): ...", "def f(self, a, b, c, *, d, e, **f): ..."),
        (
            "deep nesting",
            "def f():\n for a in b:\n  while a:\n   with a:\n    if a:\n     a()",
            "def f():\n for a in b:\n  with a:\n   if a:\n    a()\n   elif b:\n    b()\n   elif c:\n    c()",
        ),
        (
            "deep nesting",
            "def f():\n try:\n  a()\n except E:\n  for a in b:\n   for b in c:\n    if b:\n     b()",
            "def f():\n if a:\n  if b:\n   def g():\n    if c:\n     if d:\n      d()",
        ),
        ("swallowed errors", "try:\n a()\nexcept Exception:\n pass", "try:\n a()\nexcept OSError:\n pass"),
        ("swallowed errors", "try:\n a()\nexcept:\n b()", "try:\n a()\nexcept Exception:\n raise"),
        ("left marks", "# TO" + "DO later", "TODOS = 1"),
        ("machine paths", "open('/ho" + "me/someone/x')", "see https://a.org/home/x and src/home/x"),
    ],
)
def test_each_rule_has_teeth(rule: str, bad: str, good: str) -> None:
    find = (CODE_RULES | TEXT_RULES)[rule]
    assert find(bad)
    assert find(good) == []


def grab_bags(paths: list[Path]) -> list[str]:
    return [str(path) for path in paths if GRAB_BAGS & {path.stem, path.parent.name}]


def test_no_module_is_a_grab_bag() -> None:
    assert grab_bags([path.relative_to(PACKAGE) for path in SOURCES]) == []
    assert grab_bags([Path("data/utils.py")]) == ["data/utils.py"]
    assert grab_bags([Path("common/idx.py")]) == ["common/idx.py"]


def layers_of(page: str) -> dict[str, int]:
    """Read the module table of ARCHITECTURE.md: module name to layer; what lies beside belongs to the third."""
    layers: dict[str, int] = {}
    layer = 0
    for row in re.finditer(r"^\|([^|]*)\| `(\w+)/?` \|", page, re.MULTILINE):
        heading, module = row.group(1).strip(), row.group(2)
        if heading:
            layer = 3 if heading == "beside" else int(heading[0])
        layers[module] = layer
    return layers


LAYERS = layers_of((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"))


def modules_in_the_tree() -> set[str]:
    found = {path.stem if path.is_file() else path.name for path in PACKAGE.iterdir() if path.suffix in ("", ".py")}
    return found - {"__init__", "__main__", "__pycache__"}


def test_architecture_lists_the_modules_that_exist() -> None:
    assert set(LAYERS) == modules_in_the_tree()
    assert set(LAYERS.values()) == {1, 2, 3}


def imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Every import as (top-level package, module below it or an empty text)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            package, *below = name.split(".")
            yield package, below[0] if below else ""


def upward_imports(source: str, module: str) -> list[str]:
    below = {name for package, name in imported(ast.parse(source)) if package == "paribus" and name in LAYERS}
    return [f"{module} imports {name}" for name in sorted(below) if LAYERS[name] > LAYERS[module]]


def without_typing_imports(tree: ast.Module) -> ast.Module:
    def is_for_types(node: ast.stmt) -> bool:
        return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"

    return ast.Module([node for node in tree.body if not is_for_types(node)], tree.type_ignores)


def torch_in_the_domain(source: str, layer: int) -> list[str]:
    packages = {package for package, _ in imported(without_typing_imports(ast.parse(source)))}
    return sorted(packages & TORCH) if layer == 1 else []


def heavy_at_the_top(source: str) -> list[str]:
    tree = without_typing_imports(ast.parse(source))
    top = ast.Module([node for node in tree.body if not isinstance(node, Function | ast.ClassDef)], tree.type_ignores)
    return sorted({package for package, _ in imported(top)} & HEAVY)


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else path.stem


def test_imports_go_downward_only() -> None:
    doors = (PACKAGE / "__init__.py", PACKAGE / "__main__.py")
    inner = [path for path in SOURCES if path not in doors and module_of(path) in LAYERS]
    faults = []
    for path in inner:
        source, module = path.read_text(encoding="utf-8"), module_of(path)
        faults += [f"{path.name}: {fault}" for fault in upward_imports(source, module)]
        faults += [f"{path.name}: {fault} in layer 1" for fault in torch_in_the_domain(source, LAYERS[module])]
        faults += [f"{path.name}: {fault} outside functions" for fault in heavy_at_the_top(source)]
    assert not faults, "\n".join(faults)


def test_layers_have_teeth() -> None:
    assert upward_imports("from paribus import cli", "store") == ["store imports cli"]
    assert upward_imports("def f():\n from paribus.data.idx import read", "config") == ["config imports data"]
    assert upward_imports("from paribus.config import Recipe", "data") == []
    assert torch_in_the_domain("def f():\n import torch.nn", 1) == ["torch"]
    assert torch_in_the_domain("if TYPE_CHECKING:\n import torch", 1) == []
    assert torch_in_the_domain("import torch", 2) == []
    assert heavy_at_the_top("import scipy.stats") == ["scipy"]
    assert heavy_at_the_top("try:\n import sklearn\nexcept ImportError:\n raise") == ["sklearn"]
    assert heavy_at_the_top("def f():\n import matplotlib") == []
    page = "| 1 domain | `errors` | x |\n| | `data/` | y |\n| beside | `testing/` | z |"
    assert layers_of(page) == {"errors": 1, "data": 1, "testing": 3}

"""Imports go one way, heavy libraries stay where they belong, and the command line starts without torch."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "bincompress"

# A module or package may import only what stands before it.
ORDER = (
    *("errors", "program", "user_code", "native", "methods", "recipe", "graph", "data", "zoo"),
    *("load", "plan", "binarize", "checkpoint", "finetune", "lower", "pack", "runtime"),
    *("compare", "verify", "evaluate", "report", "bench", "gates", "outputs", "inputs", "export", "pipeline"),
    *("float_training", "results", "demo"),
    *("cli", "__main__"),
)
# Who may import a library; all others must go through them.
ONLY = {
    "rich": ("cli.render",),
    "typer": ("cli",),
    "onnx": ("load", "bench"),
    "onnxruntime": ("bench",),
    "gguf": ("pack",),
    "yaml": ("recipe",),
    "pydantic": ("recipe",),
    "ctypes": (
        "native",
        "runtime",
        "bench.network",
        "binarize.native_forwards",
        "binarize.native_functions",
        "binarize.native_products",
        "finetune.memory",
    ),
    "sklearn": ("data",),
    "scipy": ("data",),
    "PIL": ("data",),
}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def name_of(path: Path) -> str:
    """Module name without the leading `bincompress.`."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the direction"
            assert node.module is not None
            if node.module == "bincompress":
                yield from (f"bincompress.{alias.name}" for alias in node.names)
            yield node.module


def test_every_module_has_a_place_in_the_order() -> None:
    assert {name_of(path).split(".")[0] for path in FILES} <= set(ORDER)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_go_one_way(path: Path) -> None:
    own = ORDER.index(name_of(path).split(".")[0])
    for module in imports(ast.parse(path.read_text(encoding="utf-8"))):
        parts = module.split(".")
        if parts[0] == "bincompress" and len(parts) > 1 and not parts[1].startswith("__"):
            assert ORDER.index(parts[1]) <= own, f"{name_of(path)} imports {module}, which comes after it"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_libraries_stay_where_they_belong(path: Path) -> None:
    own = name_of(path)
    for module in imports(ast.parse(path.read_text(encoding="utf-8"))):
        allowed = ONLY.get(module.split(".")[0])
        if allowed is not None:
            assert any(own == name or own.startswith(f"{name}.") for name in allowed), f"{own} imports {module}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "cli").glob("*.py")), ids=name_of)
def test_commands_import_what_is_heavy_when_they_run(path: Path) -> None:
    if path.name == "render.py":
        return
    top = ast.parse(path.read_text(encoding="utf-8")).body
    for module in imports(ast.Module([node for node in top if not isinstance(node, ast.FunctionDef | ast.If)], [])):
        assert module.split(".")[0] not in ("torch", "numpy", "pydantic", "rich"), f"{path.name} imports {module}"
        if module.startswith("bincompress."):
            assert module.split(".")[1] in ("cli", "errors", "__version__"), f"{path.name} imports {module}"

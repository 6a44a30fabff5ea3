"""What is shipped: public names, one version everywhere, pins for every dependency, and a wheel with all its parts."""

from __future__ import annotations

import inspect
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import bincompress

REPOSITORY = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_public_names_are_pinned_and_all_there() -> None:
    assert bincompress.__all__ == [
        "BincompressError",
        "Model",
        "Recipe",
        "Session",
        "__version__",
        "convert",
        "evaluate",
        "load",
        "load_model",
        "load_recipe",
        "make_plan",
        "verify",
    ]
    for name in bincompress.__all__:
        assert getattr(bincompress, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        _ = bincompress.lod  # type: ignore[attr-defined]


def test_functions_are_not_hidden_by_modules_of_the_same_name() -> None:
    import bincompress.evaluate
    import bincompress.load
    import bincompress.verify

    for name in ("evaluate", "load", "verify"):
        assert inspect.isfunction(getattr(bincompress, name)), name


def test_importing_the_package_costs_nothing() -> None:
    probe = "import sys, bincompress; sys.exit(any(m in sys.modules for m in ('torch', 'numpy', 'pydantic', 'rich')))"
    assert subprocess.run([sys.executable, "-c", probe], cwd=REPOSITORY, timeout=60).returncode == 0


def test_a_packed_model_runs_without_torch(tmp_path: Path) -> None:
    probe = "import sys, bincompress as bc; bc.load; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], cwd=REPOSITORY, timeout=60).returncode == 0


def test_one_version_everywhere() -> None:
    cmake = (REPOSITORY / "kernels" / "CMakeLists.txt").read_text(encoding="utf-8")
    found = re.search(r"project\(bincompress VERSION ([0-9.]+)", cmake)
    assert found is not None
    assert PROJECT["version"] == bincompress.__version__ == found[1]


def test_every_dependency_is_pinned() -> None:
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {normal(line.split("==")[0]): line for line in lines if not line.startswith("#")}
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9a-z.]+", pin) for pin in pins.values())
    wanted = PROJECT["dependencies"] + [name for group in PROJECT["optional-dependencies"].values() for name in group]
    names = {normal(re.split(r"[\[><=]", name)[0]) for name in wanted} - {"bincompress"}
    assert names <= set(pins)
    assert pins["torch"] == "torch==2.13.0"


def test_the_wheel_carries_library_recipes_and_types(tmp_path: Path) -> None:
    pytest.importorskip("scikit_build_core", reason="building a wheel needs the dev extra")
    source = tmp_path / "source"
    ignored = shutil.ignore_patterns(".git", ".venv", "build", "build-*", ".*_cache", "__pycache__", "demo-out")
    shutil.copytree(REPOSITORY, source, ignore=ignored)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        tmp_path,
        ".",
    ]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert re.fullmatch(rf"bincompress-{PROJECT['version']}-py3-none-.+\.whl", wheel.name)
    names = set(zipfile.ZipFile(wheel).namelist())
    libraries = [name for name in names if re.fullmatch(r"bincompress/libbincompress\.(so|dylib)", name)]
    assert len(libraries) == 1
    assert {"bincompress/py.typed", "bincompress/cli/convert.py"} <= names
    recipes = {f"bincompress/{path.relative_to(REPOSITORY)}" for path in (REPOSITORY / "recipes").rglob("*.yaml")}
    assert recipes
    assert recipes <= names
    assert all(name.split("/")[0] in ("bincompress", f"bincompress-{PROJECT['version']}.dist-info") for name in names)


def normal(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()

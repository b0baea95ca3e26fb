"""What is installed: a wheel that works anywhere, and a `make` that installs once."""

import importlib.util
import os
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
from miniatures import ROOT, TINY, keys, run

SOURCES = ("slowfast_gta", "configs", "tools", "setup.py", "pyproject.toml", "constraints.txt", "LICENSE", "Makefile")


def copy_of_the_repository(folder: Path) -> Path:
    for name in SOURCES:
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, folder / name)
    (folder / "README.md").write_text("setup.py reads it.\n")
    return folder


@pytest.fixture(scope="module")
def unpacked_wheel(tmp_path_factory) -> Path:
    """The content of the wheel, as pip would lay it into site-packages; built without a network."""
    if importlib.util.find_spec("setuptools") is None:
        pytest.skip("setuptools is not here to build a wheel with; pip fetches it where there is a network")
    source = tmp_path_factory.mktemp("source")
    copy_of_the_repository(source)
    built = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    result = run([*built, str(source / "dist"), str(source)], cwd=source)
    assert result.returncode == 0, result.stderr
    (wheel,) = (source / "dist").glob("slowfast_gta-*.whl")
    site = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(site)
    return site


def test_the_wheel_has_every_module_and_every_config(unpacked_wheel):
    for path in (ROOT / "slowfast_gta").rglob("*.py"):
        assert (unpacked_wheel / path.relative_to(ROOT)).is_file(), path
    for path in (ROOT / "configs").rglob("*.yaml"):
        assert (unpacked_wheel / "slowfast_gta" / path.relative_to(ROOT)).read_text() == path.read_text()
    assert "slowfast-gta" in next(unpacked_wheel.glob("*.dist-info/entry_points.txt")).read_text()


def test_the_wheel_trains_and_tests_without_the_repository(unpacked_wheel, ssv2, tmp_path):
    where = ("DATA.PATH_TO_DATA_DIR", ssv2, "OUTPUT_DIR", "out", "SOLVER.MAX_EPOCH", 1)
    line = [sys.executable, "-m", "slowfast_gta", "run_net", "--cfg", "configs/SSv2/R2D50.yaml", *keys(*TINY, *where)]
    result = run(line, cwd=tmp_path, env={"PYTHONPATH": str(unpacked_wheel)})
    assert result.returncode == 0, result.stderr
    assert f"using the packaged {unpacked_wheel}" in result.stderr
    assert (tmp_path / "out" / "results.json").is_file()


def test_make_installs_again_only_when_the_requirements_changed(tmp_path):
    copy_of_the_repository(tmp_path)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "installed").touch()
    assert run(["make", "-q", ".venv/installed"], cwd=tmp_path).returncode == 0
    later = (tmp_path / ".venv" / "installed").stat().st_mtime + 10
    os.utime(tmp_path / "constraints.txt", (later, later))
    assert run(["make", "-q", ".venv/installed"], cwd=tmp_path).returncode == 1

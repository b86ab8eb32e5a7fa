"""The wheel: built, installed away from the checkout, and used there."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "src")


def call(*command: str | Path, cwd: Path) -> str:
    """Runs a command that sees nothing of the checkout; returns its output."""
    hidden = ("PYTHONPATH", "VIRTUAL_ENV")
    environment = {name: x for name, x in os.environ.items() if name not in hidden}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env={**environment, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=250,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Builds the wheel from a copy, in which nothing is left of earlier builds."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("*.egg-info", "__pycache__")
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder)
    call(sys.executable, "-m", "build", "--wheel", "--no-isolation", cwd=folder)
    (path,) = (folder / "dist").iterdir()
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Installs the wheel into a new environment that borrows this one's dependencies.

    Returns:
        Folder with the environment's commands.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    install = ("install", "--quiet", "--no-deps", "--no-index", wheel)
    call(sys.executable, "-m", "pip", "--python", python, *install, cwd=folder)
    # A path in a .pth file gives its packages, but not its own .pth files: no editable install.
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    borrowed = folder / "lib" / version / "site-packages" / "borrowed.pth"
    borrowed.write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def test_the_wheel_has_every_file_of_the_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("dva/")}
        entry = next(x for x in archive.namelist() if x.endswith("entry_points.txt"))
        assert "dva = dva.cli:main" in archive.read(entry).decode()
    found = {
        str(path.relative_to(ROOT / "src"))
        for path in (ROOT / "src" / "dva").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert found == packed


def test_the_installed_wheel_trains_and_evaluates(installed: Path, tmp_path: Path) -> None:
    where = call(installed / "python", "-c", "import dva; print(dva.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(installed.parent)
    small = "--num-envs 2 --horizon 4 --image-size 32 --threads 1 --env-steps 16".split()
    out = call(installed / "dva", "demo", *small, "--run-dir", "run", cwd=tmp_path)
    assert "env-steps 16 / 16" in out and "mean return" in out
    assert (tmp_path / "run" / "videos" / "evaluation.mp4").stat().st_size > 0
    assert "anymal" in call(installed / "dva", "list", cwd=tmp_path)

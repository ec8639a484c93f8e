"""verify_env.py: what it lists, and what it calls a problem."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import verify_env
from data_utils.errors import InputError

ROOT = Path(__file__).resolve().parents[1]


def test_package_states():
    state = {
        name: verify_env.Package(name, "2.15.0", installed, direct=True).state
        for name, installed in {"same": "2.15.0", "build": "2.15.0+cpu", "other": "2.14.0", "gone": None}.items()
    }
    assert state == {"same": "ok", "build": "ok", "other": "different", "gone": "missing"}


def test_only_what_the_project_names_is_a_problem():
    packages = [
        verify_env.Package("a", "1", None, direct=True),
        verify_env.Package("b", "1", "2", direct=True),
        verify_env.Package("c", "1", None, direct=True),
        verify_env.Package("d", "1", None, direct=False),
        verify_env.Package("e", "1", "1", direct=True),
    ]
    assert verify_env.package_problems(packages) == ["missing: a, c", "different: b"]
    assert verify_env.package_problems(packages[-2:]) == []


def test_the_lock_of_another_folder_is_read(tmp_path):
    (tmp_path / "pyproject.toml").write_text(
        "[project]\ndependencies = ['NumPy>=1', 'nosuch_package']\noptional-dependencies.dev = []\n"
    )
    (tmp_path / "requirements.lock").write_text(
        "numpy==0.1\nnosuch-package==3.0\nother==1.0 ; python_full_version < '3'\n# a comment\n"
    )
    packages = {package.name: package for package in verify_env.read_packages(tmp_path)}
    assert set(packages) == {"numpy", "nosuch-package"}
    assert packages["numpy"].state == "different"
    assert packages["nosuch-package"].state == "missing"
    assert all(package.direct for package in packages.values())


def test_this_environment_is_listed_with_its_devices(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["verify_env.py"])
    monkeypatch.setattr(verify_env, "IMPORTED", ("numpy", "opencv-python", "av"))  # torchvision takes long
    assert verify_env.main() == 0
    printed = capsys.readouterr().out
    for package in ("torch", "ultralytics", "numpy", "pytest", "sympy"):
        assert re.search(rf"^{package} +\S+ +\S+ +ok", printed, re.MULTILINE), package
    for line in ("Python", "CPU", "PyTorch", "CUDA|cuda:0", "MPS"):
        assert re.search(rf"^({line}) ", printed, re.MULTILINE), line
    assert f"PyTorch      {metadata.version('torch')}" in printed


def test_a_package_that_does_not_import_is_told(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["verify_env.py"])
    monkeypatch.setattr(verify_env, "IMPORTED", ("numpy", "opencv-python", "av"))
    monkeypatch.setitem(sys.modules, "cv2", None)  # what Python then says: import of cv2 halted
    with pytest.raises(InputError, match=r"opencv-python cannot be imported: .*cv2.*; run `make env`"):
        verify_env.main()
    assert "MPS" in capsys.readouterr().out


def test_rivals_of_our_packages_are_told(monkeypatch):
    assert verify_env.shadowing_packages() == []
    monkeypatch.setattr(verify_env, "SHADOWS", {"numpy": "ultralytics-thop"})
    assert verify_env.shadowing_packages() == [
        "numpy is installed beside ultralytics-thop and replaces its files: uninstall both, then install "
        "ultralytics-thop again"
    ]


def test_verify_env_without_packages_says_what_to_run(tmp_path):
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import verify_env; verify_env.run_command(verify_env.main)"
    result = subprocess.run([sys.executable, "-I", "-S", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 2
    assert re.fullmatch(r"error: the packages are not installed in .*; run `make env` .*\n", result.stderr)

"""What installs and starts the project: pins, environment.yml, Makefile, licence."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import source_rules
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
LOCK_LINES = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
# Distributions whose module has another name.
MODULE_NAMES = {"opencv-python": "cv2", "pillow": "PIL", "pyyaml": "yaml", "ultralytics-thop": "thop"}


def requirements(lines: list[str]) -> list[Requirement]:
    """Parse requirement lines; comments and blank lines are left out."""
    texts = [line.partition("#")[0].strip() for line in lines]
    return [Requirement(text) for text in texts if text]


def pins(python: str, system: str = "linux", machine: str = "x86_64") -> dict[str, Requirement]:
    """Return what the lock pins for one Python and system, by canonical name."""
    platform_system = {"linux": "Linux", "darwin": "Darwin", "win32": "Windows"}[system]
    place = {
        **default_environment(), "python_version": python, "python_full_version": f"{python}.1",
        "sys_platform": system, "platform_system": platform_system, "platform_machine": machine,
    }  # fmt: skip
    chosen = [pin for pin in requirements(LOCK_LINES) if pin.marker is None or pin.marker.evaluate(place)]
    names = [canonicalize_name(pin.name) for pin in chosen]
    assert len(names) == len(set(names)), f"the lock pins a package twice for {python} on {system}"
    return dict(zip(names, chosen, strict=True))


def named_by_project() -> list[Requirement]:
    """Return what pyproject.toml names: what the code needs, then what checking it needs."""
    return requirements([*PROJECT["dependencies"], *EXTRAS["dev"]])


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
@pytest.mark.parametrize(("system", "machine"), [("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64")])
def test_the_lock_pins_all_that_the_project_names(python, system, machine):
    pinned = pins(python, system, machine)
    for wanted in requirements([*PROJECT["dependencies"], *EXTRAS["dev"], *EXTRAS["tensorboard"]]):
        pin = pinned.get(canonicalize_name(wanted.name))
        assert pin is not None, f"{wanted.name} is not in requirements.lock"
        (specifier,) = pin.specifier
        assert specifier.operator == "=="
        assert wanted.specifier.contains(specifier.version, prereleases=True), f"{pin} is outside {wanted}"


def test_the_lock_names_no_index_and_no_build_of_one_machine():
    for line in LOCK_LINES:
        assert not re.search(r"://|--|@|\+|\bfile:", line), line
    assert "sys_platform == 'linux'" in "\n".join(LOCK_LINES)  # resolved for every system, not for this one


def test_environment_yml_repeats_the_pins():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert environment["name"] == "sre_yolo"
    *conda, pip = environment["dependencies"]
    assert conda == ["python=3.11", "pip"]
    given = {canonicalize_name(r.name): r for r in requirements(pip["pip"])}
    wanted = {canonicalize_name(r.name): r for r in named_by_project()}
    pinned = pins("3.11")
    assert set(given) == set(wanted)
    assert {name: (r.specifier, r.extras) for name, r in given.items()} == {
        name: (pinned[name].specifier, r.extras) for name, r in wanted.items()
    }


def test_every_import_is_declared():
    declared = {canonicalize_name(r.name) for r in requirements(PROJECT["dependencies"])}
    optional = {canonicalize_name(r.name) for lines in EXTRAS.values() for r in requirements(lines)} - declared
    modules = {MODULE_NAMES.get(name, name.replace("-", "_")) for name in declared}
    optional_modules = {MODULE_NAMES.get(name, name.replace("-", "_")) for name in optional}
    undeclared = []
    for module in source_rules.MODULES:
        at_import = set(source_rules.imports(module, when_imported=True))
        for line, name in source_rules.imports(module):
            top = name.split(".")[0]
            known = modules if (line, name) in at_import else modules | optional_modules
            if top not in known | set(sys.stdlib_module_names) | set(source_rules.ROOMS):
                undeclared.append(f"{module.path}:{line}: {top} is not in pyproject.toml's dependencies")
    assert not undeclared, "\n" + "\n".join(undeclared)


def test_the_fixed_package_list_is_installed_and_its_rival_is_not():
    named = {canonicalize_name(r.name) for r in named_by_project()}
    assert {"wandb", "onnx", "onnxruntime", "ultralytics-thop", "faster-coco-eval", "pycocotools"} <= named
    assert "thop" not in pins("3.11")  # it would replace ultralytics-thop's files


def test_licence_is_agpl_as_that_of_ultralytics():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert text.split("\n")[0].strip() == "GNU AFFERO GENERAL PUBLIC LICENSE"
    assert "13. Remote Network Interaction" in text
    assert text.rstrip().endswith("<https://www.gnu.org/licenses/>.")
    assert PROJECT["license"] == "AGPL-3.0-only"


def test_ci_runs_make_test_and_nothing_else():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    lines = [line for line in script.read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "set -euo pipefail"
    assert lines[-1] == "exec make test"
    assert len(lines) == 3  # and the change to the checkout's folder


def test_the_folders_explain_themselves_and_their_content_is_ignored():
    for folder, content in (("data", "raw/a.png"), ("weights", "best_split1.pt"), ("results", "runs/a/log.csv")):
        assert (ROOT / folder / "README.md").is_file()
        ignored = subprocess.run(["git", "check-ignore", "-q", f"{folder}/{content}"], cwd=ROOT, check=False)
        kept = subprocess.run(["git", "check-ignore", "-q", f"{folder}/README.md"], cwd=ROOT, check=False)
        if 128 in (ignored.returncode, kept.returncode):
            pytest.skip("not a git checkout")
        assert (ignored.returncode, kept.returncode) == (0, 1)


def test_no_file_names_a_machine():
    # In two halves, so that this line is no finding. Home folders and package mirrors of one machine help nobody else.
    parts = [r"/" + r"root/", r"/" + r"home/\w", r"/" + r"Users/\w", "--index" + "-url", "--extra" + "-index"]
    personal = re.compile("|".join(parts))
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    found = []
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path.suffix in {".py", ".md", ".yaml", ".yml", ".toml", ".lock", ""} and path.is_file():
            lines = enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
            found += [f"{name}:{number}" for number, line in lines if personal.search(line)]
    assert not found


# ---- the Makefile ----------------------------------------------------------------------------------------------------


@pytest.fixture
def bare_checkout(tmp_path) -> Path:
    """A folder with a space in its name that holds the Makefile and a lock, and no environment."""
    folder = tmp_path / "a check out"
    folder.mkdir()
    shutil.copy(ROOT / "Makefile", folder)
    (folder / "requirements.lock").write_text("packaging\n")
    return folder


def make(folder: Path, *arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run make in `folder`, with another PATH if given."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "PYTHON"))}
    environment["PATH"] = path or environment["PATH"]
    command = [shutil.which("make") or "make", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


def fake_python(folder: Path, name: str, version: str, complete: bool) -> None:
    """Write a program that answers the Makefile's two questions as such a Python would."""
    folder.mkdir(exist_ok=True)
    script = folder / name
    code = "0" if complete else "1"
    script.write_text(f'#!/bin/sh\ncase "$2" in *print*) echo {version};; *) exit {code};; esac\n')
    script.chmod(0o755)


def test_make_names_what_is_wrong_with_the_pythons_found(bare_checkout, tmp_path):
    fake_python(tmp_path / "bin", "python3", "3.9", complete=False)
    fake_python(tmp_path / "bin", "python3.12", "3.12", complete=False)
    result = make(bare_checkout, "env", path=f"{tmp_path / 'bin'}:{tmp_path}")
    assert result.returncode == 2
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert "no Python >= 3.11 with venv and ensurepip found" in line
    assert "python3 is 3.9; python3.12 is 3.12;" in line
    assert "make env PYTHON=" in line
    assert not (bare_checkout / ".venv").exists()


def test_make_without_any_python(bare_checkout, tmp_path):
    result = make(bare_checkout, "env", path=str(tmp_path))
    assert result.returncode == 2
    assert "no python3 on PATH" in result.stderr


def test_make_says_which_step_failed_and_leaves_no_half_environment(bare_checkout, tmp_path):
    fake_python(tmp_path / "bin", "python3", "3.12", complete=True)
    (tmp_path / "bin" / "python3").write_text(
        '#!/bin/sh\nif [ "$1" = -m ]; then mkdir .venv; exit 1; fi\necho 3.12\n'
    )
    os.symlink("/bin/mkdir", tmp_path / "bin" / "mkdir")
    os.symlink("/bin/rm", tmp_path / "bin" / "rm")
    result = make(bare_checkout, "env", path=str(tmp_path / "bin"))
    assert result.returncode == 2
    assert "error: environment 1/3: 'python3 -m venv .venv' failed" in result.stderr
    assert not (bare_checkout / ".venv").exists()


def test_make_installs_once_and_again_when_the_lock_changes(bare_checkout):
    """With a stand-in for the environment's Python that writes down what it is asked to do."""
    python = bare_checkout / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$@" >> calls.txt\n')
    python.chmod(0o755)
    first = make(bare_checkout, "env")
    assert first.returncode == 0, first.stderr
    calls = (bare_checkout / "calls.txt").read_text().splitlines()
    assert calls[-1] == "-m uv pip install --compile-bytecode --python .venv/bin/python -r requirements.lock"
    assert make(bare_checkout, "env").returncode == 0
    assert (bare_checkout / "calls.txt").read_text().splitlines() == calls
    later = (bare_checkout / ".venv" / ".installed").stat().st_mtime + 2
    os.utime(bare_checkout / "requirements.lock", (later, later))
    assert make(bare_checkout, "env").returncode == 0
    assert len((bare_checkout / "calls.txt").read_text().splitlines()) == 2 * len(calls)


def test_make_goes_on_with_pip_where_uv_is_not_to_be_had_and_keeps_no_stamp_after_a_failure(bare_checkout):
    python = bare_checkout / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\ncase "$*" in *uv*) exit 1;; *requirements.lock) echo "$@"; exit 1;; esac\n')
    python.chmod(0o755)
    result = make(bare_checkout, "env")
    assert result.returncode == 2
    assert "going on with pip" in result.stdout
    assert "-m pip install --disable-pip-version-check -r requirements.lock" in result.stdout
    assert "error: environment 3/3 failed" in result.stderr
    assert not (bare_checkout / ".venv" / ".installed").exists()


@pytest.mark.parametrize("failing", ["nothing", "ruff", "pyright", "pytest"])
def test_make_test_says_how_long_it_took_and_fails_where_a_part_fails(bare_checkout, failing: str):
    python = bare_checkout / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\necho "$2" >> calls.txt\ncase "$2" in {failing}) exit 1;; esac\n', encoding="utf-8")
    python.chmod(0o755)
    (bare_checkout / ".venv" / ".installed").touch()
    result = make(bare_checkout, "test")
    assert (result.returncode == 0) == (failing == "nothing")
    assert re.fullmatch(r"make test took 0 min \d+ s", result.stdout.splitlines()[-1])
    parts = ["ruff", "pyright", "pytest"]
    expected = parts[: parts.index(failing) + 1] if failing in parts else parts
    assert (bare_checkout / "calls.txt").read_text(encoding="utf-8").split() == expected

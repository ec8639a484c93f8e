"""Print every package of requirements.lock with its installed and its pinned version, and the devices found.

Exit code 2 when something the project needs is missing, different from its pin, or cannot be imported.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from data_utils.errors import EXIT_OK, InputError, run_command

if TYPE_CHECKING:
    from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent
MEND = "run `make env` (or, with conda, `conda env create -f environment.yml`)"
# What is named otherwise when imported; these are imported because their system libraries may be missing.
MODULES = {"opencv-python": "cv2", "pillow": "PIL", "pyyaml": "yaml"}
IMPORTED = ("numpy", "opencv-python", "pillow", "pyyaml", "av", "torch", "torchvision", "onnxruntime", "scipy")
# Distributions that put other files in the place of one we need.
SHADOWS = {
    "thop": "ultralytics-thop",
    "opencv-python-headless": "opencv-python",
    "opencv-contrib-python": "opencv-python",
}


@dataclass(frozen=True)
class Package:
    """One pinned package: `installed` is None when it is absent, `direct` when pyproject.toml names it."""

    name: str
    pinned: str
    installed: str | None
    direct: bool

    @property
    def state(self) -> str:
        """Return ok, missing or different; a build such as 2.15.0+cpu counts as its 2.15.0."""
        if self.installed is None:
            return "missing"
        return "ok" if self.installed.partition("+")[0] == self.pinned else "different"


def main() -> int:
    """Print the tables. Raises InputError when something needed is missing, different or not importable."""
    argparse.ArgumentParser(
        prog="verify_env.py",
        description=__doc__,
        epilog="example: python verify_env.py",
    ).parse_args()
    if sys.version_info < (3, 11):  # noqa: UP036 - whoever runs this may well have an older one
        raise InputError(f"Python {platform.python_version()}: 3.11 or newer is needed; {MEND}")
    packages = sorted(read_packages(ROOT), key=lambda package: (not package.direct, package.name))
    print(f"{'package':<42}{'installed':<16}{'pinned':<16}state")
    for package in packages:
        needed = "" if package.direct else "  (needed by others)"
        print(f"{package.name:<42}{package.installed or '-':<16}{package.pinned:<16}{package.state}{needed}")
    problems = package_problems(packages) + shadowing_packages() + failing_imports(packages)
    print("\n" + "\n".join(describe_machine()), flush=True)
    if problems:
        raise InputError("; ".join(problems) + f"; {MEND}")
    print("environment  as pinned")
    return EXIT_OK


def package_problems(packages: list[Package]) -> list[str]:
    """Return what to report: at most one line for missing and one for different packages.

    Only what pyproject.toml names counts: a CPU build of PyTorch rightly lacks the CUDA libraries of the lock, and
    what is truly needed shows when it is imported.
    """
    problems = []
    for state in ("missing", "different"):
        names = [package.name for package in packages if package.direct and package.state == state]
        if names:
            problems.append(f"{state}: {', '.join(names)}")
    return problems


def read_packages(root: Path) -> list[Package]:
    """Return the packages that `root`/requirements.lock pins for this Python and system, with what is installed.

    Raises InputError when the lock or pyproject.toml cannot be read, or the tool that parses them is missing.
    """
    import tomllib
    from importlib import metadata

    try:
        from packaging.requirements import Requirement
        from packaging.utils import canonicalize_name
    except ImportError:
        raise InputError(f"the packages are not installed in {sys.prefix}; {MEND}") from None
    try:
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        lines = (root / "requirements.lock").read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}; run from a complete checkout") from None
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    direct = {canonicalize_name(Requirement(line).name) for line in wanted}
    installed = {canonicalize_name(dist.metadata["Name"]): dist.version for dist in metadata.distributions()}
    return [
        Package(str(name), next(iter(pin.specifier)).version, installed.get(name), name in direct)
        for pin in _pins(lines, Requirement)
        for name in [canonicalize_name(pin.name)]
    ]


def _pins(lines: list[str], requirement: type[Requirement]) -> Iterator[Requirement]:
    for line in lines:
        text = line.partition("#")[0].strip()
        if text:
            pin = requirement(text)
            if pin.marker is None or pin.marker.evaluate():
                yield pin


def shadowing_packages() -> list[str]:
    """Return a line for each installed distribution that overwrites the files of one we need."""
    from importlib import metadata

    names = {(dist.metadata["Name"] or "").lower() for dist in metadata.distributions()}
    return [
        f"{other} is installed beside {ours} and replaces its files: uninstall both, then install {ours} again"
        for other, ours in SHADOWS.items()
        if other in names
    ]


def failing_imports(packages: list[Package]) -> list[str]:
    """Return a line for each package that is there but cannot be imported, e.g. for want of a system library."""
    import importlib

    problems = []
    for name in (package.name for package in packages if package.installed and package.name in IMPORTED):
        try:
            importlib.import_module(MODULES.get(name, name))
        except (ImportError, OSError, RuntimeError) as error:
            problems.append(f"{name} cannot be imported: {str(error).strip().splitlines()[0]}")
    return problems


def describe_machine() -> list[str]:
    """Return lines on Python, the processor and the accelerators that PyTorch can use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    lines = [
        f"Python       {platform.python_version()} in {sys.prefix}",
        f"system       {platform.platform()}",
        f"CPU          {cores} cores for this process, of {os.cpu_count()}",
    ]
    try:
        import torch
    except (ImportError, OSError):
        return [*lines, "PyTorch      cannot be imported, so devices are not known"]
    from models import hardware

    amx, bf16 = hardware.cpu_has_amx_tiles(), hardware.cpu_has_bf16()
    lines += [
        f"PyTorch      {torch.__version__}, {torch.get_num_threads()} threads, bf16 on the CPU: "
        f"{'AMX tiles, training uses it' if amx else 'slower than fp32, which is used' if bf16 else 'none'}",
    ]
    for index in range(hardware.n_cuda_devices()):
        device = torch.cuda.get_device_properties(index)
        lines.append(f"cuda:{index}       {device.name}, {device.total_memory / 2**30:.0f} GiB")
    if not hardware.n_cuda_devices():
        lines.append("CUDA         none")
    lines.append(f"MPS          {'available' if hardware.has_mps() else 'none'}")
    return lines


if __name__ == "__main__":
    run_command(main)

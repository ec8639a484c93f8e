"""torch.compile for the detector's training forward."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sysconfig
from pathlib import Path

import torch

from data_utils.errors import InputError
from models.sre_yolo import SREYOLO

COMPILERS = ("g++", "c++", "clang++")  # what torch looks for, after the environment variable CXX


def compile_detector(model: SREYOLO, device: torch.device) -> None:
    """Compile the detector of `model` in place: its parameters, their names and copies of it stay as they are.

    A deep copy, such as the averaged weights', is not compiled. Compilation itself happens at the first forward pass,
    and again for a batch of another size. Raises InputError when what it needs is missing.
    """
    require_compiler(device)
    model.backbone.detector.compile(dynamic=False)


def require_compiler(device: torch.device) -> None:
    """Raise InputError, saying what to install, unless code for `device` can be compiled here."""
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"run.compile = true: torch.compile is not used on {device.type}; set run.compile=false")
    compiler = os.environ.get("CXX")
    if not any(shutil.which(name) for name in ([compiler] if compiler else COMPILERS)):
        raise InputError(
            f"run.compile = true: no C++ compiler ({compiler or ', '.join(COMPILERS)}) on the PATH; install one (on "
            "Debian: apt install g++), or set run.compile=false"
        )
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.is_file():
        raise InputError(
            f"run.compile = true: {header} is missing, which compiled code includes; install it (on Debian: apt "
            "install python3-dev), or set run.compile=false"
        )
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        raise InputError("run.compile = true: CUDA code needs the package triton; install it, or set run.compile=false")

"""What a benchmark's figures were taken on, as plain values for its JSON file."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import torch

from data_utils.processes import available_cores

VERSIONS = ("torchvision", "ultralytics", "numpy")
THREADING = ("GOMP_SPINCOUNT", "OMP_NUM_THREADS", "OMP_WAIT_POLICY")


def describe_machine(device: torch.device, command: str) -> dict[str, Any]:
    """Return date, `python -m <command>` as called, versions, processor, load, device, threads and environment."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "command": shlex.join(["python", "-m", command, *sys.argv[1:]]),
        "python": platform.python_version(),
        "versions": {"torch": torch.__version__} | {name: importlib.metadata.version(name) for name in VERSIONS},
        "processor": _processor(),
        "cores": available_cores(),
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "environment": {name: os.environ.get(name) for name in THREADING},
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()

"""Import our modules and print, as JSON, what that did beside defining names. Run by test_architecture.py.

Arguments: a JSON list of third-party modules, imported first so that their own deeds are not counted, and one of ours.
"""

import importlib
import json
import logging
import os
import random
import signal
import sys
import threading
import warnings

WATCHED = ("os.", "shutil.", "socket.", "subprocess.", "tempfile.", "signal.", "urllib.")
CHECKOUT = os.environ["PYTHONPATH"]  # a file read in it is a setting or data; elsewhere, a library finding its parts
HARMLESS = {"os.listdir", "os.scandir", "os.getxattr"}  # how Python looks for modules


def state() -> dict[str, object]:
    """What a module must leave as it found it."""
    import cv2
    import numpy as np
    import torch

    return {
        "environment": dict(os.environ),
        "working folder": os.getcwd(),
        "sys.path": list(sys.path),
        "random": random.getstate(),
        "numpy.random": str(np.random.get_state()),  # noqa: NPY002 - the global state is what must not change
        "torch seed": (torch.initial_seed(), torch.get_rng_state().sum().item()),
        "threads": (torch.get_num_threads(), cv2.getNumThreads(), threading.active_count()),
        "patches": (id(torch.save), id(torch.load), id(cv2.imread), id(cv2.imshow)),
        "defaults": (torch.get_default_dtype(), torch.is_grad_enabled(), np.get_printoptions()),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "logging": (list(logging.getLogger().handlers), logging.getLogger().level),
        "warnings": len(warnings.filters),
    }


def main() -> None:
    third_party, ours = json.loads(sys.argv[1]), json.loads(sys.argv[2])
    for name in third_party:
        importlib.import_module(name)
    before, deeds, watching = state(), [], True

    def watch(event: str, arguments: tuple) -> None:
        if not watching:
            return
        if event == "open":
            path, mode, flags = arguments
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            ours = str(path).startswith(CHECKOUT) and not str(path).startswith(sys.prefix)
            if writes or (ours and not str(path).endswith((".py", ".pyc"))):
                deeds.append(f"open {path} {mode}")
        elif event.startswith(WATCHED) and event not in HARMLESS:
            deeds.append(f"{event} {arguments}")

    sys.addaudithook(watch)
    for name in ours:
        importlib.import_module(name)
    watching = False
    after = state()
    deeds += [f"changed: {key}" for key in before if before[key] != after[key]]
    deeds += [f"imported {name}" for name in ("ultralytics", "wandb") if name in sys.modules]
    print(json.dumps(deeds))


main()

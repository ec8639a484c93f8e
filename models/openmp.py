"""How PyTorch's CPU threads wait for each other; to be set before torch is imported."""

from __future__ import annotations

import os

SPIN_COUNT = "20000"  # some tens of microseconds


def limit_spinning() -> None:
    """Let a waiting OpenMP thread sleep soon, unless the user's environment says otherwise.

    By default it spins for long, and a training loses several-fold of its speed as soon as anything else wants a core;
    sleeping at once costs a quarter even on a free machine, since a training step is many short parallel regions.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)

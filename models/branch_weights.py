"""The SR branch's first weights, taken from one of our checkpoints whatever becomes of the detector in it."""

from __future__ import annotations

from pathlib import Path

import torch

from data_utils.config_sections import Config
from data_utils.errors import InputError, MissingFile
from models.sre_yolo import SREYOLO
from models.weights import DETECTION, averaged_state, check_task, checkpoint_config, load_state, read_checkpoint

_PREFIX = "sr_branch."


def load_branch(model: SREYOLO, config: Config, path: str | Path) -> int:
    """Give the branch of `model`, built from `config`, the averaged weights of the branch in our checkpoint `path`.

    Returns the number of tensors taken, which is all. Raises InputError when the file is missing or not ours, holds no
    branch, one of another geometry (naming the keys to change), or values that are not finite.
    """
    assert model.sr_branch is not None
    if not Path(path).is_file():
        raise MissingFile(
            f"stages.branch = {path}: no such file; put the checkpoint there, or start at random: stages.branch=null",
            str(path),
        )
    checkpoint = read_checkpoint(path)
    check_task(checkpoint, DETECTION, str(path))
    whole = averaged_state(checkpoint, str(path))
    state = {name.removeprefix(_PREFIX): tensor for name, tensor in whole.items() if name.startswith(_PREFIX)}
    if not state:
        raise InputError(f"{path}: holds no SR branch (a run without one); name another in stages.branch, or set null")
    if keys := _other_geometry(config, checkpoint_config(checkpoint, str(path))):
        raise InputError(f"{path}: its branch is of another geometry; to use it, set {' '.join(keys)}")
    if spoiled := next((name for name, tensor in state.items() if not bool(torch.isfinite(tensor).all())), None):
        raise InputError(f"{path}: {_PREFIX}{spoiled} holds NaN or infinite values; start from another file")
    load_state(model.sr_branch, state, f"{path}, SR branch")
    return len(state)



def _other_geometry(config: Config, its_config: Config) -> list[str]:
    own, its = config.branch_geometry, its_config.branch_geometry
    return [f"{key}={value}" for key, value in its.items() if own.get(key) != value]

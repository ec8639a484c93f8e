"""Reading and writing weights safely, and choosing the device they go to.

Our checkpoints hold only tensors and plain values, so `torch.load(weights_only=True)` reads them and executes nothing.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from data_utils.config.loading import config_from_dict, override_config
from data_utils.config.sections import Config
from data_utils.errors import InputError, MissingFile
from models import hardware
from models.pretrained import check_archive, read_foreign_state
from models.sre_yolo import SREYOLO

CHECKPOINT_FORMAT = 1
DETECTION, DENOISE = "detection", "denoise"  # what runs and their weights are for; where it is not said, detection
_COMMANDS = {DETECTION: "train.py", DENOISE: "python -m training.denoise"}
COCO_WEIGHTS_URL = "https://github.com/ultralytics/assets/releases/download/v8.4.0/{name}.pt"
_DETECTOR_PREFIX = "backbone.detector."
_WRAPPERS = ("module", "_orig_mod")  # what parallel training and averaging, and torch.compile, put into names


@dataclass(frozen=True)
class Transfer:
    """What an initialisation took: the count of tensors, and those left at their random values, each with the reason.

    not_taken: name -> "[64, 64, 3, 3] here, [80, 64, 3, 3] in the file", or "not in the file". class_head: the prefix
    of the tensors whose shapes follow the number of classes.
    """

    taken: int
    not_taken: Mapping[str, str]
    class_head: str = "\0"

    def __str__(self) -> str:
        if not self.not_taken:
            return f"all {self.taken} tensors taken"
        head = [name for name in self.not_taken if name.startswith(self.class_head)]
        rest = [name for name in self.not_taken if name not in head]
        parts = [f"{self.class_head}* of the class head ({self._example(head)})"] if head else []
        parts += [f"{name} ({self.not_taken[name]})" for name in rest[:4]] + (["..."] if len(rest) > 4 else [])
        return f"{self.taken} tensors taken, {len(self.not_taken)} left at random: {', '.join(parts)}"

    def _example(self, names: list[str]) -> str:
        return f"{len(names)} tensors; {names[-1]} is {self.not_taken[names[-1]]}"


def pick_device(name: str = "auto") -> torch.device:
    """Turn auto | cpu | cuda | cuda:N | mps into a device; asking for one that is absent raises InputError."""
    if name == "auto":
        return torch.device("cuda" if hardware.n_cuda_devices() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"--device {name}: not a device; use auto, cpu, cuda, cuda:N or mps") from None
    if device.type == "cuda":
        count = hardware.n_cuda_devices()
        if (device.index or 0) >= count:
            raise InputError(f"--device {name}: PyTorch sees {count} CUDA device(s) here; use --device cpu or auto")
    elif device.type == "mps":
        if not hardware.has_mps():
            raise InputError("--device mps: no MPS device here; use --device cpu or auto")
    elif device.type != "cpu" or device.index:
        raise InputError(f"--device {name}: not supported; use auto, cpu, cuda, cuda:N or mps")
    return device


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read one of our checkpoints onto the CPU; nothing in the file is executed.

    Raises InputError when the file is missing, torn, foreign, or asks to run something.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such weights file; name another, or train one")
    check_archive(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about a TorchScript file, which is refused below
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(f"{path}: refused, nothing was executed: {_asked_for(error)}") from None
    except (RuntimeError, EOFError, KeyError, ValueError, AttributeError, TypeError, OSError) as error:
        if "TorchScript archive" in str(error):
            raise InputError(f"{path}: a TorchScript file, no checkpoint; infer.py reads it as .torchscript") from None
        raise InputError(f"{path}: corrupt checkpoint ({str(error).strip().splitlines()[0][:120]})") from None
    if not isinstance(loaded, dict) or loaded.get("format") != CHECKPOINT_FORMAT:
        raise InputError(f"{path}: not an SRE-YOLO checkpoint of format {CHECKPOINT_FORMAT}")
    return loaded


def check_task(record: Mapping[str, Any], task: str, where: str) -> None:
    """Raise InputError when a checkpoint or a run's record is one of another task than `task`."""
    found = record.get("task", DETECTION)
    if found != task:
        raise InputError(
            f"{where}: made by {_COMMANDS.get(found, 'another command')}, for {found}; this needs {task}, from "
            f"{_COMMANDS[task]}"
        )


def save_model(path: str | Path, model: nn.Module, config: Config, meta: dict[str, Any] | None = None) -> None:
    """Write weights and config as a checkpoint that `load_model` reads. Atomic: a failed save leaves the old file."""
    write_checkpoint(path, {"config": config.model_dump(mode="json"), "model": model.state_dict(), **(meta or {})})


def write_checkpoint(path: str | Path, content: dict[str, Any]) -> None:
    """Write `content` (tensors and plain values) beside `path`, flush it to disk, and rename it over `path`."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            torch.save({"format": CHECKPOINT_FORMAT, **content}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except RuntimeError as error:
        # torch.save hides a full disk behind an error of its own.
        if isinstance(error.__context__, OSError):
            raise OSError(error.__context__.errno, error.__context__.strerror, str(path)) from None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def load_model(
    path: str | Path, device: str | torch.device = "cpu", overrides: Iterable[str] = ()
) -> tuple[SREYOLO, Config, dict[str, Any]]:
    """Load a checkpoint's averaged weights (else its plain ones) into a model in eval mode.

    Returns the model, the config it was trained with (with `overrides` such as `dataset.processed=...` laid over) and a
    dict with "epoch", "names", "run", "split", "weights_sha256" and "threshold": the score with the best F1 on the
    validation frames, None where none was chosen. Raises InputError for anything that is not a
    checkpoint of ours, and when an override asks for another class count or architecture.
    """
    checkpoint = read_checkpoint(path)
    check_task(checkpoint, DETECTION, str(path))
    config = checkpoint_config(checkpoint, str(path), overrides)
    model = SREYOLO(config)
    state = averaged_state(checkpoint, str(path))
    load_state(model, state, str(path))
    meta = {
        "epoch": checkpoint.get("epoch"),
        "names": list(config.dataset.names),
        "weights_sha256": weights_hash(state),
        "run": checkpoint.get("run"),
        "split": checkpoint.get("split"),
        "threshold": _threshold(checkpoint.get("threshold"), str(path)),
    }
    return model.to(device).eval(), config, meta


def _threshold(value: Any, where: str) -> float | None:
    if value is None or (isinstance(value, float) and 0 <= value <= 1):
        return value
    raise InputError(f"{where}: threshold = {str(value)[:40]!r}: not a score from 0 to 1; name another file")


def checkpoint_config(checkpoint: Mapping[str, Any], where: str, overrides: Iterable[str] = ()) -> Config:
    """Return the settings a checkpoint was made with, `overrides` laid over; raises InputError when it has none."""
    settings = checkpoint.get("config")
    if not isinstance(settings, dict) or not settings:
        raise InputError(f"{where}: a checkpoint without its settings; nothing says which model its weights fit")
    return override_config(config_from_dict(settings, f"{where}: config"), overrides)


def load_state(model: nn.Module, state: dict[str, Tensor], where: str) -> None:
    """Load `state` strictly, or raise InputError naming the first tensor that does not fit."""
    own = model.state_dict()
    if prefix := _unknown_prefix(own, state):
        raise InputError(f"{where}: {prefix}")
    for name, tensor in own.items():
        if name not in state:
            raise InputError(f"{where}: of another architecture: it lacks {name}")
        if state[name].shape != tensor.shape:
            expected, found = list(tensor.shape), list(state[name].shape)
            raise InputError(f"{where}: of another class count or architecture: {name} is {found}, expected {expected}")
    extra = sorted(set(state) - set(own))
    if extra:
        raise InputError(f"{where}: of another architecture: it has {extra[0]}, which this model lacks")
    model.load_state_dict(state)


def weights_hash(state: dict[str, Tensor]) -> str:
    """Return the SHA-256 over names and values of a state dict, in 64 hex digits."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def load_pretrained(detector: nn.Module, path: str | Path) -> Transfer:
    """Initialise a detector from a .pt file: ours, ultralytics', or a plain state dict of the same architecture.

    Names may stand under module., _orig_mod. and model., in any order and number. Tensors of another shape (a head for
    another class count) stay random and are named in the result. Raises InputError when fewer than half of the
    detector's tensors fit, naming a prefix that is not known, or one is not finite.
    """
    path = Path(path)
    state = _detector_state(path)
    spoiled = next((k for k, v in state.items() if v.is_floating_point() and not bool(torch.isfinite(v).all())), None)
    if spoiled:
        raise InputError(f"{path}: {spoiled} holds NaN or infinite values; start from another file")
    own = detector.state_dict()
    fitting = {name: state[name] for name, tensor in own.items() if name in state and state[name].shape == tensor.shape}
    if len(fitting) * 2 < len(own):
        other = f"weights of another architecture: {len(fitting)} of {len(own)} tensors fit"
        raise InputError(f"{path}: {_unknown_prefix(own, state) or other}")
    detector.load_state_dict(fitting, strict=False)
    not_taken = {name: _misfit(tensor, state.get(name)) for name, tensor in own.items() if name not in fitting}
    return Transfer(len(fitting), not_taken, _class_head(detector))


def _misfit(own: Tensor, found: Tensor | None) -> str:
    return "not in the file" if found is None else f"{list(own.shape)} here, {list(found.shape)} in the file"


def _class_head(detector: nn.Module) -> str:
    """Return the prefix of the tensors of a detector's classification branch."""
    layers = getattr(detector, "model", ())
    return f"model.{len(layers) - 1}.cv3."


def _detector_state(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise MissingFile(
            f"pretrain = {path}: no such file; put the weights there, or start at random: pretrain=null", str(path)
        )
    try:
        checkpoint = read_checkpoint(path)
    except InputError:
        state = read_foreign_state(path)
    else:
        check_task(checkpoint, DETECTION, str(path))
        state = averaged_state(checkpoint, str(path))
    return _detector_names(state, str(path))


def _detector_names(state: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Return the detector's tensors under its own names, model.0... to its head's, whatever they stand under.

    Of a whole SREYOLO only the detector is kept. Raises InputError when two tensors get one name.
    """
    bare = {name: _bare(name) for name in state}
    if any(name.startswith(_DETECTOR_PREFIX) for name in bare.values()):
        bare = {name: _bare(inner.removeprefix(_DETECTOR_PREFIX)) for name, inner in bare.items()
                if inner.startswith(_DETECTOR_PREFIX)}  # fmt: skip
    origins: dict[str, str] = {}
    for name, inner in bare.items():
        if (first := origins.setdefault(f"model.{inner}", name)) != name:
            raise InputError(f"{where}: {first} and {name} are one tensor of the detector; keep one of the two models")
    return {inner: state[name] for inner, name in origins.items()}


def _bare(name: str) -> str:
    """Return a tensor's name without module. and _orig_mod. wherever they stand, and without model. in front."""
    parts = [part for part in name.split(".") if part not in _WRAPPERS]
    while len(parts) > 1 and parts[0] == "model":
        parts = parts[1:]
    return ".".join(parts)


def _unknown_prefix(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str | None:
    """Say under which prefix `state` holds most of the tensors `own`, or return None when it holds them under none."""
    tail = next(iter(own)).removeprefix("model.")
    for name in state:
        start = name.removesuffix(tail)
        prefix = re.sub(r"(\bmodel\.)+$", "", start.removeprefix("model."))
        if name == start or not start.endswith(".") or not prefix:
            continue
        if 2 * sum(start + other.removeprefix("model.") in state for other in own) >= len(own):
            return f"its tensors stand under the unknown prefix '{prefix}'; save them under their names without it"
    return None


def averaged_state(checkpoint: dict[str, Any], where: str) -> dict[str, Tensor]:
    """Return a checkpoint's averaged weights, or its plain ones where it has no others, by their own names."""
    state = checkpoint["ema"] if checkpoint.get("ema") is not None else checkpoint.get("model")
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{where}: a checkpoint without weights")
    return {_bare(name): tensor for name, tensor in state.items() if name != "n_averaged"}


def coco_file(detector: str, weights_dir: str | Path) -> Path:
    """Return where the official COCO weights of `detector` lie, or would."""
    return Path(weights_dir) / f"{detector}{'u' * detector.startswith('yolov5')}.pt"


def coco_weights(detector: str, weights_dir: str | Path) -> Path:
    """Return the official COCO weights of `detector`, from `weights_dir` or fetched there once.

    Raises InputError that names the file, where to put it, and how to go on without, when it can't be had.
    """
    path = coco_file(detector, weights_dir)
    name = path.stem
    if path.is_file():
        return path
    url = COCO_WEIGHTS_URL.format(name=name)
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            content, expected = answer.read(), int(answer.headers.get("Content-Length") or -1)
    except (urllib.error.URLError, OSError, ValueError):
        raise MissingFile(
            f"pretrain = coco: {path} is not there and could not be fetched; put the official {name}.pt into "
            f"{path.parent}/, or start from random weights with pretrain=null",
            str(path),
        ) from None
    if len(content) != expected:
        raise InputError(f"pretrain = coco: the download of {name}.pt broke off at {len(content)} of {expected} bytes")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    try:
        part.write_bytes(content)
        read_foreign_state(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _asked_for(error: Exception) -> str:
    found = re.search(r"GLOBAL (\S+)", str(error))
    if found and found[1].startswith("ultralytics."):
        return "an ultralytics model, not one of ours; a training can start from it: train.py --weights"
    return f"it asks for {found[1]}" if found else "a pickle with code"


# The SR branch's first weights, taken from one of our checkpoints whatever becomes of the detector in it.


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

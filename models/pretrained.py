"""Reading ultralytics' .pt files, which are pickles of whole models, without running what a pickle asks to run.

Only tensor rebuilding is real; classes of ultralytics and torch.nn become inert records whose tensors are collected
afterwards. A file with any other global (os.system, builtins.eval...) is refused before anything of it is called.
"""

from __future__ import annotations

import pickle
import types
import zipfile
import zlib
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._utils import _rebuild_parameter, _rebuild_tensor_v2

from data_utils.errors import InputError

_INERT_PACKAGES = ("ultralytics.", "torch.nn.", "models.", "torch.optim.", "pathlib.", "numpy.", "datetime.")
# Keys under which checkpoints hold their weights, averaged ones first, as ultralytics' own loader takes them.
_NESTED = ("ema", "model_ema", "ema_state_dict", "state_dict_ema", "model", "model_state", "model_state_dict",
           "state_dict", "weights", "module", "net", "network")  # fmt: skip
_INERT_GLOBALS = {("types", "SimpleNamespace"), ("argparse", "Namespace")}
_REAL_GLOBALS = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch", "Size"): torch.Size,
    ("torch", "device"): torch.device,
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,
    ("builtins", "slice"): slice,
}


class _Inert:
    """Stands for an instance of a foreign class: keeps its state, does nothing."""

    def __new__(cls, *_args: Any, **_kwargs: Any) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        """Accept and forget (lists of foreign classes)."""

    def extend(self, values: Any) -> None:
        """Accept and forget."""


class _RestrictedUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _REAL_GLOBALS:
            return _REAL_GLOBALS[module, name]
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        inert = f"{module}.".startswith(_INERT_PACKAGES) or (module, name) in _INERT_GLOBALS
        if inert and "." not in name:
            return type(name, (_Inert,), {})
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def read_foreign_state(path: Path) -> dict[str, Tensor]:
    """Read {name: tensor} from an ultralytics .pt file or a plain state dict, on the CPU in float32.

    Raises InputError for anything else, and for a pickle that wants to call something; nothing of it is executed.
    """
    check_archive(path)
    # torch.load takes the Unpickler from `pickle_module`, so the restriction applies to the whole file.
    shim = types.SimpleNamespace(
        Unpickler=_RestrictedUnpickler, load=_refuse_legacy, UnpicklingError=pickle.UnpicklingError, __name__="inert"
    )
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=False, pickle_module=shim)
    except pickle.UnpicklingError as error:
        raise InputError(f"{path}: refused, nothing was executed: {error}") from None
    except (RuntimeError, EOFError, KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise InputError(f"{path}: not a readable weights file ({_first_line(error)})") from None
    state = _collect(loaded)
    if not state:
        raise InputError(f"{path}: holds no weights")
    return {name: tensor.detach().float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}


def check_archive(path: Path) -> None:
    """Raise InputError unless `path` is a whole zip archive, as PyTorch writes them, with every checksum right.

    torch.load itself does not compare checksums: a flipped byte would become a wrong weight.
    """
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path}: not a PyTorch weights file: truncated, corrupt or of another kind")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError, zlib.error, NotImplementedError, RuntimeError, ValueError) as error:
        raise InputError(f"{path}: corrupt weights file ({_first_line(error)})") from None
    if damaged:
        raise InputError(f"{path}: corrupt weights file (checksum of {damaged} differs)")


def _refuse_legacy(*_args: Any, **_kwargs: Any) -> Any:
    raise pickle.UnpicklingError("it is of the old non-zip format")


def _collect(node: Any, prefix: str = "") -> dict[str, Tensor]:
    """Gather the tensors of a state dict or a module; in a checkpoint, of the first of `_NESTED` that holds any."""
    if isinstance(node, dict):
        inner = (_collect(node[key]) for key in _NESTED if key in node)
        own = {str(name): value for name, value in node.items() if isinstance(value, Tensor)}
        return next(filter(None, inner), own)
    parts = getattr(node, "__dict__", {})
    tensors = {**parts.get("_parameters", {}), **parts.get("_buffers", {})}
    state = {prefix + name: tensor for name, tensor in tensors.items() if isinstance(tensor, Tensor)}
    for name, child in parts.get("_modules", {}).items():
        state |= _collect(child, f"{prefix}{name}.")
    return state


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]

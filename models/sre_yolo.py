"""SRE-YOLO: the detector and its training-only super-resolution branch, composed."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sysconfig
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from data_utils.config.loading import load_config
from data_utils.config.sections import Config
from data_utils.errors import InputError
from models.backbone import BackboneWithHooks
from models.sr_branch import SRBranch, Windows


class SREYOLO(nn.Module):
    """The model a config describes, with random weights; the trainer applies `pretrain`.

    backbone: the detector with its taps. sr_branch: None when sr_decoder is none or c1 is 0 (plain YOLO training).
    Raises InputError for a detector, taps or an input side that do not go together.
    """

    def __init__(self, config_path: str | Path | Config) -> None:
        super().__init__()
        self._n_frozen = 0
        config = config_path if isinstance(config_path, Config) else load_config(config_path)
        hook_layers = config.sr_layers if config.has_branch else ()
        self.backbone = BackboneWithHooks(config.model.detector, hook_layers, nc=config.dataset.nc)
        coarsest = largest_stride(self)
        if config.imgsz_lr % coarsest:
            detector, side = config.model.detector, config.imgsz_lr
            raise InputError(f"imgsz_lr = {side}: {detector} needs a multiple of {coarsest}, its largest stride")
        self.sr_branch = self._build_branch(config) if config.has_branch else None

    def forward(
        self, lr_image: Tensor, inference: bool = False, windows: Windows | None = None
    ) -> dict[str, Any] | Tensor:
        """Run float [B, 3, S, S] RGB in [0, 1]; S is a multiple of the detector's largest stride.

        Returns {"predictions": the head's output, "sr_output": [B, 3, 2S, 2S] or None}; with `windows`, the branch
        reconstructs only those parts of the frames (see models/sr_branch.py). With `inference=True` the
        branch is not called and the result is the decoded tensor [B, 4 + nc, A]: centre x, centre y, width and height
        in input pixels, then class scores in [0, 1]; that needs eval mode.
        """
        if inference:
            if self.training:
                raise ValueError("inference=True needs eval mode: call model.eval() first")
            return self.backbone.detect(lr_image)
        predictions, features = self.backbone(lr_image)
        taps = [features[layer] for layer in self.backbone.hook_layers]
        sr_output = None if self.sr_branch is None else self.sr_branch(*taps, windows=windows)
        return {"predictions": predictions, "sr_output": sr_output}

    def freeze_layers(self, count: int) -> None:
        """Keep the detector's first `count` layers as they are, and let everything else learn.

        They get no gradient, and their BatchNorm stays in eval mode: its statistics no longer follow the data.
        """
        layers = self.backbone.layers
        self._n_frozen = count
        self.requires_grad_(True)
        # The DFL's fixed integral (0..reg_max-1) is a convolution by construction and never trained.
        self.backbone.head.dfl.requires_grad_(False)
        for layer in layers[:count]:
            layer.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set train or eval mode as every module does; frozen layers stay in eval mode."""
        super().train(mode)
        for layer in self.backbone.layers[: self._n_frozen]:
            layer.eval()
        return self

    def freeze_backbone(self) -> None:
        """Train the branch alone: the whole detector is frozen."""
        self.freeze_layers(len(self.backbone.layers))

    def unfreeze_all(self) -> None:
        """Train everything again."""
        self.freeze_layers(0)

    def count_params(self) -> dict[str, int]:
        """Count parameters of the two parts and their sum."""
        backbone = sum(p.numel() for p in self.backbone.parameters())
        branch = sum(p.numel() for p in self.sr_branch.parameters()) if self.sr_branch is not None else 0
        return {"backbone": backbone, "sr_branch": branch, "total": backbone + branch}

    def _build_branch(self, config: Config) -> SRBranch:
        channels, strides = self.backbone.get_hook_channels(), self.backbone.get_hook_strides()
        shallow, deep = (strides[k] for k in config.sr_layers)
        if shallow > deep:
            raise InputError(
                f"sr_layers = {list(config.sr_layers)}: these maps of {config.model.detector} have strides {shallow} "
                f"and {deep}; the finer one comes first"
            )
        return SRBranch(
            [channels[k] for k in config.sr_layers],
            [shallow, deep],
            decoder=config.sr_decoder,
            fusion_stride=config.model.fusion_stride,
            width=config.model.branch_width,
            n_resblocks=config.sr_resblocks,
            upsampler=config.model.upsampler,
            checkpointing=config.model.branch_checkpointing,
        )


def largest_stride(model: SREYOLO) -> int:
    """Return the stride, in input pixels, of the coarsest detection map."""
    return int(torch.as_tensor(model.backbone.head.stride).max())


# torch.compile for the detector's training forward.


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

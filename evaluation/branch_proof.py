"""The proof that inference leaves the SR branch alone: watched while it runs, and run again with the branch deleted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from evaluation.benchmark import eval_mode


@dataclass(frozen=True)
class Touched:
    """Of the branch, in one pass: modules called, and parameters and buffers that some operation read."""

    modules: int
    tensors: int


@dataclass(frozen=True)
class BranchProof:
    """What a pass of inference had to do with the branch.

    training: the same watch over a pass that does use the branch; if it saw nothing, neither would the other.
    same_output: the output is equal, bit by bit, with the branch deleted. same_state: all that is deleted with it are
    its own weights.
    """

    n_modules: int
    n_params: int
    inference: Touched
    training: Touched
    same_output: bool
    same_state: bool

    @property
    def holds(self) -> bool:
        """Whether the inference graph has no part of the branch; also where there is no branch."""
        if not self.n_modules:
            return True
        watched = self.training.modules > 0 and (self.training.tensors > 0 or not self.n_params)
        untouched = self.inference == Touched(0, 0)
        return watched and untouched and self.same_output and self.same_state

    def sentence(self) -> str:
        """Return it in words, one line."""
        if not self.n_modules:
            return "The model has no SR branch: training and inference graph are the same."
        if self.holds:
            return (
                f"Inference has no part of the SR branch: it calls none of its {self.n_modules} modules, reads none of "
                f"its {self.n_params:,} parameters, and gives the same output, bit by bit, with the branch deleted."
            )
        return (
            f"NOT SHOWN that inference has no part of the SR branch: it calls {self.inference.modules} of its "
            f"{self.n_modules} modules and reads {self.inference.tensors} of its tensors (training: "
            f"{self.training.modules} and {self.training.tensors}); output with the branch deleted: "
            f"{'equal' if self.same_output else 'another'}, other weights: {'kept' if self.same_state else 'lost'}."
        )


def prove_branch_free(model: nn.Module, frame: Tensor) -> BranchProof:
    """Watch `model(frame, inference=True)`, frame float [1, 3, S, S], for any use of `model.sr_branch`.

    The model is as before afterwards, the mode of each part included.
    """
    branch = getattr(model, "sr_branch", None)
    if not isinstance(branch, nn.Module):
        return BranchProof(0, 0, Touched(0, 0), Touched(0, 0), True, True)
    with eval_mode(model), torch.no_grad():
        with_branch, inference = _watched(model, branch, frame, inference=True)
        _, training = _watched(model, branch, frame, inference=False)
        own = {f"sr_branch.{name}" for name in branch.state_dict()}
        names = set(model.state_dict())
        with _deleted(model):
            left = set(model.state_dict())
            without = model(frame, inference=True)
    return BranchProof(
        n_modules=sum(1 for _ in branch.modules()),
        n_params=sum(parameter.numel() for parameter in branch.parameters()),
        inference=inference,
        training=training,
        same_output=torch.equal(with_branch, without),
        same_state=names - own == left,
    )


class _Reads(TorchDispatchMode):
    """Notes which of some tensors the operations below it are given, by their memory."""

    def __init__(self, watched: list[Tensor]) -> None:
        super().__init__()
        self._places = {tensor.untyped_storage().data_ptr() for tensor in watched if tensor.numel()}
        self.read: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [leaf for leaf in tree_leaves((args, kwargs or {})) if isinstance(leaf, Tensor)]
        self.read |= {tensor.untyped_storage().data_ptr() for tensor in given} & self._places
        return func(*args, **(kwargs or {}))


def _watched(model: nn.Module, branch: nn.Module, frame: Tensor, inference: bool) -> tuple[Any, Touched]:
    called: set[int] = set()
    hooks = [
        module.register_forward_pre_hook(lambda module, _inputs: called.add(id(module))) for module in branch.modules()
    ]
    reads = _Reads([*branch.parameters(), *branch.buffers()])
    try:
        with reads:
            output = model(frame, inference=inference)
    finally:
        for hook in hooks:
            hook.remove()
    return output, Touched(len(called), len(reads.read))


@contextmanager
def _deleted(model: nn.Module) -> Iterator[None]:
    branch = model.get_submodule("sr_branch")
    model.register_module("sr_branch", None)
    try:
        yield
    finally:
        model.register_module("sr_branch", branch)

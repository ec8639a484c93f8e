"""The section `stages`: what a run starts from, and which parts of the model it trains.

A source of weights is null (random), `coco`, the path of a .pt file, or a chain such as `coco+hyperkvasir`: weights
trained on the first, then on the second.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from data_utils.errors import nearest_name
from data_utils.section import Count, FromList, Name, Section

COCO = "coco"  # for the detector: the official weights
FILE_SUFFIXES = (".pt", ".pth")


class StageSet(Section):
    """A data set that an earlier stage can train on: the config, split and further settings of such a run."""

    config: str  # path from the working folder
    split: Count = 1
    overrides: Annotated[tuple[str, ...], FromList] = ()  # key=value, laid over that config


class StagesSection(Section):
    """What the SR branch starts from, which parts learn, and the data sets that chains may name.

    train: `all` is the paper's loss on both parts. `branch` is L_SR alone with the whole detector frozen, on frames
    whose labels are never read; `branch+backbone` the same, with the detector's layers up to the deeper tap learning.
    """

    train: Literal["all", "branch", "branch+backbone"] = "all"
    branch: str | None = None  # source of the branch's first weights; the detector's is `pretrain`
    sets: dict[Name, StageSet] = Field(default_factory=dict)


def is_file(source: str) -> bool:
    """Say whether a source of weights names a file, and not a chain."""
    return source.lower().endswith(FILE_SUFFIXES) or "/" in source or "\\" in source


def chain_of(source: str | None) -> tuple[str, ...]:
    """Return the names of a chain in order, () for random weights and for a file."""
    return () if source is None or is_file(source) else tuple(source.split("+"))


def check_chain(key: str, source: str | None, stages: StagesSection, *, official_coco: bool) -> None:
    """Raise ValueError, naming `key` and the nearest known name, when a chain names an unknown stage.

    official_coco: whether `coco` in the first place needs no entry in `stages.sets`.
    """
    for position, name in enumerate(chain_of(source)):
        if name in stages.sets or (name == COCO and position == 0 and official_coco):
            continue
        known = [*dict.fromkeys(([COCO] if official_coco else []) + [*stages.sets])]
        near = nearest_name(name, known)
        hint = f", did you mean '{near}'?" if near else f"; known: {', '.join(known) or 'none'}"
        raise ValueError(
            f"{key} = {source}: '{name}' is neither a .pt file nor a data set listed under stages.sets{hint}"
        )

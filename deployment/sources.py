"""What `infer.py --source` may name: an image, a video, a folder, a glob pattern, a camera's number, an address."""

from __future__ import annotations

import glob
from dataclasses import dataclass
from pathlib import Path

from data_utils.errors import InputError
from data_utils.imaging.images import IMAGE_SUFFIXES
from data_utils.videos.video_decoding import VIDEO_SUFFIXES
from data_utils.visible_files import is_hidden_below, visible_files
from deployment.network import is_address


@dataclass(frozen=True)
class Sources:
    """Files to run on, in order, and below which folder they were found; or a camera, or a stream's address.

    ignored: files of other kinds.
    """

    root: Path
    images: tuple[Path, ...] = ()
    videos: tuple[Path, ...] = ()
    camera: int | None = None
    stream: str | None = None
    ignored: int = 0

    @property
    def is_live(self) -> bool:
        """Whether frames come in their own time, not as fast as they are read."""
        return self.camera is not None or self.stream is not None


def find_sources(source: str, results: Path | None = None) -> Sources:
    """Resolve `source`; files below `results` (earlier output) are no sources of a folder or pattern.

    Raises InputError when it names nothing that can be read.
    """
    if not source:
        raise InputError("--source is empty; name an image, a video, a folder, a pattern or a camera's number")
    if is_address(source):
        return Sources(Path(), stream=source)
    path = Path(source)
    if path.is_dir():
        found = visible_files(path)
        return _sorted_out(path, found, source, results)
    if path.is_file():
        if path.suffix.lower() not in IMAGE_SUFFIXES | VIDEO_SUFFIXES:
            raise InputError(f"{path}: '{path.suffix}' is neither an image ({_listed(IMAGE_SUFFIXES)}) nor a video "
                             f"({_listed(VIDEO_SUFFIXES)})")
        return _sorted_out(path.parent, [path], source, None)
    if source.isdecimal():
        return Sources(Path(), camera=int(source))
    if glob.has_magic(source):
        found = [Path(name) for name in sorted(glob.glob(source, recursive=True)) if Path(name).is_file()]
        return _sorted_out(_fixed_part(source), found, source, results)
    raise InputError(f"--source {source}: no such file or folder, no pattern that matches, no camera number, no "
                     "address such as rtsp://HOST/PATH")


def _sorted_out(root: Path, found: list[Path], source: str, results: Path | None) -> Sources:
    fresh = found if results is None else [f for f in found if not f.resolve().is_relative_to(results.resolve())]
    visible = [file for file in fresh if not is_hidden_below(file, root)]  # unfinished output, system litter
    images = tuple(file for file in visible if file.suffix.lower() in IMAGE_SUFFIXES)
    videos = tuple(file for file in visible if file.suffix.lower() in VIDEO_SUFFIXES)
    if not images and not videos:
        n_results = len(found) - len(fresh)
        earlier = f", {n_results} of them below the output folder {results}" if n_results else ""
        raise InputError(f"--source {source}: holds no image or video ({len(found)} files found{earlier})")
    return Sources(root, images, videos, ignored=len(found) - len(images) - len(videos))


def _fixed_part(pattern: str) -> Path:
    """Return the folder in front of a pattern's first wildcard."""
    folder = Path(pattern).parent
    while glob.has_magic(str(folder)):
        folder = folder.parent
    return folder


def _listed(suffixes: frozenset[str]) -> str:
    return " ".join(sorted(suffixes))

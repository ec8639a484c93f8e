"""Split lists, the paired data set and its loader, on small frames written to tmp_path."""

from __future__ import annotations

import os
import pickle
import re
import signal
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import get_worker_info

from data_utils import dataset as frame_cache
from data_utils import lists
from data_utils.config.loading import load_config
from data_utils.config.sections import Config
from data_utils.dataset import SREYOLODataset, label_path, read_split_list
from data_utils.errors import InputError, ResumableError
from data_utils.loader import EpochLoader, make_loader

SIDE = 64
N_FRAMES = 7
OPTIONS = ("imgsz_lr=64", "imgsz_hr=128", "epochs=20", "dataset.nc=2", "dataset.names=[lesion, polyp]")
COLOUR_OFF = ("augment.hsv_h=0", "augment.hsv_s=0", "augment.hsv_v=0")
SPLIT = "splits/split1/train.txt"


def config(repo_root: Path, *overrides: str) -> Config:
    return load_config(repo_root / "configs" / "train.yaml", [*OPTIONS, *overrides])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A prepared data set of N_FRAMES noise frames: frame k has k boxes (so frame 0 is healthy), LR is HR halved."""
    root = tmp_path / "a set é"
    for folder in ("lr/images", "lr/labels", "hr/images", "splits/split1"):
        (root / folder).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for k in range(N_FRAMES):
        hr = cv2.GaussianBlur(rng.integers(0, 256, (2 * SIDE, 2 * SIDE, 3), dtype=np.uint8), (0, 0), 3)
        lr = cv2.resize(hr, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        write_png(root / f"hr/images/f{k}.png", hr)
        write_png(root / f"lr/images/f{k}.png", lr)
        rows = [f"{i % 2} {0.1 * i + 0.15:.3f} 0.5 0.25 0.25\n" for i in range(k)]
        (root / f"lr/labels/f{k}.txt").write_text("".join(rows))
    write_list(root, [str(root / f"lr/images/f{k}.png") for k in range(N_FRAMES)])
    return root


def write_png(path: Path, bgr: np.ndarray) -> None:
    path.write_bytes(cv2.imencode(".png", bgr)[1].tobytes())


def write_list(root: Path, lines: list[str]) -> Path:
    (root / SPLIT).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root / SPLIT


@pytest.fixture
def make(data: Path, repo_root: Path) -> Callable[..., SREYOLODataset]:
    def make_dataset(*overrides: str, augment: bool = False, hr: bool = True, uint8: bool = False) -> SREYOLODataset:
        hr_dir = data / "hr/images" if hr else None
        return SREYOLODataset(data / SPLIT, hr_dir, augment, config=config(repo_root, *overrides), uint8=uint8)

    return make_dataset


# --- the item


def test_item_is_as_documented(make: Callable[..., SREYOLODataset], data: Path):
    dataset = make()
    assert len(dataset) == N_FRAMES
    item = dataset[2]
    assert set(item) == {"lr_image", "hr_image", "labels", "img_path"}
    assert item["img_path"] == str(data / "lr/images/f2.png")
    for key, side in (("lr_image", SIDE), ("hr_image", 2 * SIDE)):
        rgb = cv2.cvtColor(cv2.imdecode(np.fromfile(data / key[:2] / "images/f2.png", np.uint8), 1), cv2.COLOR_BGR2RGB)
        assert item[key].shape == (3, side, side)
        assert item[key].dtype == torch.float32
        np.testing.assert_allclose(item[key].numpy(), rgb.transpose(2, 0, 1) / 255, atol=1e-6)
    assert item["labels"].dtype == torch.float32
    np.testing.assert_allclose(item["labels"], [[0, 0.15, 0.5, 0.25, 0.25], [1, 0.25, 0.5, 0.25, 0.25]], atol=1e-6)


def test_healthy_frame_has_labels_0_by_5(make: Callable[..., SREYOLODataset]):
    labels = make()[0]["labels"]
    assert labels.shape == (0, 5)
    assert labels.dtype == torch.float32


def test_without_hr_and_as_uint8(make: Callable[..., SREYOLODataset]):
    whole, light = make()[3], make(hr=False, uint8=True)[3]
    assert "hr_image" not in light
    assert light["lr_image"].dtype == torch.uint8
    np.testing.assert_allclose(light["lr_image"].numpy() / 255, whole["lr_image"].numpy(), atol=1e-6)


def test_settings_come_from_the_config_path(data: Path, repo_root: Path, tmp_path: Path):
    path = tmp_path / "run.yaml"
    path.write_text(f"base: {repo_root / 'configs/train.yaml'}\nimgsz_lr: 64\nimgsz_hr: 128\n"
                    "dataset: {nc: 2, names: [lesion, polyp]}\n")  # fmt: skip
    dataset = SREYOLODataset(data / SPLIT, data / "hr/images", config_path=path)
    assert dataset[1]["hr_image"].shape == (3, 128, 128)


def test_index_out_of_range_ends_iteration(make: Callable[..., SREYOLODataset]):
    dataset = make()
    with pytest.raises(IndexError):
        dataset[N_FRAMES]
    assert dataset[-1]["img_path"] == dataset[N_FRAMES - 1]["img_path"]


# --- augmentation


def halved(image: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.avg_pool2d(image[None], 2)[0]


def test_lr_and_hr_stay_aligned(make: Callable[..., SREYOLODataset]):
    dataset = make(*COLOUR_OFF, augment=True)
    plain = make()
    changed = 0
    for epoch in range(4):
        dataset.set_epoch(epoch)
        for k in range(N_FRAMES):
            item = dataset[k]
            difference = (halved(item["hr_image"]) - item["lr_image"]).abs().mean()
            assert difference < 0.01
            changed += not torch.equal(item["lr_image"], plain[k]["lr_image"])
    assert changed > 20


def test_hr_geometry_none_leaves_the_hr_frame_alone(make: Callable[..., SREYOLODataset]):
    literal, plain = make("augment.hr_geometry=none", "augment.mosaic=1", augment=True), make()
    shared = make("augment.mosaic=1", augment=True)
    for k in range(N_FRAMES):
        assert torch.equal(literal[k]["hr_image"], plain[k]["hr_image"])
        assert not torch.equal(literal[k]["lr_image"], plain[k]["lr_image"])
        assert torch.equal(literal[k]["lr_image"], shared[k]["lr_image"])
        assert not torch.equal(shared[k]["hr_image"], plain[k]["hr_image"])


def test_colour_touches_lr_only(make: Callable[..., SREYOLODataset]):
    still = ("augment.flip=0", "augment.scale_p=0", "augment.shift_p=0", "augment.mosaic=0")
    item, plain = make(*still, augment=True)[3], make()[3]
    assert not torch.equal(item["lr_image"], plain["lr_image"])
    assert torch.equal(item["hr_image"], plain["hr_image"])
    assert torch.equal(item["labels"], plain["labels"])


def test_sample_depends_on_seed_epoch_and_index(make: Callable[..., SREYOLODataset]):
    first, same, other = make(augment=True), make(augment=True), make("seed=7", augment=True)
    assert torch.equal(first[4]["lr_image"], same[4]["lr_image"])
    assert not torch.equal(first[4]["lr_image"], other[4]["lr_image"])
    same.set_epoch(1)
    assert not torch.equal(first[4]["lr_image"], same[4]["lr_image"])


def test_mosaic_is_off_in_the_last_epochs(make: Callable[..., SREYOLODataset]):
    only_mosaic = (*COLOUR_OFF, "augment.flip=0", "augment.scale_p=0", "augment.shift_p=0", "augment.mosaic=1")
    dataset = make(*only_mosaic, "augment.close_mosaic=3", "epochs=10", augment=True)
    plain = make()[5]["lr_image"]
    changed = []
    for epoch in range(10):
        dataset.set_epoch(epoch)
        changed.append(not torch.equal(dataset[5]["lr_image"], plain))
    assert changed == [True] * 7 + [False] * 3


@pytest.mark.parametrize("mode", ["ram", "auto"])
def test_cached_frames_are_the_files_frames(make: Callable[..., SREYOLODataset], data: Path, mode: str):
    cached, uncached = make(f"run.cache={mode}", augment=True), make("run.cache=none", augment=True)
    for dataset in (cached, uncached):
        dataset.set_epoch(2)
    for _ in range(2):  # the second time from memory
        for k in range(N_FRAMES):
            assert torch.equal(cached[k]["lr_image"], uncached[k]["lr_image"])
            assert torch.equal(cached[k]["hr_image"], uncached[k]["hr_image"])
    for path in (data / "lr/images").iterdir():
        path.unlink()
    cached[3]
    with pytest.raises(InputError, match=r"f3\.png"):
        uncached[3]


def test_changing_an_item_does_not_change_the_cache(make: Callable[..., SREYOLODataset]):
    dataset = make("run.cache=ram", uint8=True)
    before = dataset[1]["lr_image"].clone()
    dataset[1]["lr_image"].zero_()
    assert torch.equal(dataset[1]["lr_image"], before)


def test_auto_cache_needs_four_times_the_memory(monkeypatch: pytest.MonkeyPatch):
    sets = [([Path("a.png")] * 10, 8), ([Path("b.png")] * 10, 16)]
    needed = 3 * 10 * (8 * 8 + 16 * 16)
    for free, kind in ((4 * needed, frame_cache.CachedFrames), (4 * needed - 1, frame_cache.FrameFiles)):
        monkeypatch.setattr(frame_cache, "free_memory", lambda free=free: free)
        assert [type(frames) for frames in frame_cache.open_frames("auto", sets)] == [kind, kind]


def test_data_set_travels_without_its_decoded_frames(make: Callable[..., SREYOLODataset]):
    dataset = make("run.cache=ram", augment=True, uint8=True)
    expected = dataset[3]["hr_image"]
    pickled = pickle.dumps(dataset)
    assert len(pickled) < 20_000  # the frames alone take 430 kB
    assert torch.equal(pickle.loads(pickled)[3]["hr_image"], expected)


# --- a balanced list


@pytest.fixture
def balanced(data: Path, repo_root: Path) -> Callable[..., SREYOLODataset]:
    """The set of `data` with frame 5 listed three times and frame 2 twice: f0 f1 f2 f2 f3 f4 f5 f5 f5 f6."""
    lines = [str(data / f"lr/images/f{k}.png") for k in (0, 1, 2, 2, 3, 4, 5, 5, 5, 6)]
    (data / "splits/split1/train_balanced.txt").write_text("\n".join(lines))

    def make_dataset(*overrides: str, augment: bool = False) -> SREYOLODataset:
        return SREYOLODataset(data / "splits/split1/train_balanced.txt", data / "hr/images", augment,
                              config=config(repo_root, *overrides), uint8=True, repeats=True)  # fmt: skip

    return make_dataset


@pytest.mark.parametrize("mode", ["ram", "none"])
def test_repeated_frames_are_samples_of_their_own(balanced, make: Callable[..., SREYOLODataset], mode: str):
    dataset, plain = balanced(f"run.cache={mode}"), make(uint8=True)
    assert len(dataset) == 10
    for index, k in enumerate((0, 1, 2, 2, 3, 4, 5, 5, 5, 6)):
        item, expected = dataset[index], plain[k]
        assert item["img_path"] == expected["img_path"]
        assert all(torch.equal(item[key], expected[key]) for key in ("lr_image", "hr_image", "labels"))
    augmented = balanced(f"run.cache={mode}", "augment.mosaic=0", augment=True)
    first, second, third = (augmented[index]["lr_image"] for index in (6, 7, 8))
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)
    assert torch.equal(augmented[7]["lr_image"], balanced("augment.mosaic=0", augment=True)[7]["lr_image"])


def test_a_repeated_frame_is_read_once(balanced, monkeypatch: pytest.MonkeyPatch):
    def counting(module: object, name: str) -> list[str]:
        seen, original = [], getattr(module, name)
        monkeypatch.setattr(module, name, lambda path, *rest: seen.append(path.name) or original(path, *rest))
        return seen

    decoded, headers = counting(frame_cache, "read_bgr"), counting(lists, "image_size")
    labels = counting(lists, "read_labels")
    dataset = balanced("run.cache=ram", augment=True)
    for epoch in range(2):
        dataset.set_epoch(epoch)
        assert len([dataset[index] for index in range(len(dataset))]) == 10
    frames = [f"f{k}.png" for k in range(N_FRAMES)]
    assert sorted(decoded) == sorted(headers) == sorted(frames * 2)  # LR and HR
    assert sorted(labels) == [f"f{k}.txt" for k in range(N_FRAMES)]


def test_faults_are_counted_by_frame_not_by_line(balanced, data: Path):
    (data / "lr/labels/f5.txt").unlink()
    with pytest.raises(InputError, match="1 of 7 label files are missing"):
        balanced()


def test_an_epoch_has_every_line_once_in_any_number_of_processes(balanced):
    for workers in (0, 2):
        loader = make_loader(balanced(augment=True), 3, workers=workers, shuffle=True, seed=1)
        seen = sorted(Path(path).stem for batch in loader for path in batch["img_path"])
        assert seen == ["f0", "f1", "f2", "f2", "f3", "f4", "f5", "f5", "f5", "f6"]


# --- the loader


def test_batch_layout(make: Callable[..., SREYOLODataset]):
    loader = make_loader(make(uint8=True), 3, workers=0, shuffle=False, seed=0)
    batches = list(loader)
    assert [len(batch["img_path"]) for batch in batches] == [3, 3, 1]
    assert len(loader) == 3
    batch = batches[0]
    assert batch["lr_image"].shape == (3, 3, SIDE, SIDE)
    assert batch["hr_image"].shape == (3, 3, 2 * SIDE, 2 * SIDE)
    assert batch["hr_image"].dtype == torch.uint8
    assert batch["lr_image"].is_contiguous(memory_format=torch.channels_last)
    assert [Path(path).stem for path in batch["img_path"]] == ["f0", "f1", "f2"]
    assert batch["labels"].dtype == torch.float32
    assert batch["labels"][:, :2].tolist() == [[1, 0], [2, 0], [2, 1]]  # frame 0 is healthy
    items = make(uint8=True)
    assert torch.equal(batch["lr_image"][2], items[2]["lr_image"])
    assert torch.equal(batch["labels"][1:, 1:], items[2]["labels"])


def test_batch_of_healthy_frames_has_labels_0_by_6(make: Callable[..., SREYOLODataset], data: Path):
    write_list(data, [str(data / "lr/images/f0.png")])
    batch = next(iter(make_loader(make(hr=False), 4, workers=0, shuffle=False, seed=0)))
    assert batch["labels"].shape == (0, 6)
    assert "hr_image" not in batch


def test_drop_last(make: Callable[..., SREYOLODataset]):
    loader = make_loader(make(), 3, workers=0, shuffle=True, seed=0, drop_last=True)
    assert [len(batch["img_path"]) for batch in loader] == [3, 3]


def test_order_follows_seed_and_epoch_and_nothing_else(make: Callable[..., SREYOLODataset]):
    def order(seed: int, epoch: int) -> list[str]:
        loader = make_loader(make(hr=False), 2, workers=0, shuffle=True, seed=seed)
        loader.set_epoch(epoch)
        return [path for batch in loader for path in batch["img_path"]]

    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = order(5, 3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002 - the global state is what must not matter
    assert order(5, 3) == first
    assert order(5, 4) != first
    assert order(6, 3) != first
    assert len(set(first)) == N_FRAMES


def test_nothing_depends_on_the_number_of_workers(make: Callable[..., SREYOLODataset]):
    epochs_seen = {}
    for workers in (0, 1, 2):
        loader = make_loader(make(augment=True, uint8=True), 2, workers=workers, shuffle=True, seed=3)
        seen = []
        for epoch in (0, 1, 0):  # the workers live through all three
            loader.set_epoch(epoch)
            seen.append(list(loader))
        epochs_seen[workers] = seen
    for workers in (1, 2):
        for batches, expected in zip(epochs_seen[workers], epochs_seen[0], strict=True):
            for batch, wanted in zip(batches, expected, strict=True):
                assert batch["img_path"] == wanted["img_path"]
                assert all(torch.equal(batch[key], wanted[key]) for key in ("lr_image", "hr_image", "labels"))
    assert not torch.equal(epochs_seen[2][0][0]["lr_image"], epochs_seen[2][1][0]["lr_image"])
    assert torch.equal(epochs_seen[2][0][0]["lr_image"], epochs_seen[2][2][0]["lr_image"])


def test_epoch_left_early_does_not_leak_into_the_next(make: Callable[..., SREYOLODataset]):
    loader = make_loader(make(hr=False, augment=True, uint8=True), 2, workers=1, shuffle=True, seed=3)
    loader.set_epoch(1)
    expected = [batch["lr_image"] for batch in loader]
    loader.set_epoch(0)
    next(iter(loader))
    loader.set_epoch(1)
    for batch, wanted in zip(loader, expected, strict=True):
        assert torch.equal(batch["lr_image"], wanted)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_next_epoch_is_read_ahead_and_is_the_same(make: Callable[..., SREYOLODataset], workers: int):
    def batches(loader: EpochLoader, epoch: int, then: int | None = None) -> list[torch.Tensor]:
        loader.set_epoch(epoch, then)
        return [batch["lr_image"] for batch in loader]

    plain, ahead = (
        make_loader(make(hr=False, augment=True, uint8=True), 2, workers=n, shuffle=True, seed=3) for n in (0, workers)
    )
    expected = {epoch: batches(plain, epoch) for epoch in (0, 1, 5)}
    for epoch, then, begun in ((0, 1, 1), (1, 2, 2), (5, None, None), (1, None, None)):  # 5: not what was begun
        assert all(map(torch.equal, batches(ahead, epoch, then), expected[epoch]))
        assert (ahead._ahead and ahead._ahead[0]) == (begun if workers else None)


@pytest.mark.parametrize("workers", [0, 1])
def test_damaged_frame_is_named_in_one_line(make: Callable[..., SREYOLODataset], data: Path, workers: int):
    whole = (data / "lr/images/f4.png").read_bytes()
    (data / "lr/images/f4.png").write_bytes(whole[: len(whole) // 2])
    loader = make_loader(make(), 2, workers=workers, shuffle=False, seed=0)
    with pytest.raises(InputError, match=r"^/.*f4\.png: truncated") as caught:
        list(loader)
    assert "\n" not in str(caught.value)


class Failing(SREYOLODataset):
    """Fails on frame 4, as told: by an exception, or by the death of its process."""

    how = "raise"

    def _sample(self, index: int):
        if index == 4 and self.how == "kill" and get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        if index == 4:
            raise KeyError("planted")
        return super()._sample(index)


@pytest.mark.parametrize("workers", [0, 1])
def test_failure_inside_a_sample_names_it(data: Path, repo_root: Path, workers: int):
    dataset = Failing(data / SPLIT, None, config=config(repo_root))
    loader = make_loader(dataset, 2, workers=workers, shuffle=False, seed=0)
    with pytest.raises(RuntimeError, match=r"f4\.png: no sample could be made \(KeyError: 'planted'\)"):
        list(loader)


def test_death_of_a_worker_names_the_frames_in_work(data: Path, repo_root: Path):
    dataset = Failing(data / SPLIT, None, config=config(repo_root))
    dataset.how = "kill"
    loader = make_loader(dataset, 2, workers=1, shuffle=False, seed=0)
    with pytest.raises(ResumableError, match=r"loader process died .* while it read \S.*f4\.png; .*run\.workers"):
        list(loader)


# --- split lists and what they lead to


def test_entries_absolute_relative_blank_bom_crlf(data: Path):
    lines = ["", str(data / "lr/images/f3.png"), "  ../../lr/images/f1.png ", "", "../../lr/images/f2.png"]
    (data / SPLIT).write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    assert read_split_list(data / SPLIT) == [data / "lr/images" / f"f{k}.png" for k in (3, 1, 2)]


def test_relative_entries_survive_a_move(data: Path, tmp_path: Path):
    write_list(data, ["../../lr/images/f1.png"])
    moved = data.rename(tmp_path / "moved")
    assert read_split_list(moved / SPLIT) == [moved / "lr/images/f1.png"]


def test_moved_data_set_gets_one_clear_line(data: Path, tmp_path: Path):
    moved = data.rename(tmp_path / "moved")
    with pytest.raises(InputError) as caught:
        read_split_list(moved / SPLIT)
    message = str(caught.value)
    assert "\n" not in message
    assert f"7 of 7 listed images do not exist, first {data / 'lr/images/f0.png'}" in message
    assert "data_utils.prepare" in message


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "the split is empty"),
        (b"\n  \r\n", "the split is empty"),
        (b"\xff\xfe\x00a", "not a readable UTF-8 list"),
        (b"a\0b.png\n", "binary file"),
        (b"../../../outside.png\n", r"train\.txt:1: .* leads out of the data set's folder"),
        (b"../../lr/images/f1.png\n\n../../lr/images/../images/f1.png\n", r"train\.txt:3: repeats line 1"),
        (b"../../lr/images\n", "1 of 1 listed images do not exist"),
    ],
)
def test_bad_lists_are_refused(data: Path, content: bytes, complaint: str):
    (data / SPLIT).write_bytes(content)
    with pytest.raises(InputError, match=complaint):
        read_split_list(data / SPLIT)


def test_missing_list(tmp_path: Path):
    with pytest.raises(InputError, match=r"train\.txt: no such split list; run .*prepare"):
        read_split_list(tmp_path / "train.txt")


def test_label_path_swaps_the_last_images_folder():
    assert label_path("/images/x/lr/images/a.b.jpg") == Path("/images/x/lr/labels/a.b.txt")
    assert label_path("set/lr/images/site1/a.jpg") == Path("set/lr/labels/site1/a.txt")
    with pytest.raises(InputError, match="named 'images'"):
        label_path("/frames/a.jpg")


def test_missing_label_file_is_refused_unless_allowed(make: Callable[..., SREYOLODataset], data: Path):
    (data / "lr/labels/f5.txt").unlink()
    with pytest.raises(InputError, match=r"1 of 7 label files are missing: .*f5\.txt; .*allow_background"):
        make()
    assert make("dataset.allow_background=true")[5]["labels"].shape == (0, 5)


def test_bad_label_is_named_by_file_and_line_before_training(make: Callable[..., SREYOLODataset], data: Path):
    (data / "lr/labels/f5.txt").write_text("0 0.5 0.5 0.1 0.1\n2 0.5 0.5 0.2 0.2\n")
    with pytest.raises(InputError, match=r"f5\.txt:2: class id 2, but dataset\.nc = 2"):
        make()


def test_missing_hr_partners_are_listed(make: Callable[..., SREYOLODataset], data: Path):
    for k in (2, 5):
        (data / f"hr/images/f{k}.png").unlink()
    with pytest.raises(InputError, match=r"2 of 7 LR images have no HR partner in .*f2\.png, .*f5\.png; run"):
        make()
    make(hr=False)


def test_missing_hr_folder(data: Path, repo_root: Path):
    with pytest.raises(InputError, match="no such folder of HR images"):
        SREYOLODataset(data / SPLIT, data / "nowhere", config=config(repo_root))


def test_hr_partner_may_have_another_suffix(make: Callable[..., SREYOLODataset], data: Path):
    expected = make()[2]["hr_image"]
    bgr = cv2.imdecode(np.fromfile(data / "hr/images/f2.png", np.uint8), 1)
    (data / "hr/images/f2.png").unlink()
    (data / "hr/images/f2.bmp").write_bytes(cv2.imencode(".bmp", bgr)[1].tobytes())
    assert torch.equal(make()[2]["hr_image"], expected)


def test_pairs_of_the_wrong_size_are_listed(make: Callable[..., SREYOLODataset], data: Path):
    grey = np.full((SIDE, SIDE, 3), 90, np.uint8)
    for k in range(1, 6):
        write_png(data / f"hr/images/f{k}.png", grey)
    with pytest.raises(InputError) as caught:
        make()
    message = str(caught.value)
    assert "5 of 7 prepared frames are not LR 64x64 and HR 128x128" in message
    pairs = re.findall(r"(f\d)\.png 64x64 with \S[^,]*?(f\d)\.png 64x64", message)
    assert pairs == [("f1", "f1"), ("f2", "f2"), ("f3", "f3")]
    assert "and 2 more" in message
    with pytest.raises(InputError, match=r"7 of 7 prepared frames are not LR 32x32 \(imgsz_lr"):
        make("imgsz_lr=32", "imgsz_hr=64", hr=False)


# --- real frames


def test_real_blood_cell_frames(shared_data: Path, repo_root: Path, tmp_path: Path):
    for folder in ("lr/images", "lr/labels", "hr/images"):
        (tmp_path / folder).mkdir(parents=True)
    names = sorted(path.name for path in (shared_data / "bccd/JPEGImages").glob("*.jpg"))[:4]
    for name in names:
        bgr = cv2.imread(str(shared_data / "bccd/JPEGImages" / name))
        for kind, side, method in (("lr", 320, cv2.INTER_LINEAR), ("hr", 640, cv2.INTER_CUBIC)):
            write_png(tmp_path / f"{kind}/images/{name[:-4]}.png", cv2.resize(bgr, (side, side), interpolation=method))
        (tmp_path / "lr/labels" / f"{name[:-4]}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (tmp_path / "train.txt").write_text("".join(f"lr/images/{name[:-4]}.png\n" for name in names))
    settings = config(repo_root, "imgsz_lr=320", "imgsz_hr=640", *COLOUR_OFF)
    dataset = SREYOLODataset(tmp_path / "train.txt", tmp_path / "hr/images", augment=True, config=settings)
    for item in (dataset[k] for k in range(4)):
        assert (halved(item["hr_image"]) - item["lr_image"]).abs().mean() < 0.02


def test_hr_folder_may_be_named_by_its_parent_and_hold_other_files(data: Path, repo_root: Path):
    expected = []
    for k in range(N_FRAMES):
        for suffix in (".aaa", ".json"):
            (data / f"hr/images/f{k}{suffix}").write_text("{}")
        expected.append((data / f"hr/images/f{k}.png").rename(data / f"hr/images/f{k}.PNG"))
    for hr_dir in (data / "hr", data / "hr/images"):
        assert SREYOLODataset(data / SPLIT, hr_dir, config=config(repo_root)).hr_paths == expected

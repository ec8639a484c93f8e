"""The demo data: exact boxes, the same bytes everywhere, rejects that the filter finds, and no short cut by colour."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from colour_blobs import best_colour_ap50

from data_utils import synthetic
from data_utils.config.loading import load_config
from data_utils.config.sections import FilterSection
from data_utils.errors import InputError
from data_utils.formats import read_raw_set
from data_utils.imaging.quality import rejection_reasons, score_frame
from data_utils.synthetic import METADATA_COLUMNS, N_FRAMES, N_PATIENTS, SIZE, STAMP, make_dataset
from data_utils.synthetic.frame import DEFECTS, KINDS, FramePlan, Lesion, draw_frame, lesion_shape, tight_box
from data_utils.synthetic.plan import SOURCES, plan_frames

EXPECTED_REASON = {"blurred": "blurred", "dark": "dark", "blown": "blown out", "glare": "glare", "tiny": "tiny"}


@pytest.fixture(scope="module")
def demo_plans() -> list[FramePlan]:
    """The plan of the demo set, as `make demo` draws it."""
    return plan_frames(N_PATIENTS, N_FRAMES, SIZE, seed=0)


@pytest.fixture(scope="module")
def small_set(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    folder = tmp_path_factory.mktemp("small set") / "raw"
    return folder, make_dataset(folder, n_patients=6, n_frames=18, size=256, seed=3, workers=1)


def file_hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def read_metadata(folder: Path) -> list[dict[str, str]]:
    with (folder / "metadata.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# --- boxes -----------------------------------------------------------------------------------------------------------


def test_tight_box_of_a_hand_drawn_mask() -> None:
    mask = np.zeros((10, 12), bool)
    mask[3, 5] = mask[6, 2] = True
    assert tight_box(mask) == (2, 3, 6, 7)


def test_tight_box_of_one_pixel_a_full_and_an_empty_mask() -> None:
    corner = np.zeros((4, 4), bool)
    corner[3, 3] = True
    assert tight_box(corner) == (3, 3, 4, 4)
    assert tight_box(np.ones((4, 6), bool)) == (0, 0, 6, 4)
    assert tight_box(np.zeros((4, 4), bool)) is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("width", "height"), [(20, 31), (64, 50), (150, 205)])
def test_an_outline_fills_its_window(kind: str, width: int, height: int) -> None:
    mask, relief = lesion_shape(Lesion(kind, 11, (0, 0), (width, height), 1.0), width, height)
    assert tight_box(mask) == (0, 0, width, height)
    assert mask.mean() > 0.3
    assert 0 < relief.max() <= 1
    assert not relief[~mask].any()


def sharp_plan_with(plans: list[FramePlan], n_lesions: int) -> FramePlan:
    """The first good frame with this many lesions, without the optics that carry light across an outline."""
    plan = next(plan for plan in plans if plan.defect is None and len(plan.lesions) == n_lesions)
    return replace(plan, softness=0.0)


@pytest.mark.parametrize("n_lesions", [1, 2, 3])
def test_boxes_are_where_the_picture_changes(demo_plans: list[FramePlan], n_lesions: int) -> None:
    """The oracle is the picture: the same frame without its lesions differs inside the boxes and nowhere else."""
    plan = sharp_plan_with(demo_plans, n_lesions)
    drawn, bare = draw_frame(plan), draw_frame(replace(plan, lesions=()))
    changed = np.abs(drawn.bgr.astype(int) - bare.bgr).max(axis=2)
    assert len(drawn.boxes_xyxy) == n_lesions
    outside = np.ones(changed.shape, bool)
    reach = 3  # pixels: edge enhancement and surface normals look one pixel around, JPEG is not involved
    for left, top, right, bottom in drawn.boxes_xyxy:
        window = (slice(top - reach, bottom + reach), slice(left - reach, right + reach))
        outside[window] = False
        visible = tight_box(changed[window] > 12)
        assert visible is not None
        expected = (reach, reach, reach + right - left, reach + bottom - top)
        assert np.abs(np.subtract(visible, expected)).max() <= 3
    assert not changed[outside].any()


def test_a_healthy_frame_has_no_boxes() -> None:
    drawing = draw_frame(next(plan for plan in plan_frames(6, 12, 256, 0) if not plan.lesions))
    assert drawing.boxes_xyxy == ()
    assert drawing.masks == ()


def test_a_lesion_behind_the_vignette_is_neither_drawn_nor_labelled() -> None:
    plan = plan_frames(6, 12, 256, 0)[0]
    hidden = Lesion("polyp", 1, (5.0, 5.0), (40, 40), 1.0)
    plan = replace(plan, defect=None)
    with_hidden, without = draw_frame(replace(plan, lesions=(hidden,))), draw_frame(replace(plan, lesions=()))
    assert with_hidden.boxes_xyxy == ()
    assert np.array_equal(with_hidden.bgr, without.bgr)


def test_label_files_hold_the_masks_boxes(small_set: tuple[Path, dict[str, int]]) -> None:
    folder, _ = small_set
    n_boxes = 0
    for plan in plan_frames(6, 18, 256, seed=3):
        lines = (folder / "labels" / f"{plan.stem}.txt").read_text().splitlines()
        masks = draw_frame(plan).masks
        assert len(lines) == len(masks)
        for line, mask in zip(lines, masks, strict=True):
            class_id, cx, cy, w, h = map(float, line.split())
            corners = np.array([cx - w / 2, cy - h / 2, w, h]) * 256
            assert class_id == 0
            assert corners == pytest.approx(cv2.boundingRect(mask.astype(np.uint8)), abs=1e-4)
            n_boxes += 1
    assert n_boxes > 5


# --- the whole set ---------------------------------------------------------------------------------------------------


def test_the_demo_plan_is_large_and_varied_enough(demo_plans: list[FramePlan]) -> None:
    patients = {plan.patient_id for plan in demo_plans}
    sizes = Counter(
        "small" if w * h < 32**2 else "medium" if w * h < 96**2 else "large"
        for plan in demo_plans
        for w, h in (lesion.size_px for lesion in plan.lesions)
    )
    healthy = sum(not plan.lesions for plan in demo_plans) / len(demo_plans)
    assert len(patients) >= 24
    assert len(demo_plans) >= 160
    assert len({plan.stem for plan in demo_plans}) == len(demo_plans)
    assert {plan.source for plan in demo_plans} == set(SOURCES)
    assert {plan.modality for plan in demo_plans} == {"WL", "NBI"}
    assert {plan.defect for plan in demo_plans} == {None, *DEFECTS}
    assert {lesion.kind for plan in demo_plans for lesion in plan.lesions} == set(KINDS)
    assert 0.2 <= healthy <= 0.35
    assert min(sizes.values()) >= 0.1 * sizes.total()
    assert all(0 <= len(plan.lesions) <= 3 for plan in demo_plans)


def test_frames_of_one_patient_share_source_and_anatomy(demo_plans: list[FramePlan]) -> None:
    by_patient: dict[str, set[tuple[str, int]]] = {}
    for plan in demo_plans:
        by_patient.setdefault(plan.patient_id, set()).add((plan.source, plan.anatomy.seed))
    assert all(len(shared) == 1 for shared in by_patient.values())
    assert len(set.union(*by_patient.values())) == len(by_patient)


def test_counts_metadata_and_files_agree(small_set: tuple[Path, dict[str, int]]) -> None:
    folder, counts = small_set
    rows = read_metadata(folder)
    boxes = {path.stem: len(path.read_text().splitlines()) for path in (folder / "labels").iterdir()}
    assert tuple(rows[0]) == METADATA_COLUMNS
    assert {row["filename"] for row in rows} == {path.name for path in (folder / "images").iterdir()}
    assert {Path(row["filename"]).stem: row["has_lesion"] for row in rows} == {
        stem: str(int(n > 0)) for stem, n in boxes.items()
    }
    assert counts["frames"] == len(rows) == 18
    assert counts["patients"] == len({row["patient_id"] for row in rows}) == 6
    assert counts["lesions"] == sum(boxes.values()) == counts["small"] + counts["medium"] + counts["large"]
    assert counts["lesion_frames"] == sum(n > 0 for n in boxes.values())
    assert counts["healthy_frames"] == 18 - counts["lesion_frames"]


def test_the_reader_of_real_data_reads_it(small_set: tuple[Path, dict[str, int]], repo_root: Path) -> None:
    folder, counts = small_set
    dataset = load_config(repo_root / "configs" / "demo.yaml", [f"dataset.raw='{folder}'"]).dataset
    frames = read_raw_set(dataset).frames
    assert len(frames) == counts["frames"]
    assert sum(len(frame.annotation) for frame in frames) == counts["lesions"]
    assert len({frame.patient_id for frame in frames}) == counts["patients"]


def test_the_demo_config_reads_what_the_command_writes(repo_root: Path) -> None:
    dataset = load_config(repo_root / "configs" / "demo.yaml").dataset
    assert (dataset.name, dataset.raw, dataset.names) == ("demo", "data/demo/raw", ("lesion",))
    assert dataset.split.ratios == (60, 20, 20)


# --- the same bytes, and only once -----------------------------------------------------------------------------------


def test_same_seed_same_bytes_for_any_number_of_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "SERIAL_PIXELS", 0)
    for name, workers in (("one", 1), ("two", 2)):
        make_dataset(tmp_path / name, n_patients=2, n_frames=5, size=128, seed=4, workers=workers)
    assert file_hashes(tmp_path / "one") == file_hashes(tmp_path / "two")


def test_another_seed_draws_other_frames(tmp_path: Path) -> None:
    for seed in (0, 1):
        make_dataset(tmp_path / str(seed), n_patients=2, n_frames=2, size=128, seed=seed)
    images = [set(file_hashes(tmp_path / str(seed) / "images").values()) for seed in (0, 1)]
    assert not images[0] & images[1]


def test_a_second_run_draws_nothing_and_a_lost_frame_is_drawn_again(tmp_path: Path) -> None:
    def times() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("*")) if path.is_file()}

    first = make_dataset(tmp_path, n_patients=2, n_frames=3, size=128)
    before, hashes = times(), file_hashes(tmp_path)
    assert make_dataset(tmp_path, n_patients=2, n_frames=3, size=128) == first
    assert times() == before
    next((tmp_path / "images").iterdir()).unlink()
    assert make_dataset(tmp_path, n_patients=2, n_frames=3, size=128) == first
    assert file_hashes(tmp_path) == hashes


def test_changed_settings_and_an_unfinished_run_are_drawn_anew(tmp_path: Path) -> None:
    make_dataset(tmp_path, n_patients=2, n_frames=4, size=128)
    assert make_dataset(tmp_path, n_patients=2, n_frames=3, size=128)["frames"] == 3
    assert len(list((tmp_path / "images").iterdir())) == len(list((tmp_path / "labels").iterdir())) == 3
    stamp = json.loads((tmp_path / STAMP).read_text())
    del stamp["counts"]  # as a killed run leaves it
    (tmp_path / STAMP).write_text(json.dumps(stamp))
    next((tmp_path / "labels").iterdir()).write_text("half a li")
    assert make_dataset(tmp_path, n_patients=2, n_frames=3, size=128)["frames"] == 3
    assert not any("half" in path.read_text() for path in (tmp_path / "labels").iterdir())


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "images" / "mine.jpg"
    mine.parent.mkdir()
    mine.write_bytes(b"precious")
    with pytest.raises(InputError, match="did not make"):
        make_dataset(tmp_path, n_patients=1, n_frames=1, size=128)
    assert file_hashes(tmp_path) == {"images/mine.jpg": hashlib.sha256(b"precious").hexdigest()}


@pytest.mark.parametrize("content", ["{", "[]", '{"other": 1}'])
def test_a_stamp_that_is_not_ours_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / STAMP).write_text(content)
    with pytest.raises(InputError, match=STAMP):
        make_dataset(tmp_path, n_patients=1, n_frames=1, size=128)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_patients": 0, "n_frames": 4}, "--patients 0"),
        ({"n_patients": 5, "n_frames": 4}, "--frames 4"),
        ({"n_patients": 1, "n_frames": 1, "size": 64}, "--size 64"),
        ({"n_patients": 1, "n_frames": 1, "size": 255}, "--size 255"),
        ({"n_patients": 1, "n_frames": 1, "seed": -1}, "--seed -1"),
    ],
)
def test_impossible_numbers_are_refused(tmp_path: Path, settings: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_dataset(tmp_path / "out", **settings)  # pyright: ignore[reportArgumentType]
    assert not (tmp_path / "out").exists()


# --- what the pictures are worth -------------------------------------------------------------------------------------


@pytest.mark.parametrize("defect", DEFECTS)
def test_the_published_thresholds_reject_planted_frames(demo_plans: list[FramePlan], defect: str) -> None:
    bgr = draw_frame(next(plan for plan in demo_plans if plan.defect == defect)).bgr
    n_bytes = len(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])[1])
    reasons = rejection_reasons(score_frame(bgr, n_bytes), FilterSection())
    assert EXPECTED_REASON[defect] in {reason.kind for reason in reasons}


@pytest.fixture(scope="module")
def good_frames(demo_plans: list[FramePlan]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Every tenth frame of the demo set, if good, as drawn, uint8 [1280, 1280, 3], and its boxes [N, 4] in pixels."""
    drawings = [draw_frame(plan) for plan in demo_plans[::10] if plan.defect is None]
    return [(drawing.bgr, np.array(drawing.boxes_xyxy, float).reshape(-1, 4)) for drawing in drawings]


def test_the_published_thresholds_keep_good_frames_by_a_margin(
    good_frames: list[tuple[np.ndarray, np.ndarray]],
) -> None:
    strict = FilterSection(blur_thresh=150, bright_min=45, bright_max=180, glare_max=0.1)
    for bgr, _ in good_frames:
        assert rejection_reasons(score_frame(bgr, n_bytes=400_000), strict) == ()


def test_colour_alone_does_not_find_the_lesions(good_frames: list[tuple[np.ndarray, np.ndarray]]) -> None:
    ap50, setting = best_colour_ap50(good_frames)
    assert ap50 < 0.30, f"the colour detector reaches AP50 {ap50:.2f} with {setting}"


def test_the_colour_detector_finds_what_colour_does_show() -> None:
    """Without this, the test above could pass because the detector is broken."""
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(3):
        bgr = np.clip(rng.normal(110, 4, (640, 640, 3)), 0, 255).astype(np.uint8)
        x, y = rng.integers(60, 500, 2)
        cv2.circle(bgr, (int(x) + 30, int(y) + 30), 30, (40, 40, 220), -1)
        frames.append((bgr, np.array([[x, y, x + 61, y + 61]], float)))
    assert best_colour_ap50(frames)[0] > 0.95


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="file: is a file; name a folder with --out"):
        make_dataset(tmp_path / "file", 1, 1, 128)

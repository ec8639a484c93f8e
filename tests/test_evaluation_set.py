"""Which frames and which settings an evaluation takes, and what it refuses."""

from __future__ import annotations

import csv

import pytest
from evaluation_samples import CONFIG_PATH, small_config, write_prepared_set
from small_raw_set import make_raw_set, run_prepare

from data_utils.config.loading import load_config
from data_utils.errors import InputError
from data_utils.manifest import unit_of
from evaluation.passes.evaluation_set import evaluation_config, open_evaluation_set


def test_a_part_of_a_split_with_its_manifest(tmp_path):
    config = small_config(*write_prepared_set(tmp_path, n_frames=3))
    opened = open_evaluation_set(config, split=1, data="test")
    assert opened.label == "lesions_split1_test"
    assert opened.sizes["frame_0"].width == 384
    batches = list(opened.loader)
    assert [len(batch["img_path"]) for batch in batches] == [2, 1]
    assert batches[0]["hr_image"].shape == (2, 3, 192, 192)
    assert opened.notes == ()


def test_hr_frames_are_read_only_where_a_branch_needs_them(tmp_path):
    overrides = write_prepared_set(tmp_path)
    for extra in ("sr_decoder=none", "run.sr_metric_frames=0"):
        opened = open_evaluation_set(small_config(*overrides, extra), 1, "test")
        assert "hr_image" not in next(iter(opened.loader))


def test_an_external_set_is_every_frame_of_its_manifest_or_a_list(tmp_path):
    write_prepared_set(tmp_path, n_frames=4)
    processed, listed = tmp_path / "processed", tmp_path / "two.txt"
    listed.write_text(f"{processed}/lr/images/frame_1.png\n")
    (processed / "lr" / "images" / "not_in_the_manifest.png").write_bytes(b"")
    config = small_config(f"dataset.external={{clinic: {{processed: {processed}}}, "
                          f"one: {{processed: {processed}, list_file: {listed}}}}}")  # fmt: skip
    everything = open_evaluation_set(config, 1, "clinic")
    assert (everything.label, len(everything.loader.dataset)) == ("clinic", 4)
    assert len(open_evaluation_set(config, 1, "one").loader.dataset) == 1
    (processed / "lr/images/frame_2.png").unlink()
    with pytest.raises(InputError, match=r"1 of the 4 frames in manifest.csv are not there, first frame_2; prepare"):
        open_evaluation_set(config, 1, "clinic")
    (processed / "manifest.csv").unlink()
    with pytest.raises(InputError, match=r"manifest\.csv: missing .*: the external set clinic .*`python -m data_utils"):
        open_evaluation_set(config, 1, "clinic")
    listed.unlink()
    with pytest.raises(InputError, match=r"dataset\.external\.one\.list_file: .*two\.txt is no file"):
        open_evaluation_set(config, 1, "one")


def test_a_set_prepared_without_a_split_is_evaluated_by_name(tmp_path):
    raw = make_raw_set(tmp_path / "raw")
    report = run_prepare(raw, "dataset.name=ext", "dataset.split.n_splits=0", "imgsz_lr=96", "imgsz_hr=192")
    assert report.split_rows == []
    assert "splits" not in report.files
    assert not list(tmp_path.glob("splits/*"))
    assert "no split (dataset.split.n_splits = 0), so an external test set: put ext: {processed: " in report.text()
    opened = open_evaluation_set(small_config(f"dataset.external.ext.processed={tmp_path}/out"), 1, "ext")
    assert (opened.label, len(opened.loader.dataset), len(opened.sizes)) == ("ext", 12, 12)


def test_healthy_frames_held_out_have_lists_of_their_own(tmp_path):
    config = small_config(*write_prepared_set(tmp_path, n_frames=3))
    with pytest.raises(InputError, match=r"test_healthy\.txt: no such list; set dataset\.split\.lesion_only_eval"):
        open_evaluation_set(config, 1, "test_healthy")
    image = tmp_path / "processed/lr/images/frame_2.png"
    (tmp_path / "splits/split1/test_healthy.txt").write_text(f"{image}\n")
    opened = open_evaluation_set(config, 1, "test_healthy")
    assert (opened.label, len(opened.loader.dataset)) == ("lesions_split1_test_healthy", 1)


def test_an_external_set_cannot_be_called_like_a_part(tmp_path):
    config = small_config(*write_prepared_set(tmp_path), "dataset.external.test.processed=elsewhere")
    with pytest.raises(InputError, match=r"dataset\.external\.test: that is the name of a part"):
        open_evaluation_set(config, 1, "test")


def test_the_unit_comes_from_the_evaluated_sets_own_manifest(tmp_path):
    """An external set prepared without patients is resampled by image, whatever the training set's group is."""
    raw = make_raw_set(tmp_path / "raw")
    run_prepare(raw, "dataset.name=ext", "dataset.split.n_splits=0", "imgsz_lr=96", "imgsz_hr=192",
                "dataset.group=image", "dataset.metadata=null")  # fmt: skip
    config = small_config(*write_prepared_set(tmp_path / "own"), f"dataset.external.ext.processed={tmp_path}/out")
    assert config.dataset.group == "patient"
    opened = open_evaluation_set(config, 1, "ext")
    (note,) = opened.notes
    assert "Grouped by image: NOT patient-independent" in note
    assert unit_of(opened.sizes.values()) == "image"
    assert open_evaluation_set(config, 1, "test").notes == ()
    (tmp_path / "out/manifest.csv").write_text(without_columns(tmp_path / "out/manifest.csv", "sequence", "group_kind"))
    assert unit_of(open_evaluation_set(config, 1, "ext").sizes.values()) == "image"  # prepared by an earlier version


def without_columns(path, *names):
    rows = list(csv.DictReader(path.open()))
    kept = [name for name in rows[0] if name not in names]
    return "\n".join([",".join(kept), *(",".join(row[name] for name in kept) for row in rows)]) + "\n"



def test_unknown_sets_and_missing_lists_are_refused(tmp_path):
    config = small_config(*write_prepared_set(tmp_path))
    with pytest.raises(InputError, match=r"--data tset: not among train, val, test, .*did you mean 'test'"):
        open_evaluation_set(config, 1, "tset")
    with pytest.raises(InputError, match="split2"):
        open_evaluation_set(config, 2, "test")


def test_the_checkpoints_settings_hold_except_where_asked(tmp_path):
    trained = small_config("eval.nms_iou=0.6")
    assert evaluation_config(trained, None, [], "w.pt") == trained
    moved = evaluation_config(trained, None, ["dataset.processed=elsewhere", "eval.size_reference=input"], "w.pt")
    assert (moved.dataset.processed, moved.eval.size_reference, moved.eval.nms_iou) == ("elsewhere", "input", 0.6)
    other = tmp_path / "other.yaml"
    other.write_text(f"base: {CONFIG_PATH}\ndataset: {{name: other, nc: 2, names: [lesion, polyp]}}\nlr0: 0.5\n")
    there = evaluation_config(trained, str(other), [], "w.pt")
    assert (there.dataset.name, there.imgsz_lr, there.lr0) == ("other", trained.imgsz_lr, trained.lr0)


def test_other_classes_or_another_architecture_are_refused(tmp_path):
    trained = small_config()
    with pytest.raises(InputError, match=r"w.pt: trained on 2 classes \['lesion', 'polyp'\].* 1 classes \['lesion'\]"):
        evaluation_config(trained, str(CONFIG_PATH), [], "w.pt")
    for override in ("dataset.names=[a, b]", "dataset.names=[polyp, lesion]"):
        with pytest.raises(InputError, match="trained on 2 classes"):
            evaluation_config(trained, None, [override], "w.pt")
    for override in ("model.detector=yolov8s", "sr_layers=[2, 6]", "sr_decoder=none"):
        with pytest.raises(InputError, match="cannot be overridden"):
            evaluation_config(trained, None, [override], "w.pt")
    assert evaluation_config(load_config(CONFIG_PATH), None, ["imgsz_lr=320", "imgsz_hr=640"], "w.pt").imgsz_lr == 320

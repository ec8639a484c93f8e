"""Running over sources, with a detector that always finds one box."""

from __future__ import annotations

import itertools
import json
import re
import signal
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from test_predictor import FakeBackend, raw_of
from test_video import N_FRAMES, make_video, probe

from data_utils.errors import InputError, InterruptedRun
from deployment.inference import InferenceRun, RunOptions, find_sources
from deployment.outputs import DetectionFiles
from models.predictor import Predictor

ONE_BOX = raw_of((32, 32, 32, 32, 0.87))
GREEN = (0, 255, 0)


def predictor(raw: np.ndarray = ONE_BOX) -> Predictor:
    return Predictor(FakeBackend(raw))


def write_picture(path: Path, width: int = 120, height: int = 80) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((height, width, 3), 128, np.uint8))
    return path


def test_an_image_is_annotated_and_its_source_kept(tmp_path: Path):
    source = write_picture(tmp_path / "a.png")
    before = source.read_bytes()
    summary = InferenceRun(predictor(), tmp_path / "out").run(find_sources(str(source)))
    assert summary.outputs == [tmp_path / "out" / "a.png"]
    annotated = cv2.imread(str(summary.outputs[0]))
    assert annotated is not None
    assert annotated.shape == (80, 120, 3)
    assert (annotated[40, 30] == GREEN).all()  # the box of the middle half: x from 30 to 90
    assert (annotated[40, 60] == 128).all()
    assert source.read_bytes() == before
    assert (summary.frames, summary.frames_with_detections) == (1, 1)


def test_a_folder_keeps_its_shape_and_earlier_results_are_kept(tmp_path: Path):
    folder, out = tmp_path / "in", tmp_path / "out"
    for name in ("a.jpg", "a.png", "a.bmp", "sub dir é/a.jpg"):
        write_picture(folder / name)
    for _ in range(2):
        InferenceRun(predictor(), out).run(find_sources(str(folder), out))
    written = {path.relative_to(out).as_posix() for path in out.rglob("*.*")}
    assert len(written) == 8  # three pictures of one stem, and one of it in another folder, twice
    assert {"a.png", "a_2.jpg", "a_3.png", "sub dir é/a.jpg", "sub dir é/a_2.jpg"} < written


def test_all_that_is_written_of_a_picture_has_one_stem_and_its_line_names_it(tmp_path: Path):
    folder, out = tmp_path / "in", tmp_path / "out"
    names = ["x.bmp", "x.jpg", "x.png", "X.tif", "x_2.png", "sub/x.png", "sub/x.jpg"]
    for k, name in enumerate(names):
        write_picture(folder / name, width=120 + k)
    for run in range(2):
        files = DetectionFiles(out, ("lesion",), text=True, json=True)
        InferenceRun(predictor(), out, files=files).run(find_sources(str(folder), out))
        assert files.json_path is not None
        assert files.labels_dir is not None
        lines = [json.loads(line) for line in files.json_path.read_text(encoding="utf-8").splitlines()]
        assert len(lines) == len(names)
        stems = set()
        for line in lines:
            picture, text = map(Path, line["outputs"])
            assert picture.relative_to(out).with_suffix("") == text.relative_to(files.labels_dir).with_suffix("")
            written = cv2.imread(str(picture))
            assert written is not None
            assert written.shape[1] == line["width"]  # of this very source
            stems.add(str(picture.relative_to(out).with_suffix("")).lower())
        assert len(stems) == len(names)
        if not run:
            (own,) = (line for line in lines if line["source"].endswith("x_2.png"))
            assert Path(own["outputs"][0]).name == "x_2.png"  # a name of its own is not taken from it


def test_frames_of_two_videos_of_one_name_and_a_picture_like_one_stay_apart(tmp_path: Path):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name in ("v.mp4", "v.mkv"):
        make_video(folder / name)
    write_picture(folder / "v_000001.png")
    files = DetectionFiles(out, ("lesion",), text=True, json=True)
    InferenceRun(predictor(), out, files=files).run(find_sources(str(folder), out))
    assert files.json_path is not None
    lines = [json.loads(line) for line in files.json_path.read_text().splitlines()]
    texts = [line["outputs"][1] for line in lines]
    assert len(set(texts)) == len(lines) > 3
    for line in lines[1:]:
        copy, text = map(Path, line["outputs"])
        assert text.stem == f"{copy.stem}_{line['frame']:06d}"


def test_results_beside_the_source_never_take_its_name(tmp_path: Path):
    source = write_picture(tmp_path / "a.png")
    before = source.read_bytes()
    summary = InferenceRun(predictor(), tmp_path).run(find_sources(str(source), tmp_path))
    assert summary.outputs == [tmp_path / "a_2.png"]
    assert source.read_bytes() == before


def test_unreadable_files_among_others_are_skipped_and_named(tmp_path: Path):
    write_picture(tmp_path / "good.jpg")
    (tmp_path / "bad.jpg").write_text("not a picture")
    (tmp_path / "bad.mp4").write_text("not a video")
    (tmp_path / "notes.txt").touch()
    cv2.imwrite(str(tmp_path / "grey.png"), np.zeros((40, 40), np.uint8))
    run = InferenceRun(predictor(), tmp_path / "out")
    summary = run.run(find_sources(str(tmp_path)))
    assert summary.frames == 2
    assert [line.split(":")[0].rsplit("/", 1)[-1] for line in summary.skipped] == ["bad.jpg", "bad.mp4"]
    assert summary.counts["grey"] == 1
    assert summary.counts["files that are neither image nor video"] == 1
    text = "\n".join(summary.lines())
    assert "bad.mp4: not a readable video" in text


def test_only_unreadable_files_is_an_error(tmp_path: Path):
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_text("not a picture")
    with pytest.raises(InputError, match=r"a\.jpg.*\(and 1 more\)"):
        InferenceRun(predictor(), tmp_path / "out").run(find_sources(str(tmp_path)))


def test_a_video_becomes_an_annotated_one(tmp_path: Path):
    source = make_video(tmp_path / "a.mp4", size=(128, 96))
    summary = InferenceRun(predictor(), tmp_path / "out").run(find_sources(str(source)))
    assert (summary.frames, summary.frames_with_detections) == (N_FRAMES, N_FRAMES)
    assert summary.mean_fps > 0
    found = probe(tmp_path / "out" / "a.mp4")
    assert (found["codec"], found["pix_fmt"], found["size"]) == ("h264", "yuv420p", (128, 96))
    assert found["times"] == pytest.approx(probe(source)["times"], abs=1e-4)
    with av.open(str(tmp_path / "out" / "a.mp4")) as container:
        picture = next(container.decode(video=0)).to_ndarray(format="bgr24")
    blue, green, red = picture[60, 32].astype(int)  # left edge of the middle half
    assert green > 150
    assert max(blue, red) < 110


def test_no_detection_is_no_fault(tmp_path: Path):
    source = make_video(tmp_path / "a.mp4")
    empty = predictor(np.zeros((5, 0), np.float32))
    summary = InferenceRun(empty, tmp_path / "out").run(find_sources(str(source)))
    assert (summary.frames, summary.frames_with_detections) == (N_FRAMES, 0)


def test_nan_from_the_detector_is_counted(tmp_path: Path):
    source = write_picture(tmp_path / "a.png")
    summary = InferenceRun(predictor(raw_of((np.nan, 1, 1, 1, 0.9))), None).run(find_sources(str(source)))
    assert summary.counts["frames with NaN or infinite detector output"] == 1


def test_without_saving_nothing_is_written(tmp_path: Path):
    source = write_picture(tmp_path / "in" / "a.png")
    summary = InferenceRun(predictor(), None).run(find_sources(str(source)))
    assert summary.frames == 1
    assert [path.name for path in tmp_path.rglob("*")] == ["in", "a.png"]
    assert "--save" in "\n".join(summary.lines())


@pytest.mark.parametrize(("asked", "name"), [("text", "labels"), ("json", "detections.jsonl")])
def test_text_alone_is_what_the_summary_and_an_interruption_name(tmp_path: Path, asked: str, name: str):
    sources = find_sources(str(make_video(tmp_path / "a.mp4")))

    def run_into(folder: str) -> InferenceRun:
        chosen = {"text": False, "json": False} | {asked: True}
        return InferenceRun(predictor(), None, files=DetectionFiles(tmp_path / folder, ("lesion",), **chosen))

    assert run_into("whole").run(sources).outputs == [tmp_path / "whole" / name]
    stopped = run_into("stopped")
    after_frames(stopped, 7, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(InterruptedRun, match=re.escape(f"{tmp_path / 'stopped' / name} is whole up to there")):
        stopped.run(sources)


def after_frames(run: InferenceRun, n_frames: int, action: Callable[[], None]) -> None:
    """Do `action` while the frame number `n_frames` is in the detector."""
    predict, calls = run.predictor.predict, itertools.count(1)

    def counted(bgr: np.ndarray):
        if next(calls) == n_frames:
            action()
        return predict(bgr)

    run.predictor.predict = counted


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_finishes_the_video_at_hand(tmp_path: Path, number: signal.Signals, code: int):
    sources = find_sources(str(make_video(tmp_path / "a.mp4")))
    run = InferenceRun(predictor(), tmp_path / "out")
    after_frames(run, 7, lambda: signal.raise_signal(number))
    with pytest.raises(InterruptedRun) as caught:
        run.run(sources)
    assert caught.value.exit_code == code
    said = re.fullmatch(r"stopped after (\d+) frames; .*a\.mp4 is whole up to there", str(caught.value))
    assert said is not None
    assert 5 <= int(said[1]) <= 9 < N_FRAMES  # reading and detecting run a little ahead of what is finished
    assert len(probe(tmp_path / "out" / "a.mp4")["times"]) == int(said[1])


def test_a_fault_in_the_middle_leaves_a_playable_file(tmp_path: Path):
    def fail() -> None:
        raise RuntimeError("detector died")

    sources = find_sources(str(make_video(tmp_path / "a.mp4")))
    run = InferenceRun(predictor(), tmp_path / "out")
    after_frames(run, 7, fail)
    with pytest.raises(RuntimeError, match="detector died"):
        run.run(sources)
    assert len(probe(tmp_path / "out" / "a.mp4")["times"]) == 6


def test_show_without_a_display_is_one_line(monkeypatch: pytest.MonkeyPatch):
    for variable in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    with pytest.raises(InputError, match="--show: there is no display here"):
        InferenceRun(predictor(), None, RunOptions(show=True))


def test_q_closes_the_window_and_finishes_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DISPLAY", ":0")
    shown: list[tuple[int, ...]] = []
    monkeypatch.setattr(cv2, "imshow", lambda _title, picture: shown.append(picture.shape))
    monkeypatch.setattr(cv2, "waitKey", lambda _ms: ord("q") if len(shown) == 4 else -1)
    monkeypatch.setattr(cv2, "destroyAllWindows", lambda: None)
    sources = find_sources(str(make_video(tmp_path / "a.mp4")))
    summary = InferenceRun(predictor(), tmp_path / "out", RunOptions(show=True)).run(sources)
    assert summary.frames == len(shown) == 4
    assert len(probe(summary.outputs[0])["times"]) == 4


@pytest.mark.parametrize("fps", [0.0, float("nan"), -1.0, 1e6])
def test_an_unusable_fps_is_refused(fps: float):
    with pytest.raises(InputError, match="--fps"):
        RunOptions(fps=fps)


"""Strict loading of configs: every refusal names the key, its value, what is allowed, and the nearest known key."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from data_utils.config.loading import (
    config_from_dict,
    config_hash,
    known_keys,
    load_config,
    override_config,
    read_yaml,
    yaml_text,
)
from data_utils.errors import InputError

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
PAPER = {
    "lr0": 0.05, "lrf": 0.2, "optimizer": "AdamW", "epochs": 100, "patience": 50, "batch_size": 16, "imgsz_lr": 640,
    "imgsz_hr": 1280, "seed": 42, "c1": 0.1, "c2": 7.5, "c3": 1.5, "c4": 0.5, "sr_layers": (4, 8), "sr_decoder": "deep",
    "sr_resblocks": 16, "pretrain": "coco", "conf_thresh": 0.001, "iou_thresh": 0.5,
}  # fmt: skip


@pytest.fixture
def configs(tmp_path, repo_root) -> Path:
    """A copy of the three default files, to be changed."""
    for name in ("train.yaml", "model.yaml", "dataset.yaml"):
        shutil.copy(repo_root / "configs" / name, tmp_path / name)
    return tmp_path


def refusal(path: Path, *overrides: str) -> str:
    """Return the one line with which loading is refused."""
    with pytest.raises(InputError) as caught:
        load_config(path, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_train_yaml_holds_the_published_values(configs):
    config = load_config(configs / "train.yaml")
    assert {key: getattr(config, key) for key in PAPER} == PAPER
    assert (config.model.detector, config.model.fusion_stride) == ("yolov8n", 2)
    assert (config.dataset.nc, config.dataset.names) == (1, ("lesion",))
    assert config.has_branch


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_config_in_the_repository_can_be_read(path):
    values = read_yaml(path)
    assert values
    if "lr0" in values or "base" in values or "names" in values:  # model.yaml and the like are parts, not runs
        load_config(path)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("lrr0=0.1", "unknown key 'lrr0', did you mean 'lr0'?"),
        ("flip=0.3", "unknown key 'flip', did you mean 'augment.flip'?"),
        ("model.flip=0.3", "unknown key 'model.flip', did you mean 'augment.flip'?"),
        ("dataset.filter.blur_tresh=3", "blur_tresh', did you mean 'dataset.filter.blur_thresh'?"),
        ("optim.lr0=1", "unknown key 'optim.lr0', did you mean 'lr0'?"),
        ("optm.weight_decay=0", "unknown key 'optm', did you mean 'optim'?"),
        ("qqq=1", "unknown key 'qqq'; known: lr0, lrf, optimizer"),
        ("optimizer=adam", "optimizer = 'adam': allowed: 'AdamW' or 'SGD'"),
        ("sr_decoder=deap", "sr_decoder = 'deap': allowed: 'deep', 'light' or 'none'"),
        ("model.fusion_stride=3", "model.fusion_stride = 3: allowed: 2, 4 or 8"),
        ("lr0=fast", "lr0 = 'fast': allowed: a valid number"),
        ("lr0=", "lr0 = None: allowed: a valid number"),
        ("lr0=0", "lr0 = 0: allowed: greater than 0"),
        ("c1=-1", "c1 = -1: allowed: greater than or equal to 0"),
        ("augment.flip=1.5", "augment.flip = 1.5: allowed: less than or equal to 1"),
        ("epochs=2.5", "epochs = 2.5: allowed: a valid integer"),
        ("epochs='5'", "epochs = '5': allowed: a valid integer"),
        ("epochs=true", "epochs = True: allowed: a valid integer"),
        ("augment.flip=true", "augment.flip = True: allowed: a valid number"),
        ("run.channels_last=1", "run.channels_last = 1: allowed: true or false"),
        ("run.channels_last=yes", "run.channels_last = 'yes': allowed: true or false"),
        ("sr_layers=4", "sr_layers = 4: allowed: a list, [a, b]"),
        ("sr_layers=[4, 'x']", "sr_layers.1 = 'x': allowed: a valid integer"),
        ("sr_layers=[8, 4]", "sr_layers = [8, 4]: the shallower layer comes first"),
        ("dataset=other.yaml", "dataset = 'other.yaml': allowed: 'key: value' lines"),
        ("imgsz_lr=650", "imgsz_lr = 650: must be a multiple of 32"),
        ("imgsz_hr=640", "imgsz_hr = 640: must be 2 * imgsz_lr = 1280"),
        ("lrf=2", "lrf = 2.0: the last learning rate is lr0 * lrf"),
        ("dataset.names=[a, b]", "dataset.nc = 1 but dataset.names lists 2: ['a', 'b']"),
        ("dataset.labelmap.values={3: polyp}", "dataset.labelmap.values names ['polyp'], not among dataset.names"),
        ("dataset.filter.bright_min=250", "dataset.filter.bright_min = 250.0 and bright_max = 240.0 leave no frame"),
        ("dataset.group_pattern='(?P<patient'", "not a regular expression"),
        ("dataset.group_pattern='p[0-9]+'", "must hold a named group (?P<patient>...)"),
        ("dataset.name=a/b", "dataset.name = 'a/b': allowed: text that matches"),
        ("run.name='..'", "run.name = '..': allowed: text that matches"),
        ("lr0", "'lr0': an override is written key=value"),
        ("=3", "'=3': an override is written key=value"),
        ("lr0.x=3", "'lr0' is a value, not a section"),
        ("lr0=[1", "override lr0:1: not valid YAML"),
    ],
)
def test_an_override_is_refused_in_one_clear_line(configs, override, message):
    assert message in refusal(configs / "train.yaml", override)


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf"])
@pytest.mark.parametrize("key", ["lr0", "c1", "conf_thresh", "augment.scale", "optim.weight_decay"])
def test_values_that_are_no_number_are_refused(configs, key, value):
    assert refusal(configs / "train.yaml", f"{key}={value}").startswith(f"'{key}={value}': {key} = ")


def test_what_is_at_fault_is_named_the_override_or_the_file(configs):
    file = configs / "mine.yaml"
    file.write_text("base: train.yaml\nepochs: 0\n")
    message = refusal(file, "lr0=0", "lr0=-1", "model={brunch: 3}", "nowhere.key=2")
    assert f"{file}: epochs = 0: allowed" in message
    assert "'lr0=-1': lr0 = -1: allowed" in message
    assert "'model={brunch: 3}': unknown key 'model.brunch'" in message
    assert "'nowhere.key=2': unknown key 'nowhere'" in message


def test_two_mistakes_are_told_together(configs):
    message = refusal(configs / "train.yaml", "epochs=0", "optimizer=adam")
    assert "epochs = 0" in message
    assert "optimizer = 'adam'" in message


def test_a_missing_key_is_named(configs):
    text = (configs / "train.yaml").read_text().replace("lr0: 0.05", "")
    (configs / "train.yaml").write_text(text)
    assert "key 'lr0' is missing" in refusal(configs / "train.yaml")


def test_the_first_config_of_ones_own_is_told_of_the_base(tmp_path, repo_root):
    file = tmp_path / "mine.yaml"
    file.write_text("dataset: {raw: data/mine, nc: 1, names: [polyp]}\n")
    message = refusal(file)
    base = re.search(r"`base: (.*recommended.yaml)`", message)
    assert "keys 'lr0', 'lrf', 'optimizer' and" in message
    assert base
    file.write_text(f"base: {base[1]}\n{file.read_text()}")
    assert load_config(file).dataset.names == ("polyp",)


def test_each_data_set_has_a_filter_log_of_its_own(configs):
    load = lambda *overrides: load_config(configs / "train.yaml", overrides).dataset.filter_log  # noqa: E731
    assert load() == "results/filter_log.csv"
    assert load("dataset.name=colon") == "results/colon_filter_log.csv"
    assert load("dataset.name=colon", "dataset.filter_log=a.csv") == "a.csv"


@pytest.mark.parametrize("key", ["zebra", "dataset.zebra", "model.colour", "dataset.filter.xyz"])
def test_did_you_mean_is_silent_where_nothing_is_near(configs, key):
    assert "did you mean" not in refusal(configs / "train.yaml", f"{key}=1")
    assert "did you mean" not in refusal(configs / "zebra.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 0.001), ("1E-3", 0.001), ("1.e-3", 0.001), (".5e0", 0.5), ("2e+0", 2.0), ("0.002", 0.002), ("1", 1.0)],
)
def test_numbers_as_people_write_them(configs, text, value):
    path = configs / "train.yaml"
    assert load_config(path, [f"lr0={text}"]).lr0 == value
    path.write_text(path.read_text().replace("lr0: 0.05", f"lr0: {text}"))
    assert load_config(path).lr0 == value


def test_text_that_only_resembles_a_number_or_a_truth_value_stays_text(configs):
    overrides = ["run.name=e3", "dataset.raw=1e3x", "run.wandb=off", "dataset.names=[7]"]
    config = load_config(configs / "train.yaml", overrides)
    assert (config.run.name, config.dataset.raw) == ("e3", "1e3x")
    assert (config.run.wandb, config.dataset.names) == ("off", ("7",))


@pytest.mark.parametrize("word", ["010", "1:30", "1e3", "yes", "null", "2024-01-01", "Off"])
def test_a_class_name_that_yaml_takes_for_something_else_is_refused(configs, word):
    hint = f"YAML takes {word} for something else; put it in quotes: '{word}'"
    for override in (
        f"dataset.names=[{word}]", f"dataset.labelmap.values={{2: {word}}}", f"dataset.labelmap.values.2={word}",
        f"dataset={{names: [{word}]}}",
    ):  # fmt: skip
        assert hint in refusal(configs / "train.yaml", override)
    assert load_config(configs / "train.yaml", [f"dataset.names=['{word}']"]).dataset.names == (word,)
    file = configs / "dataset.yaml"
    file.write_text(f"nc: 1\nnames:\n  - {word}\n")
    assert f"{file}:3: class names must be words" in refusal(configs / "train.yaml")


def test_class_names_come_back_from_a_written_config(configs):
    words = ("1e3", "010", "yes", "1:30", "null", "7", "2024-01-01", "a b")
    config = load_config(configs / "train.yaml", [f"dataset.names={list(words)}", f"dataset.nc={len(words)}"])
    (configs / "run.yaml").write_text(yaml_text(config.model_dump(mode="json")))
    assert load_config(configs / "run.yaml") == config


@pytest.mark.parametrize(("text", "value"), [("true", True), ("False", False), ("TRUE", True)])
def test_truth_values(configs, text, value):
    assert load_config(configs / "train.yaml", [f"run.tensorboard={text}"]).run.tensorboard is value


def test_overrides_reach_sections_and_the_last_one_wins(configs):
    overrides = ["model.fusion_stride=4", "lr0=1", "lr0=0.5", "dataset.filter={min_side: 9}"]
    config = load_config(configs / "train.yaml", overrides)
    assert (config.model.fusion_stride, config.lr0, config.dataset.filter.min_side) == (4, 0.5, 9)
    assert config.dataset.filter.blur_thresh == 100  # a mapping is laid over, it does not replace


def test_null_overrides(configs):
    config = load_config(configs / "train.yaml", ["pretrain=null", "dataset.filter.blur_thresh=null"])
    assert (config.pretrain, config.dataset.filter.blur_thresh) == (None, None)


def test_label_map_values_take_whole_numbers_as_keys(configs):
    for override in ("dataset.labelmap.values={2: lesion}", "dataset.labelmap.values.2=lesion"):
        assert load_config(configs / "train.yaml", [override]).dataset.labelmap.values == {2: "lesion"}


def test_base_chain_nearest_file_wins(configs):
    (configs / "middle.yaml").write_text("base: train.yaml\nepochs: 7\nc1: 0.2\nmodel: {fusion_stride: 8}\n")
    sub = configs / "sub"
    sub.mkdir()
    (sub / "top.yaml").write_text("base: ../middle.yaml\nepochs: 3\nmodel: {branch_width: 32}\n")
    config = load_config(sub / "top.yaml")
    assert (config.epochs, config.c1, config.lr0) == (3, 0.2, 0.05)
    assert (config.model.fusion_stride, config.model.branch_width, config.model.detector) == (8, 32, "yolov8n")


def test_sibling_files_are_found_from_any_working_folder(configs, monkeypatch, tmp_path_factory):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert load_config(configs / "train.yaml").dataset.names == ("lesion",)
    monkeypatch.chdir(configs)
    assert load_config("train.yaml").dataset.names == ("lesion",)


def test_a_dataset_file_alone_takes_the_rest_from_train_yaml(configs):
    (configs / "cells.yaml").write_text("nc: 2\nnames: [red, white]\n")
    config = load_config(configs / "cells.yaml")
    assert (config.dataset.names, config.epochs) == (("red", "white"), 100)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.yaml": "base: a.yaml\n"}, "'base' leads back"),
        ({"a.yaml": "base: b.yaml\n", "b.yaml": "base: a.yaml\n"}, "'base' leads back"),
        ({"a.yaml": "base: [b.yaml]\n"}, "base must be the name of a config file"),
        ({"a.yaml": "base: trian.yaml\n"}, "no such config file; did you mean"),
        ({"a.yaml": "base: train.yaml\nmodel: modell.yaml\n"}, "modell.yaml: no such config file; did you mean"),
        ({"a.yaml": "base: train.yaml\ndataset: 5\n"}, "dataset = 5: allowed: 'key: value' lines"),
        ({"a.yaml": "- 1\n- 2\n"}, "a.yaml:1: expected 'key: value' lines, found a list"),
        ({"a.yaml": ""}, "keys 'lr0', 'lrf', 'optimizer' and 18 more are missing"),
        ({"a.yaml": "lr0: 1\nepochs: 2\nlr0: 3\n"}, "a.yaml:3: key 'lr0' stands twice"),
        ({"a.yaml": "base: train.yaml\nmodel: {detector: a, detector: b}\n"}, "a.yaml:2: key 'detector' stands twice"),
        ({"a.yaml": "lr0: [1\nepochs: 2\n"}, "a.yaml:2: not valid YAML"),
        ({"a.yaml": "lr0: 1\n\tepochs: 2\n"}, "a.yaml:2: not valid YAML"),
        ({"a.yaml": "a: 1\n---\nb: 2\n"}, "a.yaml:2: not valid YAML"),
        ({"a.yaml": "[1, 2]: 3\n"}, "a.yaml:1: keys must be plain words"),
        ({"a.yaml": "base: train.yaml\n? {a: 1}\n: 3\n"}, "a.yaml:2: keys must be plain words"),
        ({"a.yaml": "lr0: !!python/object/apply:os.getcwd []\n"}, "a.yaml:1: not valid YAML: could not determine"),
        ({"a.yaml": "lr0: !!timestamp soon\n"}, "a.yaml: not valid YAML"),
        ({"a.yaml": "lr0: !!bool perhaps\n"}, "a.yaml: not valid YAML"),
        ({"a.yaml": "lr0: !!int ''\n"}, "a.yaml: not valid YAML"),
        ({"a.yaml": "seed: " + "9" * 5000 + "\n"}, "a.yaml: not valid YAML"),
        ({"a.yaml": "lr0: \0\n"}, "a.yaml: not valid YAML"),
        ({"a.yaml": "lr0: " + "[" * 20_000 + "\n"}, "a.yaml: not valid YAML: nested too deeply"),
        ({"a.yaml": "<<: {lr0: 1}\n"}, "a.yaml:1: not valid YAML"),
    ],
)
def test_a_broken_file_is_refused_in_one_clear_line(configs, files, message):
    for name, text in files.items():
        (configs / name).write_text(text)
    assert message in refusal(configs / "a.yaml")


def test_unreadable_paths(tmp_path):
    assert "no such config file" in refusal(tmp_path / "none.yaml")
    assert "no such config file" in refusal(tmp_path / "no" / "folder.yaml")
    assert "not a readable UTF-8 text file" in refusal(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"names: [\xe9]\n")
    assert "not a readable UTF-8 text file" in refusal(tmp_path / "latin.yaml")


def test_byte_order_mark_and_windows_line_ends_are_harmless(configs):
    path = configs / "train.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert load_config(path).lr0 == 0.05


def test_an_alias_bomb_is_refused_before_it_grows(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]  # 9**12 elements
    (tmp_path / "bomb.yaml").write_text("\n".join(lines))
    assert "bomb.yaml:2: YAML aliases (*name) are not accepted" in refusal(tmp_path / "bomb.yaml")


def test_a_refusal_ends_a_command_with_code_2_and_one_line(configs, repo_root):
    code = (
        "import sys; from data_utils.config.loading import load_config; from data_utils.errors import run_command; "
        "run_command(lambda: load_config(sys.argv[1], sys.argv[2:]) and 0)"
    )
    command = [sys.executable, "-c", code, str(configs / "train.yaml")]
    refused = subprocess.run([*command, "epohcs=3"], cwd=repo_root, capture_output=True, text=True, timeout=20)
    assert refused.returncode == 2
    assert refused.stderr == "error: 'epohcs=3': unknown key 'epohcs', did you mean 'epochs'?\n"
    assert subprocess.run([*command, "epochs=3"], cwd=repo_root, capture_output=True, timeout=20).returncode == 0


def test_a_config_survives_a_checkpoint(configs):
    overrides = ["dataset.labelmap.values={2: lesion}", "dataset.external.ext.processed=data/ext", "run.name=a"]
    config = load_config(configs / "train.yaml", overrides)
    stored = json.loads(json.dumps(config.model_dump(mode="json")))
    assert config_from_dict(stored, "checkpoint") == config
    assert config_from_dict(config.model_dump(), "checkpoint") == config
    with pytest.raises(InputError, match=r"best\.pt: unknown key 'c9'"):
        config_from_dict({**stored, "c9": 1}, "best.pt")


def test_overrides_on_a_loaded_config(configs):
    config = load_config(configs / "train.yaml")
    changed = override_config(config, ["epochs=3", "eval.nms_iou=0.5"])
    assert (changed.epochs, changed.eval.nms_iou, config.epochs) == (3, 0.5, 100)
    with pytest.raises(InputError, match="epochs = 0"):
        override_config(config, ["epochs=0"])


@pytest.mark.parametrize(("epochs", "closed"), [(1, 0), (2, 0), (9, 3), (27, 9), (30, 10), (100, 10)])
def test_mosaic_closes_for_the_smaller_of_ten_and_a_third_of_the_epochs(configs, epochs, closed):
    config = load_config(configs / "train.yaml", [f"epochs={epochs}"])
    assert config.augment.close_mosaic == closed
    assert override_config(load_config(configs / "train.yaml"), [f"epochs={epochs}"]) == config
    assert config.model_dump()["augment"]["close_mosaic"] == closed  # a run's folder says it, whatever the default is


def test_a_stated_number_of_epochs_without_mosaic_stays(configs):
    (configs / "own.yaml").write_text("base: train.yaml\nepochs: 8\naugment: {close_mosaic: 10}\n")
    stated = load_config(configs / "own.yaml")
    assert stated.augment.close_mosaic == 10
    assert load_config(configs / "train.yaml", ["augment.close_mosaic=10", "epochs=8"]) == stated
    assert override_config(stated, ["epochs=6"]).augment.close_mosaic == 10
    # A run folder of an earlier version holds the number it was trained with, and goes on with it.
    (configs / "run.yaml").write_text(yaml.safe_dump(stated.model_dump(mode="json")))
    assert load_config(configs / "run.yaml") == stated
    assert load_config(configs / "run.yaml", ["epochs=60"]).augment.close_mosaic == 10
    assert config_from_dict(stated.model_dump(mode="json"), "last.pt") == stated


def test_the_hash_changes_with_a_setting_and_only_then(configs):
    base = config_hash(load_config(configs / "train.yaml"))
    assert len(base) == 12
    assert config_hash(load_config(configs / "train.yaml", ["lr0=5e-2"])) == base
    assert config_hash(load_config(configs / "train.yaml", ["lr0=5.1e-2"])) != base
    assert config_hash({"a": 1, "b": 2}) == config_hash({"b": 2, "a": 1})


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [((), True), (("c1=0",), False), (("sr_decoder=none",), False), (("sr_decoder=light",), True)],
)
def test_when_a_branch_is_built(configs, overrides, expected):
    assert load_config(configs / "train.yaml", overrides).has_branch is expected


def test_paths_of_a_data_set(configs):
    dataset = load_config(configs / "train.yaml", ["dataset.processed=p", "dataset.splits=s"]).dataset
    assert dataset.lr_images == Path("p/lr/images")
    assert dataset.hr_images == Path("p/hr/images")
    assert dataset.manifest == Path("p/manifest.csv")
    assert dataset.split_list(2, "val") == Path("s/split2/val.txt")


def test_known_keys_reach_into_every_section():
    assert {"lr0", "model", "model.detector", "dataset.filter.blur_thresh", "dataset.split.ratios"} <= set(known_keys())


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_never_a_crash(text):
    for override in (text, f"lr0={text}", f"dataset.names={text}"):
        try:
            config = load_config(CONFIGS / "train.yaml", [override])
        except InputError:
            continue
        assert config.lr0 > 0


@pytest.mark.parametrize("text", ["/data/set #2", "2024", "a: b", "[^/]+", "@x", "1e3", "C:\\data"])
def test_paths_stand_for_themselves(configs, text):
    assert load_config(configs / "train.yaml", [f"dataset.raw={text}"]).dataset.raw == text


def test_quotes_and_null_keep_their_meaning_for_text(configs):
    config = load_config(configs / "train.yaml", ["dataset.raw='a b'", "dataset.metadata=null", "pretrain=~"])
    assert (config.dataset.raw, config.dataset.metadata, config.pretrain) == ("a b", None, None)
    assert "dataset.raw = None: allowed: text" in refusal(configs / "train.yaml", "dataset.raw=")


def test_a_dataset_file_without_a_train_yaml_beside_it(tmp_path):
    (tmp_path / "mine.yaml").write_text("nc: 1\nnames: [lesion]\n")
    assert "takes the rest from a train.yaml beside it" in refusal(tmp_path / "mine.yaml")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["pretrain=coco+hyperkvasr"], "'hyperkvasr' is neither a .pt file nor .* did you mean 'hyperkvasir'"),
        (["stages.branch=coco", "stages.sets={coco: null}"], "stages.sets.coco"),
        (["stages.branch=imagenet"], "stages.branch = imagenet: 'imagenet' is neither a .pt file"),
        (["sr_decoder=none", "stages.branch=b.pt"], "stages.branch = b.pt: there is no branch"),
        (["c1=0", "stages.train=branch"], "stages.train = branch: there is no branch"),
        (["stages.train=branch", "optim.freeze=3"], "stages.train = branch freezes the whole detector"),
        (["optim.unfreeze_epoch=3"], "optim.unfreeze_epoch = 3: nothing is frozen"),
        (["optim.lr_branch=0"], "optim.lr_branch = 0"),
        (["stages.train=detector"], "stages.train = 'detector'.*'branch\\+backbone'"),
    ],
)
def test_stages_that_cannot_be_meant_are_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_config("configs/train.yaml", overrides)


def test_every_data_set_that_a_chain_may_name_has_its_config() -> None:
    sets = load_config("configs/train.yaml").stages.sets
    configs = {name: load_config(own.config, own.overrides) for name, own in sets.items()}
    assert set(configs) == {"coco", "hyperkvasir", "hyperkvasir_unlabelled"}
    assert [configs[name].detects for name in ("coco", "hyperkvasir", "hyperkvasir_unlabelled")] == [False, True, False]
    assert [configs[name].dataset.labelled for name in configs] == [False, True, False]

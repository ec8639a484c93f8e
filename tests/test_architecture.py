"""The design's rules hold: who may import whom, what importing may do, how long things may get."""

from __future__ import annotations

import graphlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import source_rules as rules
from source_rules import MODULES, NAMES, ROOT, Module, imports

# Modules that may import PyTorch when they are imported; all others work, or at least answer, without it.
TORCH_ROOMS = {"models", "training"}
TORCH_FREE = {"models.predictor"}  # in those rooms: runs where only an ONNX runtime is installed
TORCH_MODULES = {
    "data_utils.dataset",
    "data_utils.loader",
    "data_utils.speckle",
    "deployment.benchmark.measure",
    "deployment.benchmarking.side_by_side",
    "deployment.export",
    "deployment.exporting.checks",
    "deployment.exporting.files",
    "deployment.exporting.int8",
    "evaluation.child_process",
    "evaluation.cost",
    "evaluation.evaluation_run",
    "evaluation.image_quality",
    "evaluation.metrics",
    "evaluation.passes.predict",
    "evaluation.robustness.passes",
    "training.tasks.denoise",
}
# Imports inside a function that close a circle, each with its reason.
LAZY_CIRCLES = {
    ("models.backbone", "models.checkpoint"): "BackboneWithHooks(weights) reads what builds models",
}
HEAVY = {"torch", "numpy", "cv2", "pandas", "pydantic", "matplotlib", "scipy", "ultralytics"}
HELP_SECONDS = 0.3  # of processor time, so that a busy machine does not matter
COMMANDS = [module for module in MODULES if 'if __name__ == "__main__":' in module.source]

PLANTED = {
    "imports_only_leftwards": [
        "import training.trainer",
        "from evaluation import coco",
        "from ..training import optim",
        "def f():\n    from deployment.video import x",
        "import importlib\nimportlib.import_module('train')",
    ],
    "runs_no_data_as_code": [
        "eval(text)",
        "pickle.load(file)",
        "torch.load(path)",
        "torch.load(path, weights_only=False, pickle_module=mine)",
        "numpy.load(path, allow_pickle=True)",
        "subprocess.run(command, shell=True)",
        "yaml.load(text)",
    ],
    "hides_no_failure": [
        "try:\n    f()\nexcept:\n    g()",
        "try:\n    f()\nexcept Exception:\n    pass",
        "with contextlib.suppress(OSError, Exception):\n    f()",
    ],
    "is_short": ["x = 1\n" * (rules.MAX_FILE_LINES + 1), "def f():\n" + "    x = 1\n" * rules.MAX_FUNCTION_LINES],
    "says_what_it_is_for": ["x = 1", '"""Doc."""\ndef f(): ...', '"""Doc."""\nclass A: ...'],
    "uses_the_door_to_ultralytics": [
        "import ultralytics",
        "def f():\n    from ultralytics.nn import tasks",
        "def f(name):\n    return import_module(f'ultralytics.{name}')",
    ],
    "only_defines_when_imported": [
        "print('hello')",
        "for x in y:\n    z",
        "import cv2\ncv2.setNumThreads(0)",
        "if x:\n    y = 1",
        "torch.save = mine",
    ],
    "asks_the_machine_in_one_place": [
        "def f():\n    return torch.cuda.is_available()",
        "def f():\n    return torch.cpu._is_amx_tile_supported()",
        "def f():\n    return os.cpu_count()",
    ],
}


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__)
def test_rule(rule):
    violations = [violation for module in MODULES for violation in rule(module)]
    assert not violations, "\n" + "\n".join(violations)


@pytest.mark.parametrize(("name", "source"), [(name, text) for name, texts in PLANTED.items() for text in texts])
def test_a_planted_violation_is_found(name, source):
    assert list(getattr(rules, name)(Module("models.planted", "models/planted.py", source)))


def test_deployment_needs_no_trainer():
    planted = Module("deployment.planted", "deployment/planted.py", "from training.trainer import Trainer")
    assert list(rules.imports_only_leftwards(planted))


def test_every_rule_has_a_planted_violation_and_every_exception_is_needed():
    assert set(PLANTED) == {rule.__name__ for rule in rules.RULES}
    assert {entry.partition(":")[0] for entry in rules.LONGER} <= {module.path for module in MODULES}
    excepted = TORCH_MODULES | TORCH_FREE | {name for pair in LAZY_CIRCLES for name in pair}
    assert sorted(excepted - NAMES) == [], "exceptions for modules that are gone"
    assert sorted(TORCH_MODULES - needs_torch()) == [], "exceptions that are no longer needed"


def test_modules_do_not_import_each_other_in_a_circle():
    graph = {
        module.name: {name for _, name in imports(module) if name in NAMES and (module.name, name) not in LAZY_CIRCLES}
        - {module.name}
        for module in MODULES
    }
    try:
        list(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        pytest.fail(f"import circle: {' <- '.join(error.args[1])}")


def run_python(code: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run `code` in a fresh interpreter that finds our packages and writes no bytecode."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)


def needs_torch() -> set[str]:
    """Names of our modules that import PyTorch, themselves or through others, when they are imported."""
    found = {module.name: {name for _, name in imports(module, when_imported=True)} for module in MODULES}
    needing = {name for name, names in found.items() if {"torch", "torchvision"} & {n.split(".")[0] for n in names}}
    while more := {name for name, names in found.items() if name not in needing and names & needing}:
        needing |= more
    return needing


def test_only_the_listed_modules_import_torch():
    in_rooms = {module.name for module in MODULES if module.room in TORCH_ROOMS} - TORCH_FREE
    assert sorted(needs_torch() - in_rooms - TORCH_MODULES) == []


def test_the_other_modules_do_not_import_torch_by_any_way(tmp_path):
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    assert 'torch' not in sys.modules, name + ' imports torch'"
    )
    result = run_python(code, *sorted(NAMES - needs_torch()), cwd=tmp_path)
    assert result.returncode == 0, result.stderr


def test_importing_everything_does_nothing(tmp_path):
    wanted = {name for module in MODULES for _, name in imports(module, when_imported=True)} - NAMES
    third_party = sorted(name for name in wanted if name.split(".")[0] not in sys.stdlib_module_names)
    watcher = Path(__file__).with_name("import_watcher.py").read_text(encoding="utf-8")
    result = run_python(watcher, json.dumps(third_party), json.dumps(sorted(NAMES)), cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == []
    assert list(tmp_path.iterdir()) == []


def test_the_import_watcher_sees_planted_deeds(tmp_path):
    deeds = {
        "changed: environment": "os.environ['YOLO_OFFLINE'] = '1'",
        "changed: random": "random.seed(0)",
        "changed: numpy.random": "numpy.random.seed(0)",
        "changed: torch seed": "torch.manual_seed(0)",
        "changed: patches": "torch.save = print",
        "changed: threads": "cv2.setNumThreads(3)",
        "changed: signals": "signal.signal(signal.SIGTERM, print)",
        "open log.txt w": "open('log.txt', 'w').close()",
        "os.mkdir": "os.makedirs('runs')",
        "subprocess.Popen": "subprocess.run(['true'])",
    }
    libraries = "import cv2, numpy, os, random, signal, subprocess, torch"
    (tmp_path / "planted.py").write_text("\n".join([libraries, *deeds.values()]), encoding="utf-8")
    watcher = Path(__file__).with_name("import_watcher.py").read_text(encoding="utf-8")
    result = run_python(f"import sys; sys.path.insert(0, '')\n{watcher}", "[]", '["planted"]', cwd=tmp_path)
    seen = json.loads(result.stdout)
    assert [deed for deed in deeds if not any(line.startswith(deed) for line in seen)] == []


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.path)
def test_help_answers_at_once(command, tmp_path):
    code = (
        "import contextlib, io, json, runpy, sys, time\n"
        "sys.argv = [sys.argv[1], '--help']; text = io.StringIO(); code = None\n"
        "with contextlib.redirect_stdout(text):\n"
        "    try: runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)\n"
        "    except SystemExit as stop: code = stop.code\n"
        "print(json.dumps([code, text.getvalue(), time.process_time(), sorted(sys.modules)]))"
    )
    seconds = []
    for _ in range(3):
        result = run_python(code, command.name, cwd=tmp_path)
        exit_code, text, spent, loaded = json.loads(result.stdout)
        seconds.append(spent)
        assert exit_code in (0, None), result.stderr
        assert "usage:" in text
        assert "example: python " in text
        assert HEAVY & set(loaded) == set()
    assert min(seconds) < HELP_SECONDS

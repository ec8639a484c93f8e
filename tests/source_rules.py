"""The design's rules on source text: each is a function from a parsed module to its violations, one line each.

test_architecture.py applies them to the project, and to planted violations.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("data_utils", "models", "evaluation", "training", "deployment")  # a room imports only rooms to its left
MAX_FILE_LINES, MAX_FUNCTION_LINES = 600, 50  # a file is one idea, whole
# "room/file.py" or "room/file.py:function" -> the reason a reader would accept for its length.
LONGER: dict[str, str] = {}
VAGUE_NAMES = {"utils", "util", "misc", "common", "helpers", "helper", "tools", "stuff"}
# The one door to ultralytics; every other module asks it.
ULTRALYTICS_DOOR = "models.backbone"
# Reads other people's weights with an unpickler of its own that calls nothing; its test plants an attack.
SAFE_UNPICKLER = "models.pretrained"
RUNS_DATA = {
    "eval", "exec", "compile", "__import__", "os.system", "pickle.load", "pickle.loads", "pickle.Unpickler",
    "marshal.loads", "joblib.load", "shelve.open", "yaml.load", "yaml.unsafe_load", "yaml.full_load",
}  # fmt: skip

# What a machine can do is asked here; tests replace the answers. The loader pins memory by it, which moves no result;
# verify_env.py must answer where packages are missing.
ASKS_THE_MACHINE = {"models.hardware", "data_utils.processes", "data_utils.loader", "verify_env"}
MACHINE_QUESTIONS = (
    "is_available", "device_count", "is_bf16_supported", "get_device_capability", "get_cpu_capability", "cpu_count",
    "sched_getaffinity",
)  # fmt: skip

FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef
DEFINITIONS = FUNCTIONS | ast.ClassDef | ast.Import | ast.ImportFrom | ast.Assign | ast.AnnAssign


@dataclass(frozen=True)
class Module:
    """One source file: dotted name, path below the root, and its text."""

    name: str
    path: str
    source: str

    @property
    def tree(self) -> ast.Module:
        """The parsed text."""
        return ast.parse(self.source)

    @property
    def room(self) -> str:
        """The room's name, or "" for a script."""
        top = self.name.split(".")[0]
        return top if top in ROOMS else ""

    @property
    def is_package(self) -> bool:
        """Whether this is a folder's __init__.py."""
        return self.path.endswith("__init__.py")


def read_modules() -> list[Module]:
    """Read the five rooms and the scripts beside them."""
    modules = []
    for path in [p for room in ROOMS for p in sorted((ROOT / room).rglob("*.py"))] + sorted(ROOT.glob("*.py")):
        relative = path.relative_to(ROOT)
        name = ".".join(relative.with_suffix("").parts).removesuffix(".__init__")
        modules.append(Module(name, relative.as_posix(), path.read_text(encoding="utf-8")))
    return modules


MODULES = read_modules()
NAMES = {module.name for module in MODULES}
SCRIPTS = {module.name for module in MODULES if not module.room}


def imports(module: Module, *, when_imported: bool = False) -> Iterator[tuple[int, str]]:
    """Yield (line, dotted name) of what `module` imports, by statement or by `import_module("name")`.

    With `when_imported`, only what importing the module imports: nothing inside functions or for type checkers.
    """
    skipped = FUNCTIONS | ast.Lambda if when_imported else ()

    def visit(node: ast.AST) -> Iterator[tuple[int, str]]:
        if isinstance(node, skipped) or (when_imported and _is_type_checking(node)):
            return
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute_base(module, node)
            yield from ((node.lineno, f"{base}.{a.name}" if f"{base}.{a.name}" in NAMES else base) for a in node.names)
        elif isinstance(node, ast.Call) and _called(node).endswith("import_module"):
            yield from ((node.lineno, str(a.value)) for a in node.args[:1] if isinstance(a, ast.Constant))
        for child in ast.iter_child_nodes(node):
            yield from visit(child)

    yield from visit(module.tree)


def imports_only_leftwards(module: Module) -> Iterator[str]:
    """A room imports itself and the rooms to its left, deployment no trainer; nothing imports a script or the tests."""
    allowed = set(ROOMS[: ROOMS.index(module.room) + 1]) if module.room else set(ROOMS)
    allowed -= {"training"} if module.room == "deployment" else set()
    for line, name in imports(module):
        top = name.split(".")[0]
        if (top in ROOMS and top not in allowed) or top in SCRIPTS | {"tests"}:
            yield f"{module.path}:{line}: {module.room or 'a script'} must not import {name}"


def runs_no_data_as_code(module: Module) -> Iterator[str]:
    """No eval, exec, shell or pickle on what was read."""
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Call):
            continue
        called = _called(node)
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        own_unpickler = module.name == SAFE_UNPICKLER and "pickle_module" in given
        unsafe = (
            called in RUNS_DATA
            or (called == "torch.load" and given.get("weights_only") != "True" and not own_unpickler)
            or given.get("allow_pickle", "False") != "False"
            or given.get("shell", "False") != "False"
        )
        if unsafe:
            yield f"{module.path}:{node.lineno}: {called} may run what it reads"


def hides_no_failure(module: Module) -> Iterator[str]:
    """No bare except, and nothing that drops every kind of failure in silence."""
    broad = {"Exception", "BaseException"}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ExceptHandler):
            caught = ast.unparse(node.type) if node.type else ""
            silent = all(isinstance(step, ast.Pass | ast.Continue) for step in node.body)
            if not caught or (silent and caught in broad):
                yield f"{module.path}:{node.lineno}: 'except {caught}' hides failures"
        elif isinstance(node, ast.Call) and _called(node).endswith("suppress"):
            yield from (f"{module.path}:{node.lineno}: suppress({ast.unparse(argument)}) hides failures"
                        for argument in node.args if ast.unparse(argument) in broad)  # fmt: skip


def is_short(module: Module) -> Iterator[str]:
    """Files and functions that can be read in one go; LONGER holds the exceptions with their reasons."""
    lines = module.source.count("\n")
    if lines > MAX_FILE_LINES and module.path not in LONGER:
        yield f"{module.path}: {lines} lines, at most {MAX_FILE_LINES}"
    for node in ast.walk(module.tree):
        if isinstance(node, FUNCTIONS):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION_LINES and f"{module.path}:{node.name}" not in LONGER:
                yield f"{module.path}:{node.lineno}: {node.name} has {length} lines, at most {MAX_FUNCTION_LINES}"


def says_what_it_is_for(module: Module) -> Iterator[str]:
    """A telling file name, and a docstring on the module and on each public function and class."""
    if module.name.rpartition(".")[2] in VAGUE_NAMES:
        yield f"{module.path}: a name that says nothing"
    if not ast.get_docstring(module.tree):
        yield f"{module.path}: no docstring"
    for node in module.tree.body:
        if isinstance(node, FUNCTIONS | ast.ClassDef) and not node.name.startswith("_") and not ast.get_docstring(node):
            yield f"{module.path}:{node.lineno}: {node.name} has no docstring"


def uses_the_door_to_ultralytics(module: Module) -> Iterator[str]:
    """Only the door imports ultralytics, and only when it is called."""
    at_import = set(imports(module, when_imported=True))
    calls = [node for node in ast.walk(module.tree) if isinstance(node, ast.Call)]
    for node in calls:  # a name built as it goes: import_module(f"ultralytics.{name}")
        built = _called(node).endswith("import_module") and "ultralytics" in ast.unparse(node)
        if built and module.name != ULTRALYTICS_DOOR:
            yield f"{module.path}:{node.lineno}: ultralytics is imported only by {ULTRALYTICS_DOOR}"
    for line, name in imports(module):
        if name.split(".")[0] == "ultralytics" and (module.name != ULTRALYTICS_DOOR or (line, name) in at_import):
            yield f"{module.path}:{line}: ultralytics is imported only inside functions of {ULTRALYTICS_DOOR}"


def only_defines_when_imported(module: Module) -> Iterator[str]:
    """At module level stand definitions, imports, constants, docstrings and the main guard."""
    for node in module.tree.body:
        guard = isinstance(node, ast.If) and ("__name__" in ast.unparse(node.test) or _is_type_checking(node))
        text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        # A call on a private class, such as `_StrictLoader.add_implicit_resolver(...)`, completes its definition.
        completes = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and _called(node.value)[0] == "_"
        # `torch.save = mine` is an assignment too, but changes somebody else's module.
        patches = isinstance(node, ast.Assign) and any(isinstance(target, ast.Attribute) for target in node.targets)
        if patches or not (isinstance(node, DEFINITIONS) or guard or text or completes):
            yield f"{module.path}:{node.lineno}: runs when the module is imported: {ast.unparse(node)[:60]}"


def asks_the_machine_in_one_place(module: Module) -> Iterator[str]:
    """What the machine can do is asked where tests can replace the answer."""
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Attribute) or module.name in ASKS_THE_MACHINE:
            continue
        if node.attr in MACHINE_QUESTIONS or (node.attr.startswith("_is_") and "torch.cpu" in ast.unparse(node)):
            yield f"{module.path}:{node.lineno}: {ast.unparse(node)} is asked in models.hardware alone"


def _absolute_base(module: Module, node: ast.ImportFrom) -> str:
    """Return the absolute name after `from`, dots resolved."""
    if not node.level:
        return node.module or ""
    package = module.name if module.is_package else module.name.rpartition(".")[0]
    kept = package.split(".")[: package.count(".") + 2 - node.level]
    return ".".join([*kept, *([node.module] if node.module else [])])


def _called(call: ast.Call) -> str:
    return ast.unparse(call.func)


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


RULES = (
    imports_only_leftwards, runs_no_data_as_code, hides_no_failure, is_short, says_what_it_is_for,
    uses_the_door_to_ultralytics, only_defines_when_imported, asks_the_machine_in_one_place,
)  # fmt: skip

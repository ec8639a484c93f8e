"""README and docs name what is there: links, commands, paths, results, settings, and the diffs of docs/extending.md."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from data_utils.settings_page import PAGE, settings_page

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md")),
         *(ROOT / folder / "README.md" for folder in ("data", "weights", "results")),
         *sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.md"))]  # fmt: skip
ROOMS = ("configs", "data_utils", "deployment", "docs", "evaluation", "models", "tests", "training")
HISTORY = "CHANGELOG.md"  # names what was and is no more
DIFF = re.compile(r"^```diff\n(.*?)^```", re.MULTILINE | re.DOTALL)


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    """Return a page's text without its diffs, which name files that are yet to be written."""
    return DIFF.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """Return the names under which GitHub finds a page's headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def there(path: str) -> bool:
    """Whether a path of the repository exists; `*` and `{a,b}` as a shell reads them."""
    alternatives = re.search(r"\{([^}]*)\}", path)
    if alternatives:
        start, end = alternatives.span()
        return all(there(path[:start] + each + path[end:]) for each in alternatives[1].split(","))
    return any(ROOT.glob(path)) if "*" in path else (ROOT / path).exists()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith(("https://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        aim = (page.parent / path).resolve() if path else page
        assert aim.exists(), f"{name_of(page)}: {target}"
        assert not anchor or anchor in anchors(aim), f"{name_of(page)}: {target}: no such heading"


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != HISTORY], ids=name_of)
def test_every_command_is_one(page: Path) -> None:
    text = prose(page)
    modules = set(re.findall(r"python -m\s+([a-z_]+(?:\.[a-z_0-9]+)+)", text))
    modules |= set(re.findall(r"`((?:data_utils|evaluation|training|deployment)\.[a-z_]+)[` ]", text))
    for module in modules:
        place = ROOT / module.replace(".", "/")
        found = place.with_suffix(".py").is_file() or (place / "__main__.py").is_file() or setting(module)
        assert found, f"{name_of(page)}: python -m {module}"
    for script in re.findall(r"\b(?:python|torchrun[^`\n]*?) ([a-z_]+\.py)\b", text):
        assert (ROOT / script).is_file(), f"{name_of(page)}: {script}"


def setting(word: str) -> bool:
    return f"`{word}`" in (ROOT / PAGE).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != HISTORY], ids=name_of)
def test_every_path_of_the_repository_exists(page: Path) -> None:
    starts = "|".join((*ROOMS, "results/studies"))
    named = re.findall(rf"(?<![\w/.<])((?:{starts})/[\w./*{{}},-]*)", prose(page))
    for path in (path.rstrip(".,") for path in named):
        assert there(path) or path == "configs/first.yaml", f"{name_of(page)}: {path}"


def test_every_results_file_named_is_kept() -> None:
    studies = ROOT / "results" / "studies"
    for name in re.findall(r"`([\w*]+\.(?:csv|json|txt|png|md))`", prose(ROOT / "docs" / "studies.md")):
        assert any(studies.rglob(name)), name


def test_readme_is_one_page() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
    assert max(map(len, lines)) <= 120


def test_settings_page_is_that_of_the_sections() -> None:
    page = settings_page(ROOT)
    assert (ROOT / PAGE).read_text(encoding="utf-8") == page, "run: python -m data_utils.settings_page"
    without = [line for line in page.splitlines() if line.startswith("| `") and line.endswith("|  |")]
    assert not without, "no comment says what they mean"


def hunks() -> list[tuple[str, str]]:
    """Return (file, what a hunk expects to find there) of docs/extending.md; "" for a file that is new."""
    found = []
    for diff in DIFF.findall((ROOT / "docs" / "extending.md").read_text(encoding="utf-8")):
        for change in re.split(r"^--- ", diff, flags=re.MULTILINE)[1:]:
            head, *parts = re.split(r"^@@\n", change, flags=re.MULTILINE)
            old, new = head.splitlines()
            for part in parts:
                lines = [line[1:] for line in part.splitlines() if not line.startswith("+")]
                found.append((new.removeprefix("+++ b/"), "" if old == "/dev/null" else "\n".join(lines).strip("\n")))
    return found


@pytest.mark.parametrize(("file", "expected"), hunks(), ids=[file for file, _ in hunks()])
def test_the_worked_changes_still_apply(file: str, expected: str) -> None:
    if expected:
        assert expected in (ROOT / file).read_text(encoding="utf-8")
    else:
        assert not (ROOT / file).exists()
        assert (ROOT / file).parent.is_dir()


def test_settings_command_says_what_it_does() -> None:
    command = [sys.executable, "-m", "data_utils.settings_page", "--help"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "example:" in told.stdout

"""What README and docs tell people to type exists: files, flags, keys, make targets, links."""

import contextlib
import io
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from miniatures import ROOT

from slowfast_gta.commands import COMMANDS, run_command
from slowfast_gta.config.arguments import split_tokens
from slowfast_gta.config.defaults import get_defaults

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def each_page():
    return pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


def commands_of(page: Path) -> list[str]:
    """The lines of the page's fenced blocks that a shell would run; continued lines joined, comments gone."""
    fences = re.findall(r"^ *```(\w*)\n(.*?)^ *```", page.read_text(), re.M | re.S)
    blocks = [text for language, text in fences if language in ("", "sh", "bash", "shell", "console")]
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.split("  #")[0].removeprefix("$ ").strip() for line in lines]


def flags_of(name: str, rest: list[str]) -> set[str]:
    """All flags of a command; of its sub-command, where `rest` begins with one."""
    out = io.StringIO()
    words = [rest[0]] if name == "prepare_data" and rest[:1] != ["--help"] else []
    with contextlib.redirect_stdout(out), pytest.raises(SystemExit):
        run_command(name, [*words, "--help"])
    return set(re.findall(r"--\w[\w-]*", out.getvalue()))


def is_key(word: str) -> bool:
    if word.startswith("ATTENTION.OPTIONS."):  # the block's own
        return True
    node = get_defaults()
    for part in word.split("."):
        if part not in node:
            return False
        node = node[part]
    return True


@each_page()
def test_commands_exist_with_their_flags_keys_and_files(page):
    for line in commands_of(page):
        words = shlex.split(line.split("&&")[-1].split("|")[0])
        if words[:1] == ["python"] and words[1:2] and words[1].startswith("tools/"):
            assert (ROOT / words[1]).is_file(), line
            name, rest = Path(words[1]).stem, words[2:]
        elif words[:3] == ["python", "-m", "slowfast_gta"] or words[:1] == ["slowfast-gta"]:
            name, *rest = words[3:] if words[0] == "python" else words[1:]
            assert name in COMMANDS, line
        else:
            continue
        allowed = flags_of(name, rest) | {"--help"}
        if name == "submit" and rest[0] in COMMANDS:  # whose own arguments follow
            allowed |= flags_of(rest[0], [])
        assert {word for word in rest if word.startswith("--")} <= allowed, line
        for word in rest:
            if word.startswith("configs/"):
                assert (ROOT / word).is_file(), line
            if re.fullmatch(r"[A-Z][A-Z_0-9]*(\.[A-Z_0-9]+)+", word):
                assert is_key(word), f"{word} in: {line}"


@each_page()
def test_make_targets_exist(page):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = [line.split()[1] for line in commands_of(page) if line.startswith("make ")]
    named += re.findall(r"`make ([a-z-]+)", page.read_text())
    assert set(named) <= targets, page


@each_page()
def test_relative_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not target.startswith(("http://", "https://", "#", "mailto:")):
            path, _, anchor = target.partition("#")
            assert (page.parent / path).exists(), f"{page.name} links to {target}"
            if anchor and path.endswith(".md"):
                text = (page.parent / path).read_text()
                headings = re.findall(r"^#+ (.*)$", text, re.M)
                slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
                assert anchor in slugs, f"{page.name} links to {target}"


@each_page()
def test_keys_in_the_text_are_keys(page):
    sections = {name for name, value in get_defaults().items() if hasattr(value, "items")}
    for line in page.read_text().splitlines():
        for word in re.findall(r"`([A-Z]+(?:\.[A-Z_0-9]+)+)", line):
            if word.partition(".")[0] in sections and "PySlowFast" not in line and page.name != "CHANGELOG.md":
                assert is_key(word), f"{page.name}: {word}"


def test_the_commands_in_the_config_files_parse():
    for path in (ROOT / "configs").rglob("*.yaml"):
        for line in re.findall(r"^# +python tools/run_net.py --cfg (.*)$", path.read_text(), re.M):
            files, overrides = split_tokens(shlex.split(line))
            assert len(files) == 1 and all(is_key(key) for key in overrides[::2]), line


def test_the_site_is_built_without_a_warning_and_has_every_key(tmp_path):
    """What `make docs` does. docs/keys.md is written by it, and committed: it must be that of today's defaults."""
    pytest.importorskip("sphinx", reason="the site needs the extra docs")
    source = tmp_path / "docs"
    shutil.copytree(ROOT / "docs", source, ignore=shutil.ignore_patterns("_build"))
    for page in ROOT.glob("*.md"):
        shutil.copy(page, tmp_path)
    for name in ("configs", "projects", "slowfast_gta"):
        (tmp_path / name).symlink_to(ROOT / name)
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", source, tmp_path / "site"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (source / "keys.md").read_text() == (ROOT / "docs/keys.md").read_text(), "docs/keys.md is old: make docs"
    page = (tmp_path / "site" / "keys.html").read_text()
    assert [key for key in flat_keys(get_defaults()) if f">{key}<" not in page] == []
    assert (tmp_path / "site" / "index.html").exists()


def flat_keys(node, prefix: str = "") -> list[str]:
    """Every key by its full name; an empty section is a key of its own."""
    keys = []
    for name, value in node.items():
        keys += flat_keys(value, f"{prefix}{name}.") if isinstance(value, dict) and value else [prefix + name]
    return keys

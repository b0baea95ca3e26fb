"""The pages of docs/ as a site: `make docs` builds it with Sphinx, MyST and Furo; a warning is an error."""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

project = "slowfast_gta"
author = "the founders of slowfast_gta"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "slowfast_gta"
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 4
autodoc_typehints = "description"
autodoc_member_order = "bysource"

KEYS_PAGE = "keys.md"


def write_keys_page(app: Sphinx) -> None:
    """docs/keys.md: an entry for each config key, from the declarations of config/defaults.py."""
    from slowfast_gta.config.defaults import CHOICES

    lines = [
        "# All config keys",
        "",
        "Each key with its default and its meaning, from `slowfast_gta/config/defaults.py`.",
        "",
    ]
    section = None
    for key, default, meaning in declarations((ROOT / "slowfast_gta/config/defaults.py").read_text(encoding="utf-8")):
        begins = key.rpartition(".")[0] or "The run"
        if begins != section:
            section = begins
            lines += [f"## {section}", ""]
        choices = ", ".join(f"`{choice!r}`" for choice in CHOICES.get(key, ()))
        lines += [
            f"`{key}`",
            f": {meaning.replace('<', '&lt;')}",
            "",
            f"  Default: `{default}`." + (f" One of {choices}." if choices else ""),
            "",
        ]
    text = "\n".join(lines)
    page = Path(app.srcdir) / KEYS_PAGE
    if not page.exists() or page.read_text(encoding="utf-8") != text:
        page.write_text(text, encoding="utf-8")


def declarations(source: str) -> Iterator[tuple[str, str, str]]:
    """(key, default, meaning) of each `_C.KEY = default  # meaning`, in the order of the file."""
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    for node in ast.parse(source).body:
        if not isinstance(node, ast.Assign) or not ast.unparse(node.targets[0]).startswith("_C."):
            continue
        default = ast.unparse(node.value)
        if not default.startswith("CfgNode(") or "new_allowed" in default:
            lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
            meaning = " ".join(comments[line] for line in lines if line in comments)
            shown = "an empty section" if default.startswith("CfgNode(") else default
            yield ast.unparse(node.targets[0]).removeprefix("_C."), shown, meaning


def set_docstring(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """What docstrings say in plain text, in reStructuredText: `name: what it is` with hanging lines is a parameter,
    what follows a colon and is indented is code."""
    out: list[str] = []
    for index, line in enumerate(lines):
        previous = out[-1] if out else ""
        parameter = re.match(r"(\w+): (?=\S)", line) if what in ("function", "method", "class") else None
        if parameter:
            if previous and not previous.startswith((":param", " ")):
                out.append("")
            line = f":param {parameter[1]}: {line[parameter.end() :]}"
        elif previous.startswith((":param", "  ")) and line[:1].strip() and any(o.startswith(":param") for o in out):
            out.append("")
        elif line.endswith(":") and index + 2 < len(lines) and lines[index + 2].startswith("    "):
            line += ":"
        out.append(line)
    lines[:] = out


def link_projects(app: Sphinx, path: Path, page: str, content: list[str]) -> None:
    """A project's README.md is a page of the site."""
    content[0] = re.sub(r"\(projects/(\w+)/README\.md\)", r"(docs/\1.md)", content[0])


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("include-read", link_projects)
    app.connect("autodoc-process-docstring", set_docstring)
    app.connect("builder-inited", write_keys_page)

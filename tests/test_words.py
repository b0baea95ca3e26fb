"""The words of the field: phrases and identifiers that earlier versions had of their own do not come back."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("slowfast_gta", "tools", "projects", "tests", "docs", "configs")
TEXTS = [
    path
    for folder in FOLDERS
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in (".py", ".md", ".yaml") and path != Path(__file__)
]
TEXTS += sorted(ROOT.glob("*.md"))

PHRASES = {  # what stood there: what stands there now
    "Going on after": "Resuming from",
    "do not fill another and are left out": "Dropping the incomplete last batch",
    "ended without a word": "exited without reporting an error",
    "fell silent": "stopped responding during rendezvous",
    "kept it waiting for longer": "Timed out (DIST_WAIT_SEC) in a collective",
    "Be one of the processes": "Join the default process group",
    "knows no locks": "File locking is not supported",
    "which come again": "those steps will be re-run",
    "taken back": "truncated",
    "weights are none": "only dense, real-valued tensors can be loaded",
    "leads nowhere": "broken symbolic link",
    "mirror image belies": "whose meaning a horizontal flip reverses",
    "said aloud": "logged as a warning",
    "ignored aloud": "ignored with a warning",
    "is gone on with": "is resumed",
    "length of the gradient": "gradient norm",
    "loss that is not a number": "non-finite (NaN or Inf)",
    "gradient is not a number": "non-finite (NaN or Inf)",
    "for want of memory": "gradient accumulation steps",
    "the learning of BatchNorms": "Freeze BatchNorm layers",
    "What a network said of": "Per-video scores",
    "beside the plain way": "against a reference implementation",
    "for the two pathways to meet": "so that the lateral connection aligns the pathways",
    "no shape shows it": "shapes cannot reveal it",
    "Never mirrored, since": "direction-sensitive classes are never flipped",
    "a near one": "the nearest decoded frame",
    "Everything of this run is in": "Run outputs:",
    "command goes on": "resumes",
    "goes on from": "resumes from",
}


@pytest.mark.parametrize("phrase", PHRASES)
def test_a_former_phrase_is_gone(phrase):
    """Wherever lines break, and behind comment signs and quotes."""
    words = re.compile(r"[\s\"'#f]+".join(map(re.escape, phrase.split())), re.IGNORECASE)
    found = [str(path.relative_to(ROOT)) for path in TEXTS if words.search(path.read_text(encoding="utf-8"))]
    assert not found, f"say {PHRASES[phrase]!r}"


# --------------------------------------------------------------------------------------------------- identifiers

GONE = ["Meeting", "MeetingError", "_knock", "_stranger", "Terms", "Answers", "side_by_side", "num_right", "pack_"]
GONE += ["TrainOrder", "TestOrder", "Watch", "shielded", "Look", "headline", "hands_mask", "keeps_time_order_blind"]
GONE_IN = {  # elsewhere these words are something else
    "slowfast_gta/distributed": ["Place", "place", "meet", "meeting", "offer", "came", "door", "about", "terms"],
    "slowfast_gta/distributed/collectives.py": ["total", "mean"],
    "slowfast_gta/models/layout.py": ["Place"],
    "slowfast_gta/models/layers.py": ["fold", "unfold"],
    "slowfast_gta/engine/outputs.py": ["pairs", "joined"],
    "slowfast_gta/engine/evaluation/results.py": ["sentence"],
}


def identifiers(path: Path) -> set[str]:
    """What a file defines, assigns, imports or takes as an argument, and the attributes that it names."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        for field in ("name", "id", "attr", "arg", "asname"):
            if isinstance(value := getattr(node, field, None), str):
                found |= {*value.split(".")}
    return found


def test_the_names_of_before_are_gone():
    found = {}
    for path in (path for path in TEXTS if path.suffix == ".py"):
        place = str(path.relative_to(ROOT))
        scoped = [name for where, names in GONE_IN.items() if place.startswith(where) for name in names]
        if there := identifiers(path) & {*GONE, *scoped}:
            found[place] = sorted(there)
    assert not found

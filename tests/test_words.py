"""The words of the field: phrases and identifiers that earlier versions had of their own do not come back."""

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("slowfast_gta", "tools", "projects", "tests", "docs", "configs", ".github", ".ci")
SUFFIXES = ("", ".py", ".md", ".yaml", ".yml", ".toml", ".cff", ".sh", ".sbatch", ".j2", ".js", ".css")
TEXTS = [
    path
    for path in [*ROOT.iterdir(), *(path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*")))]
    if path.suffix in SUFFIXES and path.is_file() and path != Path(__file__) and "_build" not in path.parts
]

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


VARIANTS = {  # other forms of them, as regular expressions
    r"gradients?( s)? lengths?": "gradient norm",
    r"for want of": "for lack of",
    r"(what )?(a|the|one|each|last) networks? (say|says|said) of": "outputs, predictions",
    r"stop(s|ped|ping)? the learning": "freeze",
    r"the plain way": "the reference implementation",
    r"(processes|machines|ranks|shards)( would| are to)? me(e)?t": "rendezvous",
    r"(fall|falls|falling) silent": "stops responding",
    r"knows? no (locks|names)": "is not supported, cannot be resolved",
    r"(lead|led) nowhere": "broken",
    r"takes? back|took back": "truncate",
    r"nobody listens": "connection refused",
    r"own words are above": "its output is above",
    r"tells more": "for details",
    r"there is not one": "contains no",
    r"begin of": "start of",
    r"mostly: out of memory": "usually out of memory",
}

GAP = r"(?:[\s\"'`#*>_]|\bf(?=[\"']))+"  # wherever lines break, behind comment signs and quotes, and in names of tests


@functools.cache
def words_of(path: Path) -> str:
    """The text in lower case, with one space for each gap."""
    return re.sub(GAP, " ", path.read_text(encoding="utf-8", errors="replace").lower())


@pytest.mark.parametrize("phrase", PHRASES)
def test_a_former_phrase_is_gone(phrase):
    found = [str(path.relative_to(ROOT)) for path in TEXTS if phrase.lower() in words_of(path)]
    assert not found, f"say {PHRASES[phrase]!r}"


@pytest.mark.parametrize("pattern", VARIANTS)
def test_another_form_of_a_former_phrase_is_gone(pattern):
    words = re.compile(rf"\b{pattern}\b")
    found = [str(path.relative_to(ROOT)) for path in TEXTS if words.search(words_of(path))]
    assert not found, f"say {VARIANTS[pattern]!r}"


# ------------------------------------------------------------------------------------------------------ messages

MESSAGES = {  # in texts of the program, not in docstrings
    r", as (\[|\d|s\d)": "for example",
    r"\b(is|are|was|were) there already\b": "already exists",
    r"\b(an?|the) .* is no (folder|file|list|config|checkpoint)\b": "is not a",
    r"\b(Mend|anew|mostly|torn)\b": "repair, again, usually, truncated",
}
COUNT = re.compile(r"\b(len\(.*\)|\w*num_\w+('\])?|count)$")
SEVERAL = re.compile(
    r" (?:[a-z-]+ )?(videos|frames|clips|views|classes|files|steps|runs|samples|tensors|windows|epochs)\b"
)
NEVER_ONE = {"{len(configs)} files", "{num_frames} frames", "{len(paths)} runs", "{num_videos} video files"}


def code_of_the_program() -> list[Path]:
    return [path for path in TEXTS if path.suffix == ".py" and not {"tests", "docs"} & set(path.parts)]


@functools.cache
def texts_of(path: Path) -> list[tuple[int, str]]:
    """(line, text) of the strings of a file that are no docstrings, an f-string's values as {expression}."""
    tree, found = ast.parse(path.read_text(encoding="utf-8", errors="replace")), []
    docstrings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    inner = {value for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for value in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [v.value if isinstance(v, ast.Constant) else f"{{{ast.unparse(v.value)}}}" for v in node.values]  # type: ignore[attr-defined]
            found.append((node.lineno, "".join(parts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docstrings | inner:
            found.append((node.lineno, node.value))
    return found


@pytest.mark.parametrize("pattern", MESSAGES)
def test_messages_are_plain_english(pattern):
    words = re.compile(pattern)
    found = [
        f"{path.name}:{line}" for path in code_of_the_program() for line, text in texts_of(path) if words.search(text)
    ]
    assert not found, f"say {MESSAGES[pattern]!r}"


def test_counts_agree_with_their_nouns():
    """{len(videos)} videos would be 1 videos: errors.counted writes them."""
    found = []
    for path in code_of_the_program():
        for line, text in texts_of(path):
            for match in re.finditer(r"\{([^{}]+)\}", text):
                noun = SEVERAL.match(text[match.end() :])
                if noun and COUNT.search(match[1]) and match[0] + noun[0] not in NEVER_ONE:
                    found.append(f"{path.name}:{line}: {match[0]}{noun[0]}")
    assert not found


# --------------------------------------------------------------------------------------------------- identifiers

GONE = ["Meeting", "MeetingError", "_knock", "_stranger", "Terms", "Answers", "side_by_side", "num_right", "pack_"]
GONE += ["place", "places", "told", "said", "doctor", "attention_places"]
GONE += ["TrainOrder", "TestOrder", "Watch", "shielded", "Look", "headline", "hands_mask", "keeps_time_order_blind"]
GONE_IN = {  # elsewhere these words are something else
    "slowfast_gta": ["sentence", "sentences"],  # of a text they are right, as in A2Summ
    "tests": ["sentence", "sentences"],
    "slowfast_gta/distributed": ["Place", "meet", "meeting", "offer", "came", "door", "about", "terms"],
    "slowfast_gta/distributed/collectives.py": ["total", "mean"],
    "slowfast_gta/models/layout.py": ["Place"],
    "slowfast_gta/models/layers.py": ["fold", "unfold"],
    "slowfast_gta/models/shift.py": ["fold"],
    "slowfast_gta/engine/outputs.py": ["pairs", "joined"],
}


def identifiers(path: Path) -> set[str]:
    """What a file defines, assigns, imports or takes as an argument, and the attributes that it names."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8", errors="replace"))):
        for field in ("name", "id", "attr", "arg", "asname", "module"):
            if isinstance(value := getattr(node, field, None), str):
                found |= {*value.split(".")}
        if isinstance(node, ast.Global | ast.Nonlocal):
            found |= set(node.names)
    return found


def test_the_names_of_before_are_gone():
    found = {}
    for path in (path for path in TEXTS if path.suffix == ".py"):
        place = str(path.relative_to(ROOT))
        scoped = [name for where, names in GONE_IN.items() if place.startswith(where) for name in names]
        if there := identifiers(path) & {*GONE, *scoped}:
            found[place] = sorted(there)
    assert not found

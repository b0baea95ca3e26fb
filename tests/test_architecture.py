"""The rules of the house, kept by reading every file's syntax tree. README and CONTRIBUTING say why they are there."""

import ast
import dataclasses
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from miniatures import ROOT

from slowfast_gta.config.defaults import get_defaults
from slowfast_gta.datasets.synthetic.dataset import Settings
from slowfast_gta.engine.task import Task

PACKAGE = ROOT / "slowfast_gta"
FILES = sorted(PACKAGE.rglob("*.py"))
TOOLS = sorted((ROOT / "tools").glob("*.py"))
PROJECTS = {path.name for path in (ROOT / "projects").glob("*/")}
TESTS = sorted(path for folder in (ROOT / "tests", ROOT / "projects") for path in folder.rglob("test_*.py"))
# Tests of the whole, which mirror no module.
OWN_ROOMS = {"e2e", "parity", "slurm"}
OF_THE_WHOLE = {"architecture", "configs", "docs", "words"}
BANNED_NAMES = {"utils", "util", "misc", "helper", "helpers", "common", "manager"}

MOST_FILES, MOST_LINES = 15, 400  # of a room, commands/ excepted; of a module
# What everything may import.
GROUND = {"errors", "registry", "files", "class_names", "pickles", "plain_arrays", "plain_yaml"}
ABOVE_ENGINE = ("reports", "inference", "experiments", "benchmarks")
# Who may import whom: a room -> the rooms (or modules) of the package it may import. A room may import itself.
ALLOWED = {
    "errors": set(),
    "registry": {"errors"},
    "files": {"errors"},
    "class_names": {"errors"},
    "pickles": {"errors", "plain_arrays"},
    "plain_arrays": {"errors"},
    "plain_yaml": set(),
    "processes": GROUND,
    "distributed": GROUND,
    "models": GROUND,
    "video": GROUND,
    "datasets": {*GROUND, "processes"},
    "loading": {*GROUND, "datasets", "video", "distributed", "processes"},
    "config": {*GROUND, "datasets", "models"},  # to check names and blocks before anything is built
    "preparation": {*GROUND, "datasets", "video", "config", "processes"},
    "data_check": {*GROUND, "datasets", "video", "config", "processes"},
    "engine": {*GROUND, "loading", "models", "datasets", "config", "distributed"},
}
ALLOWED |= {room: {*ALLOWED["engine"], "engine", "video", "processes"} for room in ABOVE_ENGINE}
ALLOWED["benchmarks"] = {*ALLOWED["benchmarks"], "inference"}  # networks as they are given away
ALLOWED["experiments"] = {*ALLOWED["experiments"], "benchmarks"}  # what the networks compared cost
ALLOWED["run"] = {*ALLOWED["engine"], "engine", "reports", "benchmarks", "processes"}
ALLOWED["commands"] = {*ALLOWED, "run"} - {"commands"}
# These ask the package for its version and its files.
VERSIONED = (PACKAGE / "engine" / "checkpoint" / "code_version.py", PACKAGE / "commands" / "__init__.py")
MOVES_TO_DEVICES = ("engine", "distributed", "inference", "benchmarks")
# What may read the config besides build_*, check_*, *_from_cfg and a Task's own methods.
CFG_READERS = {
    *("train", "test", "train_and_test"),  # what a run consists of, and its steps in the order of the config
    *("train_epoch", "validate", "update_precise_statistics", "restore_position"),
    *(
        "load_weights_for",
        "load_test_weights",
        "add_picture",
        "estimate_step_bytes",
        "load_report",
        "load_published_weights",
    ),  # which file, and what the config permits of it
    *("set_deterministic", "set_tf32"),  # of the whole process
}


def module_of(path: Path) -> str:
    """slowfast_gta/engine/training/train.py -> engine.train"""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(tree: ast.Module) -> Iterator[str]:
    """Every module that is imported, wherever in the file; `from a import b` is a.b too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(tree: ast.Module) -> set[str]:
    """The modules of this package that are imported, without its name; "" is the package, and its public names."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {module_named(alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {module_named(f"{node.module}.{alias.name}") for alias in node.names}
    return found - {None}


def module_named(name: str) -> str | None:
    """The module of this package in which `name` is: slowfast_gta.engine.device.Normalize -> engine.device."""
    package, *parts = name.split(".")
    if package != PACKAGE.name:
        return None
    while parts and not is_module(parts):
        parts.pop()
    return ".".join(parts)


def is_module(parts: list[str]) -> bool:
    path = PACKAGE.joinpath(*parts)
    return path.is_dir() or path.with_suffix(".py").exists()


def circles(graph: dict[str, set[str]]) -> set[tuple[str, ...]]:
    """The largest groups of nodes of which each can be reached from each other one, in order of their names."""
    reached = {node: set(following) for node, following in graph.items()}
    for between in reached:
        for node in reached:
            if between in reached[node]:
                reached[node] |= reached[between]
    return {
        tuple(sorted(other for other in reached[node] if node in reached[other]))
        for node in reached
        if node in reached[node]
    }


def each(paths: list[Path]):
    return pytest.mark.parametrize("path", paths, ids=lambda path: str(path.relative_to(ROOT)))


# ------------------------------------------------------------------------------------------- who may import whom


@each([path for path in FILES if path.parent != PACKAGE or path.stem not in ("__init__", "__main__")])
def test_a_room_imports_only_the_rooms_it_may(path):
    """Nothing but the command line imports the public names: they are made of what is below."""
    room = module_of(path).split(".")[0]
    assert room in ALLOWED, f"{room} is a new room or module: say in ALLOWED what it may import"
    imported = {name.split(".")[0] for name in own_imports(tree_of(path))} - {room}
    if path in VERSIONED:
        imported -= {""}
    assert imported <= ALLOWED[room], f"{path} imports {sorted(imported - ALLOWED[room])}"


def test_what_may_be_imported_is_below():
    assert not circles({room: set(rooms) & set(ALLOWED) for room, rooms in ALLOWED.items()})


def test_no_module_imports_itself_by_way_of_others():
    """Imports inside functions count; the package itself, which imports its public names when asked, does not."""
    graph = {module_of(path): own_imports(tree_of(path)) - {module_of(path), ""} for path in FILES}
    del graph[""]
    found = circles({module: {name for name in names if name in graph} for module, names in graph.items()})
    assert not found, sorted(found)


def test_circles_are_found():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": {"d"}, "f": {"a", "f"}, "g": {"f"}}
    assert circles(graph) == {("a", "b", "c"), ("d", "e"), ("f",)}
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == set()


def test_imports_are_found_wherever_they_are():
    text = "def f():\n    from slowfast_gta.video import readers, no_module\n\nimport slowfast_gta.engine.device\n"
    assert own_imports(ast.parse(text)) == {"video.readers", "video", "engine.device"}
    assert own_imports(ast.parse("from slowfast_gta import load_config, distributed\nimport torch")) == {
        "",
        "distributed",
    }


@each([*FILES, *TOOLS])
def test_the_package_knows_no_project(path):
    imported = {name.split(".")[0] for name in imports(tree_of(path))}
    assert not imported & {"projects", *PROJECTS}


@each([path for path in (PACKAGE / "models" / "attention").glob("*.py") if path.stem not in ("__init__", "build")])
def test_a_block_imports_torch_and_its_own_room(path):
    imported = set(imports(tree_of(path)))
    outside = {name.split(".")[0] for name in imported} - {"slowfast_gta", "torch", "math", "collections", "typing"}
    assert not outside, outside
    ours = {name for name in imported if name.startswith("slowfast_gta")}
    allowed = ("slowfast_gta.models.attention", "slowfast_gta.models.layers")
    assert all(name.startswith(allowed) for name in ours), ours


def test_what_is_imported_is_declared():
    """setup.py names it, as the package that must be there or in an extra; torchvision is only compared with."""
    called = {"yaml": "PyYAML", "cv2": "opencv-python-headless"}
    imported = {name.split(".")[0] for path in FILES for name in imports(tree_of(path))}
    others = imported - set(sys.stdlib_module_names) - {"slowfast_gta", "torchvision"}
    text = (ROOT / "setup.py").read_text(encoding="utf-8")
    missing = [name for name in sorted(others) if not re.search(rf'"{called.get(name, name)}[>="]', text)]
    assert not missing


def test_the_networks_know_no_block_by_name():
    for path in (PACKAGE / "models").glob("*.py"):
        if path.stem != "__init__":
            concrete = {name for name in own_imports(tree_of(path)) if name.startswith("models.attention.")}
            assert all(name.startswith("models.attention.build") for name in concrete), (path, concrete)


@each([*FILES, *TOOLS])
def test_torch_distributed_is_in_one_room(path):
    if path.parent == PACKAGE / "distributed":
        return
    tree = tree_of(path)
    assert not [name for name in imports(tree) if name.startswith("torch.distributed")]
    for node in ast.walk(tree):
        assert not (isinstance(node, ast.Attribute) and ast.unparse(node).startswith("torch.distributed")), node.lineno


@each([path for path in FILES if module_of(path).split(".")[0] not in MOVES_TO_DEVICES])
def test_only_the_engine_moves_to_a_device(path):
    """`.cuda()`, and `.to(...)` of anything that is called a device. An index tensor that follows its input may."""
    for node in ast.walk(tree_of(path)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        assert node.func.attr != "cuda", node.lineno
        if node.func.attr == "to":
            words = [ast.unparse(argument) for argument in (*node.args, *(key.value for key in node.keywords))]
            moved = [word for word in words if "device" in word and not word.endswith(".device")]
            if module_of(path) == "loading.batch":  # a batch is asked to go; it does not choose where
                moved = []
            assert not moved, f"line {node.lineno}: .to({', '.join(words)})"


@each(FILES)
def test_no_class_stores_the_config(path):
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            stored = [ast.unparse(target) for target in targets if isinstance(target, ast.Attribute)]
            value = ast.unparse(node.value) if node.value else ""
            assert not (stored and value in ("cfg", "config")), f"line {node.lineno}: {stored[0]} = {value}"


TASK_METHODS = {name for name in vars(Task) if not name.startswith("_")}


def functions_of_cfg(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            if any(argument.arg == "cfg" for argument in arguments):
                yield node


@each([path for path in FILES if module_of(path).split(".")[0] not in ("config", "commands")])
def test_the_config_is_read_at_the_edge(path):
    """By functions that build, check and run; what they call is given plain values. Their `_steps` may read it too."""
    room = module_of(path).split(".")[0]
    allowed = CFG_READERS | (TASK_METHODS if room == "engine" else set())
    for function in functions_of_cfg(tree_of(path)):
        name = function.name
        edge = name.startswith(("build_", "check_")) or name.endswith("from_cfg") or name in allowed
        a_step = name.startswith("_") and room in ("engine", "run", "benchmarks", "data_check")
        assert edge or a_step, f"{path}:{function.lineno}: {name}(cfg)"


def dotted_keys(node, prefix: str = "") -> Iterator[str]:
    for name, value in node.items():
        if hasattr(value, "items") and value:
            yield from dotted_keys(value, f"{prefix}{name}.")
        else:
            yield prefix + name


# Keys that PySlowFast's YAMLs carry and that need not do anything here; each says so where it is declared or checked.
TAKEN_BUT_UNUSED = {"BN.NUM_SYNC_DEVICES", "DATA.INPUT_CHANNEL_NUM", "TRAIN.CHECKPOINT_TYPE", "TEST.CHECKPOINT_TYPE"}
TAKEN_BUT_UNUSED |= {"MODEL.LOSS_FUNC"}  # one choice


def key_of(node: ast.AST) -> tuple[ast.AST, str]:
    """(what it is taken from, "SOLVER.BASE_LR") of cfg.SOLVER.BASE_LR; "" where it is no such name."""
    names: list[str] = []
    while isinstance(node, ast.Attribute) and node.attr.isupper():
        names.insert(0, node.attr)
        node = node.value
    return node, ".".join(names)


def keys_read(function: ast.FunctionDef) -> Iterator[str]:
    """The dotted names that `function` takes from a config, or from a part of one that it has given a short name."""
    parts = {}
    for node in ast.walk(function):
        for target in node.targets if isinstance(node, ast.Assign) else ():
            pairs = [(target, node.value)]
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = list(zip(target.elts, node.value.elts, strict=True))
            parts |= {one.id: key_of(value)[1] for one, value in pairs if isinstance(one, ast.Name)}
    for node in ast.walk(function):
        base, key = key_of(node)
        if key:
            part = parts.get(base.id, "") if isinstance(base, ast.Name) else ""
            yield f"{part}.{key}" if part else key


def test_every_key_is_read_somewhere():
    """By its full name: of two that end alike, one may be read by nothing."""
    read = {f"SYNTHETIC.{field.name.upper()}" for field in dataclasses.fields(Settings)}  # the whole node goes into it
    for path in FILES:
        if not module_of(path).startswith("config."):
            functions = (node for node in ast.walk(tree_of(path)) if isinstance(node, ast.FunctionDef))
            read.update(key for function in functions for key in keys_read(function))
    unread = {key for key in dotted_keys(get_defaults()) if key not in read}
    assert unread == TAKEN_BUT_UNUSED & unread, f"declared, and read by nothing: {sorted(unread - TAKEN_BUT_UNUSED)}"


# ------------------------------------------------------------------------------------------------ names and sizes


@pytest.mark.parametrize("room", sorted({path.parent for path in FILES}), ids=lambda room: str(room.relative_to(ROOT)))
def test_a_room_has_few_files(room):
    files = [path.name for path in room.glob("*.py") if path.stem != "__init__"]
    assert len(files) <= MOST_FILES or room == PACKAGE / "commands", f"{len(files)} files"


@each([*FILES, *TOOLS])
def test_a_module_is_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_no_file_is_named_after_nothing():
    folders = [ROOT / name for name in ("slowfast_gta", "tools", "tests", "projects")]
    names = {part for folder in folders for path in folder.rglob("*") for part in (path.stem.lower(),)}
    assert not names & BANNED_NAMES


@each(
    sorted(
        path
        for path in (ROOT / "configs").rglob("*.yaml")
        if not path.name.startswith("Base") and path.parent.name != "Evidence"
    )
)
def test_an_experiment_is_a_short_yaml(path):
    """What builds on another file says what differs; the first of a family is a recipe, and may be longer."""
    text = path.read_text()
    assert len(text.splitlines()) <= (20 if "_BASE_" in text else 30)


@each(TOOLS)
def test_tools_have_no_logic_of_their_own(path):
    nodes = list(ast.walk(tree_of(path)))
    assert not [node for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.For | ast.While)]
    assert own_imports(tree_of(path)) <= {"commands", "commands.run_command"}


# ------------------------------------------------------------------------------------------------------ the tests


@each([path for path in TESTS if path.is_relative_to(ROOT / "tests")])
def test_a_test_is_where_its_module_is(path):
    """tests/<room>/test_<module>.py or test_<module>_<what>.py, beside the tests of the whole in rooms of their own."""
    room, what = path.parent.relative_to(ROOT / "tests"), path.stem.removeprefix("test_")
    if str(room) in OWN_ROOMS or (str(room) == "." and what in OF_THE_WHOLE):
        return
    modules = {module.stem for module in (PACKAGE / room).glob("*.py")} - {"__init__", "__main__"}
    assert any(f"{what}_".startswith(f"{module}_") for module in modules), (
        f"{room} has no module of which this is a test"
    )


@each([*TESTS, *sorted((ROOT / "tests").rglob("conftest.py"))])
def test_no_test_file_imports_another(path):
    """What several need is a plain module: of tests/support, or of a project's."""
    parts = {part for name in imports(tree_of(path)) for part in name.split(".")[:-1] or [name]}
    assert not [part for part in parts if part.startswith("test_") or part in ("tests", "conftest")]

"""What a finished training leaves for a later stage: files in OUTPUT_DIR/artefacts, whole, with their digests."""

import hashlib
import json
import logging
import shutil
from pathlib import Path

from torch import nn

from slowfast_gta import distributed
from slowfast_gta.engine.checkpoint.checkpoint import Position
from slowfast_gta.engine.task import Task
from slowfast_gta.errors import RunError, counted
from slowfast_gta.files import sha256_of

logger = logging.getLogger("slowfast_gta")

_LIST = "artefacts.json"  # {"made_after": name of the checkpoint, "files": {name: SHA-256}}


def save_artefacts(output_dir: Path, task: Task, model: nn.Module, position: Position) -> None:
    """Have `task` make its artefacts of the trained `model`, unless they are there already. All processes call it, and
    come back when they are there: each goes to the next stage by itself, and reads them at once."""
    folder, temporary = output_dir / "artefacts", output_dir / "artefacts.tmp"
    if distributed.any_process(distributed.is_main() and _are_of(folder, position)):
        return
    if distributed.is_main():
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    distributed.barrier()
    paths = task.artefacts(model, temporary)
    distributed.barrier()
    if distributed.is_main() and paths:
        _publish(temporary, folder, position)
    elif distributed.is_main():
        shutil.rmtree(temporary, ignore_errors=True)
    distributed.barrier()


def _publish(temporary: Path, folder: Path, position: Position) -> None:
    """List the files in `temporary` with their digests, and rename it to `folder`."""
    paths = [path for path in sorted(temporary.rglob("*")) if path.is_file()]
    files = {str(path.relative_to(temporary)): sha256_of(path) for path in paths}
    text = json.dumps({"made_after": position.file_name, "files": files}, indent=1)
    (temporary / _LIST).write_text(text, encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    temporary.replace(folder)
    logger.info("Saved %s for later stages in %s.", counted(len(files), "file"), folder)


def load_artefacts(output_dir: Path) -> tuple[dict[str, Path], str]:
    """{name: path} of what the stage in `output_dir` left, and one digest of all of it.

    Raises RunError where there is nothing, or a file is not what it was.
    """
    folder = output_dir / "artefacts"
    try:
        files = json.loads((folder / _LIST).read_text(encoding="utf-8"))["files"]
        names = {str(name): str(digest) for name, digest in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise RunError(f"There are no artefacts in {folder}. Train that stage to the end first.") from None
    for name, digest in names.items():
        path = folder / name
        if ".." in Path(name).parts or not path.is_file() or sha256_of(path) != digest:
            raise RunError(
                f"{path} is missing or not the file that was saved there. Remove {folder} and give the same command "
                "again: the stage creates it again from its last checkpoint."
            )
    everything = json.dumps(names, sort_keys=True).encode()
    return {name: folder / name for name in names}, hashlib.sha256(everything).hexdigest()


def _are_of(folder: Path, position: Position) -> bool:
    try:
        return json.loads((folder / _LIST).read_text(encoding="utf-8"))["made_after"] == position.file_name
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False

"""When and how often a run's state goes to disk, and what happens when it cannot."""

import logging
from pathlib import Path

from slowfast_gta import distributed
from slowfast_gta.engine.checkpoint.checkpoint import Position, remove_superseded, save_checkpoint
from slowfast_gta.engine.checkpoint.random_state import random_states
from slowfast_gta.errors import RunError

logger = logging.getLogger("slowfast_gta")


class Saver:
    """Writes checkpoints, on the main process, of what all processes know. All of them call its methods together."""

    def __init__(self, output_dir: Path, keep: int, constant: dict):
        """`keep`: complete epochs that stay (0: all); `constant`: entries that every checkpoint of the run has."""
        self.output_dir, self.keep, self.constant = output_dir, keep, constant
        self.num_failed = 0
        self.overdue = False  # the last one could not be written

    def save(self, position: Position, state: dict, must: bool = True) -> Path | None:
        """Write `state` and the random state of all processes; the checkpoint's path, on the main process.

        Raises RunError where it cannot be written; unless `must`, that is logged and counted, and training may go on.
        """
        state = state | {"random_state": random_states()} | self.constant
        path, fault = None, None
        if distributed.is_main():
            try:
                path = save_checkpoint(self.output_dir, position, state)
                remove_superseded(self.output_dir, self.keep)
            except RunError as error:
                fault = error
        self.overdue = distributed.any_process(fault is not None)
        if self.overdue and must:
            raise RunError(
                f"{fault or 'The main process could not write a checkpoint.'} Free space, then give the same "
                "command again to resume from the newest one."
            )
        if self.overdue:
            self.num_failed += 1
            logger.warning("%s Training continues and will try again (failed so far: %d).", fault, self.num_failed)
        return path

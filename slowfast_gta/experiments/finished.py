"""Finished runs of any origin as rows: those whose configs differ only in the seed are one row."""

import os
from collections.abc import Sequence
from pathlib import Path

from slowfast_gta.errors import RunError
from slowfast_gta.experiments.outcomes import Outcome, load_finished

# What may differ between the seeds of one row, beside the seed.
_OF_A_RUN = ("RNG_SEED", "OUTPUT_DIR", "TEST.CHECKPOINT_FILE_PATH")


def group_runs(folders: Sequence[Path]) -> dict[str, dict[int, Outcome]]:
    """{row: {seed: outcome}} in the order given; a row is called by what its folders' names have in common.

    Raises RunError for a folder without results, and for two runs of one config and seed.
    """
    groups: dict[tuple, dict[int, tuple[Path, Outcome]]] = {}
    for folder in folders:
        outcome = load_finished(folder)
        but_for_seed = tuple(sorted((key, value) for key, value in outcome.keys.items() if key not in _OF_A_RUN))
        group = groups.setdefault(but_for_seed, {})
        if outcome.seed in group:
            raise RunError(f"{group[outcome.seed][0]} and {folder} are one config with one seed. Name one of the two.")
        group[outcome.seed] = (folder, outcome)
    names = _names([[folder for folder, _ in group.values()] for group in groups.values()])
    return {
        name: {seed: outcome for seed, (_, outcome) in group.items()}
        for name, group in zip(names, groups.values(), strict=True)
    }


def _names(groups: Sequence[Sequence[Path]]) -> list[str]:
    """What the folders of each group have in common, or, where that names two groups, the first folder of each."""
    commons = [os.path.commonprefix([folder.name for folder in group]).rstrip("-_. ") for group in groups]  # noqa: RUF071
    alone = [commons.count(name) == 1 and name for name in commons]
    return [name or str(group[0]) for name, group in zip(alone, groups, strict=True)]

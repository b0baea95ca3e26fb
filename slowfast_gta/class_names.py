"""Which classes a classifier was trained on, and in which order: shapes cannot reveal a wrong one.

Names are a list in the order of the labels; with several outputs, {output: such a list}.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from slowfast_gta.errors import WeightsError

ClassNames = Sequence[str] | dict[str, list[str]]

_NUMBERED = re.compile(r"\w+ (\d+)")  # "class 3": what data sets call classes whose names they were not given


def fingerprint(names: ClassNames) -> str:
    """12 digits that differ where the names, or their order, do."""
    return hashlib.sha256(json.dumps(by_output(names), sort_keys=True).encode()).hexdigest()[:12]


def plain_class_names(value: Any) -> ClassNames | None:
    """`value` from a file, if it is class names."""
    if isinstance(value, dict) and value and all(_is_list_of_text(names) for names in value.values()):
        return value
    return value if _is_list_of_text(value) else None


def difference(
    theirs: ClassNames, ours: ClassNames, sources: tuple[str, str] = ("in the file", "in the data set")
) -> str | None:
    """The first class that is another one in the other of two `sources`, as a clause; None: they are the same.

    An output of another size, or that only one of them has, is not compared; nor names that were not given.
    """
    named, wanted = by_output(theirs), by_output(ours)
    for output in named.keys() & wanted.keys():
        both = (named[output], wanted[output])
        if len(both[0]) != len(both[1]) or any(map(_are_numbers, both)):
            continue
        for label, (their, our) in enumerate(zip(*both, strict=True)):
            if their != our:
                of = f" of {output}" if output else ""
                order = ", the same classes in another order" if sorted(both[0]) == sorted(both[1]) else ""
                return f"class {label}{of} is '{their}' {sources[0]} and '{our}' {sources[1]}{order}"
    return None


def check_classes(theirs: ClassNames | None, ours: ClassNames, policy: str, source: object) -> str | None:
    """The message about a classifier of the classes `theirs` that is to be used with `ours`.

    policy: TRAIN.CHECKPOINT_OTHER_CLASSES. Raises WeightsError where they differ, unless it is "keep".
    """
    if theirs is None:
        return (
            "it does not name its classes, so it cannot be checked that they are those of the data set, in "
            "the same order."
        )
    reason = difference(theirs, ours)
    if reason is None:
        return None
    reason = f"{reason} (fingerprints {fingerprint(theirs)} and {fingerprint(ours)})"
    if policy == "keep":
        return f"{reason}; TRAIN.CHECKPOINT_OTHER_CLASSES keep uses the classifier unchanged."
    raise WeightsError(
        f"{source}: {reason}. Its predictions would be of the wrong classes. Check DATA.PATH_TO_DATA_DIR, for SSv1 "
        "DATA.LABEL_ORDER too; TRAIN.CHECKPOINT_OTHER_CLASSES keep uses the classifier unchanged, and renew "
        "starts a training with a new one."
    )


def by_output(names: ClassNames) -> Mapping[str, Sequence[str]]:
    """{output: its classes}; the only output of a network with one is ""."""
    return names if isinstance(names, dict) else {"": list(names)}


def _are_numbers(names: Sequence[str]) -> bool:
    numbers = [_NUMBERED.fullmatch(name) for name in names]
    return all(number and int(number[1]) in (label, label + 1) for label, number in enumerate(numbers))


def _is_list_of_text(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(name, str) for name in value)

"""What a mirror makes of a class: itself, the class of the opposite direction, or none that there is.

A list of mirror labels has, for every class, the label of its mirror image, or None. Which classes are
direction-sensitive follows from their names alone, by DIRECTION_WORDS: one list for all data sets, so that the same
videos are flipped alike whatever the data set is called that reads them.
"""

import re
from collections.abc import Sequence

# Each word and what a horizontal flip makes of it. The spellings of anticlockwise are one word here.
_OPPOSITES = {
    "left": "right",
    "leftward": "rightward",
    "leftwards": "rightwards",
    "lefthand": "righthand",
    "leftmost": "rightmost",
    "clockwise": "anticlockwise",
    "cw": "ccw",
}
_OPPOSITES |= {opposite: word for word, opposite in _OPPOSITES.items()}
_ANTICLOCKWISE = re.compile(r"(?<![a-z])(counter|anti|contra)[-_ ]?clockwise(?![a-z])")

DIRECTION_WORDS = tuple(_OPPOSITES)


def mirror_labels(names: Sequence[str], more_words: Sequence[str] = ()) -> list[int | None]:
    """A class without any of DIRECTION_WORDS or `more_words` is its own mirror image; that of another is the class
    whose name has left and right, clockwise and anticlockwise exchanged, and None where there is no such class."""
    plain = [_plain(name) for name in names]
    label_of = {name: label for label, name in enumerate(plain)}
    direction, opposite = _any_of((*DIRECTION_WORDS, *more_words)), _any_of(DIRECTION_WORDS)
    labels: list[int | None] = []
    for label, name in enumerate(plain):
        mirrored = opposite.sub(lambda word: _OPPOSITES[word[0]], name)
        partner = label_of.get(mirrored) if mirrored != name else None
        labels.append(partner if direction.search(name) else label)
    return labels


def directed_labels(names: Sequence[str]) -> list[int]:
    """The labels of the classes whose names have a direction in them."""
    return labels_with(names, DIRECTION_WORDS)


def labels_with(names: Sequence[str], words: Sequence[str]) -> list[int]:
    """The labels of the classes whose names have one of `words` in them, which are in small letters."""
    pattern = _any_of(words)
    return [label for label, name in enumerate(names) if pattern.search(_plain(name))]


def _plain(name: str) -> str:
    """In small letters, with one spelling of anticlockwise: turnLeft, turn_left and "Turn left" all have "left"."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return _ANTICLOCKWISE.sub("anticlockwise", spaced.lower())


def _any_of(words: Sequence[str]) -> re.Pattern:
    """Any of `words`, standing alone or beside digits, "_" and "-", as in lane_left2."""
    return re.compile(rf"(?<![^\W\d_])({'|'.join(map(re.escape, sorted(words, key=len, reverse=True)))})(?![^\W\d_])")


def without_exchange(labels: Sequence[int | None]) -> list[int | None]:
    """The same where labels may not change: only a class that is its own mirror image is mirrored."""
    return [mirrored if mirrored == own else None for own, mirrored in enumerate(labels)]


def directed_names(names: Sequence[str], labels: Sequence[int | None]) -> list[str]:
    """The classes whose mirror image is not of the class."""
    return [name for own, (name, mirrored) in enumerate(zip(names, labels, strict=True)) if mirrored != own]


def exchanged_names(names: Sequence[str], labels: Sequence[int | None]) -> list[str]:
    """The pairs of classes that a mirror exchanges, each once, as "a <-> b"."""
    pairs = [(own, mirrored) for own, mirrored in enumerate(labels) if mirrored is not None and own < mirrored]
    return [f"{names[label]} <-> {names[other]}" for label, other in pairs]

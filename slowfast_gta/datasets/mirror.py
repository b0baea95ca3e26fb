"""What a mirror makes of a class: itself, the class of the opposite direction, or none that there is.

A list of mirror labels has, for every class, the label of its mirror image, or None.
"""

import re
from collections.abc import Sequence

# The spellings of anticlockwise are one word here.
_OPPOSITES = {"left": "right", "leftward": "rightward", "leftwards": "rightwards", "clockwise": "anticlockwise"}
_OPPOSITES |= {opposite: word for word, opposite in _OPPOSITES.items()}
_ANTICLOCKWISE = re.compile(r"\b(counter|anti)[- ]?clockwise\b")


def mirror_labels(names: Sequence[str], direction_words: Sequence[str]) -> list[int | None]:
    """A class without any of `direction_words` is its own mirror image; that of another is the class whose name has
    left and right, clockwise and anticlockwise exchanged, and None where there is no such class."""
    plain = [_ANTICLOCKWISE.sub("anticlockwise", name.lower()) for name in names]
    if not direction_words:
        return list(range(len(plain)))
    label_of = {name: label for label, name in enumerate(plain)}
    direction = re.compile(rf"\b({'|'.join(map(re.escape, direction_words))})\b")
    opposite = re.compile(rf"\b({'|'.join(_OPPOSITES)})\b")
    labels: list[int | None] = []
    for label, name in enumerate(plain):
        mirrored = opposite.sub(lambda word: _OPPOSITES[word[0]], name)
        partner = label_of.get(mirrored) if mirrored != name else None
        labels.append(partner if direction.search(name) else label)
    return labels


def without_exchange(labels: Sequence[int | None]) -> list[int | None]:
    """The same where labels may not change: only a class that is its own mirror image is mirrored."""
    return [mirrored if mirrored == own else None for own, mirrored in enumerate(labels)]


def directed_names(names: Sequence[str], labels: Sequence[int | None]) -> list[str]:
    """The classes whose mirror image is not of the class."""
    return [name for own, (name, mirrored) in enumerate(zip(names, labels, strict=True)) if mirrored != own]


def exchanged_names(names: Sequence[str], labels: Sequence[int | None]) -> list[str]:
    """The pairs of classes that a mirror exchanges, each once, as "a <-> b"."""
    pairs = [(own, mirrored) for own, mirrored in enumerate(labels) if mirrored is not None and own < mirrored]
    return [f"{names[one]} <-> {names[other]}" for one, other in pairs]


def unmirrored_names(names: Sequence[str], labels: Sequence[int | None]) -> list[str]:
    """The classes that are never mirrored."""
    return [name for name, mirrored in zip(names, labels, strict=True) if mirrored is None]

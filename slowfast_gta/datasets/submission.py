"""What the servers of challenges take: scores of test sets whose labels nobody else has.

K classes of an output. Such a file is no score: it is named unscored until a server has scored it.
"""

import io
import json
import math
import zipfile
from collections.abc import Mapping, Sequence

_MOST_ACTIONS = 100  # pairs of a verb and a noun, for the older EPIC server


def top_labels(scores: Sequence[float], count: int) -> list[int]:
    """The labels of the `count` highest scores, the highest first; of equal ones the lower label first."""
    return sorted(range(len(scores)), key=lambda label: -scores[label])[:count]


def epic_document(
    scores: Mapping[str, Sequence[float]], sizes: Mapping[str, int], version: str, supervision: Sequence[int] = ()
) -> dict:
    """What EPIC-Kitchens' action recognition challenge takes, for {id: probabilities of verbs, then of nouns}.

    The layout of version 0.2 is that of epic-kitchens/C1-Action-Recognition (utils/challenge.py): scores by class
    number for verb and noun, from which the server computes those of the actions by softmax and product; so these are
    logarithms of probabilities. 0.1 is EPIC-55's: the same with the best actions, as "verb,noun"; that layout is from
    memory, and could not be verified. `supervision`: the levels sls_pt, sls_tl, sls_td of 0.2; -1 where not given, as
    in the server's own example, and to be set before it is handed in.
    """
    verbs = sizes["verb"]
    results = {}
    for video_id, of_video in scores.items():
        logs = [math.log(max(value, 1e-30)) for value in of_video]
        results[video_id] = {"verb": _by_number(logs[:verbs]), "noun": _by_number(logs[verbs:])}
        if version == "0.1":
            results[video_id]["action"] = _best_actions(logs[:verbs], logs[verbs:])
    levels = dict(zip(("sls_pt", "sls_tl", "sls_td"), supervision or (-1, -1, -1), strict=True))
    head = {"version": version, "challenge": "action_recognition"}
    return head | (levels if version != "0.1" else {}) | {"results": results}


def _by_number(scores: Sequence[float]) -> dict[str, float]:
    return {str(label): round(score, 6) for label, score in enumerate(scores)}


def _best_actions(verbs: Sequence[float], nouns: Sequence[float]) -> dict[str, float]:
    """The best pairs; none of them has a verb or a noun beyond the best so many."""
    pairs = [
        (verbs[verb] + nouns[noun], f"{verb},{noun}")
        for verb in top_labels(verbs, _MOST_ACTIONS)
        for noun in top_labels(nouns, _MOST_ACTIONS)
    ]
    return {pair: round(score, 6) for score, pair in sorted(pairs, reverse=True)[:_MOST_ACTIONS]}


def zipped_json(documents: Mapping[str, dict]) -> bytes:
    """A zip archive with these files of json. The same content gives the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, document in documents.items():
            archive.writestr(zipfile.ZipInfo(name), json.dumps(document), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()

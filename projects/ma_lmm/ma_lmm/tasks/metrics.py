"""How answers count. V samples, K classes."""

import re
import shutil
from collections.abc import Sequence

import numpy as np

from slowfast_gta.errors import RunError


def exact_scores(beams: Sequence[Sequence[str]], answers: Sequence[str]) -> dict[str, float]:
    """Percent of samples whose best beam is the answer's very string (top1), or any of its beams (top5)."""
    first = [texts[0] == answer for texts, answer in zip(beams, answers, strict=True)]
    any_beam = [answer in texts[:5] for texts, answer in zip(beams, answers, strict=True)]
    return {"top1": 100.0 * float(np.mean(first)), "top5": 100.0 * float(np.mean(any_beam))}


def first_word_scores(beams: Sequence[Sequence[str]], answers: Sequence[str]) -> dict[str, float]:
    """As exact_scores, of the first word of each beam."""
    return exact_scores([[" ".join(text.split()[:1]) for text in texts] for texts in beams], answers)


def anticipation_scores(ranks: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """`ranks` (V, K), classes from the likeliest on, and `labels` (V,) -> percent.

    accuracy5: samples with their class among the first five. recall5: for each class of `labels` the share of its
    samples with the class among the first five; then the mean over these classes.
    """
    hits = (ranks[:, :5] == labels[:, None]).any(axis=1)
    recalls = [hits[labels == label].mean() for label in np.unique(labels)]
    first = ranks[:, 0] == labels
    return {
        "top1": 100.0 * float(first.mean()),
        "accuracy5": 100.0 * float(hits.mean()),
        "recall5": 100.0 * float(np.mean(recalls)),
    }


def caption_scores(captions: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[dict[str, float], list[str]]:
    """METEOR, CIDEr, BLEU-4 and ROUGE-L (x 100) by the scorers of pycocoevalcap, and what a user should know.

    Without Java there is no PTB tokeniser and no METEOR: then a plain tokeniser is used, the names of the scores say
    so (cider_plain), and so does a remark; such scores are not those that papers give.
    """
    try:
        from pycocoevalcap.bleu.bleu import Bleu
        from pycocoevalcap.cider.cider import Cider
        from pycocoevalcap.rouge.rouge import Rouge
    except ModuleNotFoundError:
        raise RunError(
            "Captions are scored by pycocoevalcap, which is not installed: pip install pycocoevalcap."
        ) from None
    has_java = shutil.which("java") is not None
    tokenize = _ptb_tokens if has_java else _plain_tokens
    truth = tokenize({number: list(texts) for number, texts in enumerate(references)})
    found = tokenize({number: [text] for number, text in enumerate(captions)})
    scores = {
        "cider": Cider().compute_score(truth, found)[0],
        "bleu4": Bleu(4).compute_score(truth, found, verbose=0)[0][3],
        "rouge_l": Rouge().compute_score(truth, found)[0],
    }
    remarks = []
    if has_java:
        scores["meteor"] = _meteor(truth, found)
    else:
        scores = {f"{name}_plain": value for name, value in scores.items()}
        remarks.append(
            "Java is not installed (Debian: default-jre-headless): METEOR is left out, and the other scores use "
            "a plain tokeniser and are not comparable with published ones."
        )
    return {name: 100.0 * float(value) for name, value in scores.items()}, remarks


def _meteor(truth: dict[int, list[str]], found: dict[int, list[str]]) -> float:
    from pycocoevalcap.meteor.meteor import Meteor

    scorer = Meteor()
    try:
        return scorer.compute_score(truth, found)[0]
    except (OSError, ValueError) as fault:
        raise RunError(f"METEOR, a Java program, failed ({fault}). Is there enough memory for it (2 GB)?") from None
    finally:
        scorer.meteor_p.kill()


def _ptb_tokens(captions: dict[int, list[str]]) -> dict[int, list[str]]:
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    # A blank caption would be a blank line, which the tokeniser of lines would not tell from none.
    rows = {key: [{"caption": text if text.strip() else "."} for text in texts] for key, texts in captions.items()}
    return PTBTokenizer().tokenize(rows)


def _plain_tokens(captions: dict[int, list[str]]) -> dict[int, list[str]]:
    return {
        key: [" ".join(re.findall(r"[a-z0-9']+", text.lower())) for text in texts] for key, texts in captions.items()
    }

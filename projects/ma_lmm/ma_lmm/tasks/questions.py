"""Questions with short answers: MSRVTT-QA, MSVD-QA, ActivityNet-QA.

{question_id: {question, answer, answer_type, video, frame_length}}
"""

from ma_lmm.prompts import clean_text
from ma_lmm.tasks.samples import Sample, field_of, of_split, read_table
from ma_lmm.tasks.video_task import Source, VideoTask


def question_task(first_word: bool) -> VideoTask:
    """`first_word`: only the first word of an answer counts (MSRVTT-QA, MSVD-QA)."""
    return VideoTask(_read, "first_word" if first_word else "exact")


def _read(source: Source, split: str) -> list[Sample]:
    path, samples = source.annotations, []
    for name, entry in of_split(path, read_table(path, "the list of questions"), split):
        found, fps = source.videos.of(field_of(path, name, entry, "video", str))
        question = clean_text(field_of(path, name, entry, "question", str))
        answer = clean_text(str(field_of(path, name, entry, "answer", (str, int, float))))
        samples.append(Sample(name, found, f"Question: {question} Short answer:", (answer,), fps=fps))
    return samples

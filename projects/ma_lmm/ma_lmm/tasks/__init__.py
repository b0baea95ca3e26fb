"""The tasks of the paper, by name: how their annotations are read, what is asked, how an answer counts."""

from ma_lmm.tasks.anticipation import anticipation_task
from ma_lmm.tasks.captions import caption_task
from ma_lmm.tasks.classes import LVU_TASKS, breakfast_task, coin_task, lvu_task
from ma_lmm.tasks.questions import question_task
from ma_lmm.tasks.video_task import VideoTask

TASKS: dict[str, VideoTask] = {
    **{f"lvu_{name}": lvu_task(name) for name in LVU_TASKS},
    "breakfast": breakfast_task(),
    "coin": coin_task(),
    "msrvtt_qa": question_task(first_word=True),
    "msvd_qa": question_task(first_word=True),
    "activitynet_qa": question_task(first_word=False),
    "msrvtt_caption": caption_task(),
    "msvd_caption": caption_task(),
    "youcook2_caption": caption_task(segments=True),
    **{f"epic_{output}": anticipation_task(output) for output in ("verb", "noun", "action")},
}

"""Train and test MA-LMM as a config says."""

from collections.abc import Sequence

from slowfast_gta.commands import run_net

_EXAMPLES = """examples:
  python projects/ma_lmm/run.py --cfg projects/ma_lmm/configs/Breakfast.yaml MA_LMM.MODEL_DIR instructblip-vicuna-7b \\
    MA_LMM.VIDEO_DIR videos MA_LMM.TRAIN_ANNOTATIONS train.json MA_LMM.TEST_ANNOTATIONS test.json
  torchrun --nproc_per_node 4 projects/ma_lmm/run.py --cfg projects/ma_lmm/configs/COIN.yaml ...

The same command again resumes from the newest checkpoint in OUTPUT_DIR. projects/ma_lmm/README.md explains the keys.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 when every config was trained and tested as it says."""
    from ma_lmm.config import ma_lmm_config
    from ma_lmm.task import MaLmmTask

    return run_net.main(arguments, ma_lmm_config(), MaLmmTask.from_cfg, __doc__, _EXAMPLES)

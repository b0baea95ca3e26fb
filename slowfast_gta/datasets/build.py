"""The registry of data sets, and the contract that every data set keeps.

A data set turns its official annotation files into records; reading, sampling and transforms are shared.

    @DATASET_REGISTRY.register()
    class MyData(VideoDataset):
        def class_names(self) -> list[str]: ...        # index = label
        def records(self, split: str) -> list[VideoRecord]: ...   # split: "train", "val" or "test"

Classes whose names have a direction word (mirror.DIRECTION_WORDS) are never flipped, in any data set; `direction_words`
names more. One with several outputs names them in `outputs`; its class_names() are a dict of lists, its labels tuples.
It is constructed with plain arguments by `build_dataset(cfg, ...)`, through its `from_cfg(cfg)` classmethod.
A data set that can make its own files says `creates_itself = True` and does so in `prepare()`.
"""

from fvcore.common.config import CfgNode

from slowfast_gta.datasets.records import VideoDataset
from slowfast_gta.errors import ConfigError, counted
from slowfast_gta.registry import Registry

DATASET_REGISTRY = Registry("DATASET")
_CLASSES = "MODEL.NUM_CLASSES"


def build_dataset(cfg: CfgNode, split: str) -> VideoDataset:
    """The data set of `split`: TRAIN.DATASET for "train" and "val", TEST.DATASET for "test"; prepared.

    Raises ConfigError when its classes are not MODEL.NUM_CLASSES many, DataError when its files are not there.
    """
    key = "TEST.DATASET" if split == "test" else "TRAIN.DATASET"
    name = cfg.TEST.DATASET if split == "test" else cfg.TRAIN.DATASET
    dataset = DATASET_REGISTRY.find(name, key).from_cfg(cfg)
    check_outputs(cfg, name, dataset.outputs)
    dataset.prepare()
    names = dataset.class_names()
    num_classes = [len(of_output) for of_output in names.values()] if isinstance(names, dict) else len(names)
    if num_classes != cfg.MODEL.NUM_CLASSES:
        raise ConfigError(
            f"MODEL.NUM_CLASSES is {cfg.MODEL.NUM_CLASSES}, but {name} has {counted(num_classes, 'class')}.", [_CLASSES]
        )
    return dataset


def check_outputs(cfg: CfgNode, name: str, outputs: tuple[str, ...]) -> None:
    """Raises ConfigError unless the network's outputs are those of the data set `name`."""
    wanted = tuple(cfg.MODEL.OUTPUTS) if isinstance(cfg.MODEL.NUM_CLASSES, list) else ()
    if wanted != outputs:
        have = f"has the outputs {', '.join(outputs)}" if outputs else "has one output"
        need = f"a list of {len(outputs)} and MODEL.OUTPUTS {list(outputs)}" if outputs else "one number"
        raise ConfigError(
            f"MODEL.NUM_CLASSES is {cfg.MODEL.NUM_CLASSES}, but {name} {have}: it must be {need}.",
            [_CLASSES, "MODEL.OUTPUTS"],
        )

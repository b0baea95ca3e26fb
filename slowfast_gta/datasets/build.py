"""The registry of data sets, and the contract that every data set keeps.

A data set turns its official annotation files into records; reading, sampling and transforms are shared.

    @DATASET_REGISTRY.register()
    class MyData(VideoDataset):
        direction_words = ("left", "right")            # whole words of class names that forbid a mirror image
        def class_names(self) -> list[str]: ...        # index = label
        def records(self, split: str) -> list[VideoRecord]: ...   # split: "train", "val" or "test"

It is constructed with plain arguments by `build_dataset(cfg, ...)`, through its `from_cfg(cfg)` classmethod.
"""

from slowfast_gta.registry import Registry

DATASET_REGISTRY = Registry("DATASET")

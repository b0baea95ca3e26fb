"""Published weights by name, and the URLs that stand for files.

The addresses are those of torchvision's model definitions and of PySlowFast's MODEL_ZOO.md, read there. None of them
was tried here: the machine that this was written on reaches neither. torchvision puts the first 8 digits of a file's
SHA-256 into its name; PySlowFast publishes none.
"""

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from slowfast_gta.errors import WeightsError

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # of torchvision's transforms
_PYSLOWFAST = ((0.45, 0.45, 0.45), (0.225, 0.225, 0.225))  # of its defaults, which its Kinetics YAMLs leave as they are
_TORCHVISION_URL = "https://download.pytorch.org/models/{}.pth"
_KINETICS_URL = "https://dl.fbaipublicfiles.com/pyslowfast/model_zoo/kinetics400/{}.pkl"
_SSV2_URL = "https://dl.fbaipublicfiles.com/pyslowfast/pyslowfast/model_zoo/multigrid/model_zoo/SSv2/{}.pkl"

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


@dataclass(frozen=True)
class Published:
    """Weights that can be downloaded."""

    url: str
    sha256: str = ""  # its first hexadecimal digits, as far as they are published
    mean: tuple[float, ...] = ()  # DATA.MEAN and DATA.STD that they were trained with, RGB in 0..1; (): not known
    std: tuple[float, ...] = ()


def _torchvision(file: str) -> Published:
    return Published(_TORCHVISION_URL.format(file), file.rpartition("-")[2], *_IMAGENET)


ZOO = {
    "torchvision/resnet18": _torchvision("resnet18-f37072fd"),
    "torchvision/resnet34": _torchvision("resnet34-b627a593"),
    "torchvision/resnet50": _torchvision("resnet50-0676ba61"),
    "torchvision/resnet101": _torchvision("resnet101-63fe2227"),
    **{
        f"pyslowfast/{name}": Published(_KINETICS_URL.format(name), "", *_PYSLOWFAST)
        for name in (
            *("C2D_NOPOOL_8x8_R50", "I3D_8x8_R50", "I3D_NLN_8x8_R50", "SLOWONLY_4x16_R50", "SLOWONLY_8x8_R50"),
            *("SLOWFAST_4x16_R50", "SLOWFAST_8x8_R50"),
        )
    },
    "pyslowfast/SSv2_SLOWFAST_16x8_R50": Published(_SSV2_URL.format("SLOWFAST_16x8_R50"), "", *_PYSLOWFAST),
}
"""Name -> weights: ImageNet's (torchvision, the first version of each), Kinetics-400's, one of SSv2."""


def find_published(reference: str | Path) -> Published | None:
    """What `reference` names: an entry of ZOO, or a URL; None where it is a path. A local file of that name wins.

    Raises WeightsError for a URL of a kind that is not read, and for a name that ZOO lacks.
    """
    text = str(reference)
    if Path(text).expanduser().exists():
        return None
    if text in ZOO:
        return ZOO[text]
    if scheme := _SCHEME.match(text):
        return Published(_checked_url(text, scheme[1]))
    family, _, name = text.partition("/")
    if name and "/" not in name and family in {known.partition("/")[0] for known in ZOO}:
        near = difflib.get_close_matches(text, ZOO, n=1)
        raise WeightsError(
            f"There is no file {text}, and there are no published weights of that name. "
            + (f"Did you mean {near[0]}? " if near else "")
            + f"Known are {', '.join(ZOO)}."
        )
    return None


def is_published(reference: str) -> bool:
    """Whether `reference` is a URL or a name of ZOO, and no local file."""
    try:
        return find_published(reference) is not None
    except WeightsError:
        return True  # the reason is logged when it is looked for


def _checked_url(url: str, scheme: str) -> str:
    parts = urlsplit(url)
    on_this_machine = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if scheme.lower() == "https" or (scheme.lower() == "http" and on_this_machine):
        if parts.hostname and parts.path.strip("/"):
            return url
        raise WeightsError(
            f"{url} does not end in a file name. It must be https://HOST/PATH/FILE.pth (or .pkl, .safetensors)."
        )
    raise WeightsError(
        f"{url}: weights are downloaded over https:// only, so that they cannot be changed in transit. Download the "
        "file yourself and give its path."
    )

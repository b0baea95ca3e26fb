"""Other people's names for the tensors of a ResNet or SlowFast, turned into ours, which are PySlowFast's.

Ours:        s4.pathway0_res2.branch2.a.weight, s4.pathway0_res2.branch2.a_bn.running_mean, head.projection.weight
torchvision: layer3.2.conv1.weight, layer3.2.bn1.running_mean, fc.weight                      (timm: the same)
TSM:         module.base_model.layer3.2.conv1.net.weight, ..., module.new_fc.weight
mmaction2:   backbone.layer3.2.conv1.conv.weight, backbone.layer3.2.conv1.bn.running_mean, cls_head.fc_cls.weight
caffe2:      res4_2_branch2a_w, res4_2_branch2a_bn_rm, pred_w                  (fast pathway: t_ before it)
"""

import re
from collections.abc import Iterable

_CAFFE2_PARTS = {"w": "weight", "b": "bias", "s": "weight", "rm": "running_mean", "riv": "running_var"}
_CAFFE2 = re.compile(r"(.+?)(_bn)?_(w|b|s|rm|riv)")
# What stands before the part, and our module; {p} is the pathway, {_bn} marks its BatchNorm.
_CAFFE2_MODULES = [
    (re.compile(r"(t_)?conv1"), "s1.pathway{p}_stem.conv"),
    (re.compile(r"(t_)?res_conv1_bn"), "s1.pathway{p}_stem.bn"),
    (re.compile(r"(t_)?res(\d+)_(\d+)_branch1"), "s{1}.pathway{p}_res{2}.branch1"),
    (re.compile(r"(t_)?res(\d+)_(\d+)_branch1_bn"), "s{1}.pathway{p}_res{2}.branch1_bn"),
    (re.compile(r"(t_)?res(\d+)_(\d+)_branch2([a-c](?:_bn)?)"), "s{1}.pathway{p}_res{2}.branch2.{3}"),
    (re.compile(r"(t_)pool1_subsample"), "s1_fuse.conv_f2s"),
    (re.compile(r"(t_)pool1_subsample_bn"), "s1_fuse.bn"),
    (re.compile(r"(t_)res(\d+)_\d+_branch2c_bn_subsample"), "s{1}_fuse.conv_f2s"),
    (re.compile(r"(t_)res(\d+)_\d+_branch2c_bn_subsample_bn"), "s{1}_fuse.bn"),
    (re.compile(r"()nonlocal_conv(\d+)_(\d+)_(theta|phi|g|out)"), "s{1}.pathway0_nonlocal{2}.conv_{3}"),
    (re.compile(r"()nonlocal_conv(\d+)_(\d+)_bn"), "s{1}.pathway0_nonlocal{2}.bn"),
    (re.compile(r"()pred"), "head.projection"),
]
_CAFFE2_TRAINING = ("momentum", "lr", "model_iter")


def is_classifier(name: str) -> bool:
    """Whether a tensor of the network, by its name, is the classifier's, of one output or of several."""
    return re.match(r"head\.projection(_\w+)?\.", name) is not None


def find_kind(names: Iterable[str]) -> str | None:
    """Whose names these are: "pyslowfast", "torchvision", "tsm", "mmaction2"; None where nobody's we know."""
    names = set(names)
    if any(name.startswith(("s1.", "s2.")) for name in names):
        return "pyslowfast"
    for kind, stem in (
        ("torchvision", "conv1.weight"),
        ("tsm", "base_model.conv1.weight"),
        ("mmaction2", "backbone.conv1.conv.weight"),
    ):
        if stem in names and any(".0.conv1." in name or ".0.net.conv1." in name for name in names):
            return kind
    return None


def from_torchvision(name: str) -> str:
    """layer3.2.conv1.weight -> s4.pathway0_res2.branch2.a.weight, and so on for a ResNet's names."""
    part, _, rest = name.partition(".")
    if part in ("conv1", "bn1"):
        return f"s1.pathway0_stem.{part[:-1]}.{rest}"
    if part == "fc":
        return f"head.projection.{rest}"
    if not re.fullmatch(r"layer[1-4]\.\d+\.(conv[1-3]|bn[1-3]|downsample\.[01])\.\w+", name):
        return name
    index, layer, rest = rest.split(".", 2)
    block = f"s{int(part.removeprefix('layer')) + 1}.pathway0_res{index}"
    if layer == "downsample":
        which, rest = rest.split(".", 1)
        return f"{block}.{('branch1', 'branch1_bn')[int(which)]}.{rest}"
    letter = "abc"[int(layer[-1]) - 1]
    return f"{block}.branch2.{letter}{'_bn' if layer.startswith('bn') else ''}.{rest}"


def from_tsm(name: str) -> str:
    """TSM wraps torchvision's network in `base_model`, and what it shifts in `net`; its classifier is `new_fc`."""
    name = name.removeprefix("base_model.")
    name = re.sub(r"^new_fc\.", "fc.", name)
    return from_torchvision(name.replace(".net.", "."))


def from_mmaction2(name: str) -> str:
    """mmaction2 keeps a convolution and its BatchNorm in one module: conv1.conv, conv1.bn, downsample.conv."""
    name = re.sub(r"^cls_head\.fc_cls\.", "fc.", name.removeprefix("backbone."))
    name = name.replace(".net.", ".")
    name = re.sub(r"downsample\.(conv|bn)\.", lambda match: f"downsample.{('conv', 'bn').index(match[1])}.", name)
    name = re.sub(r"\bconv(\d)\.conv\.", r"conv\1.", name)
    return from_torchvision(re.sub(r"\bconv(\d)\.bn\.", r"bn\1.", name))


def from_pyslowfast(name: str) -> str | None:
    """Our name; a BatchNorm over parts of a batch (Sub-BN) as the plain one it uses in eval, None for its parts."""
    if ".split_bn." in name or name.endswith("_bn.split_bn"):
        return name.replace("split_bn.", "") if name.endswith("num_batches_tracked") else None
    if "bn.bn." in name:
        return None if name.endswith("num_batches_tracked") else name.replace("bn.bn.", "bn.")
    return name


def from_caffe2(name: str) -> str | None:
    """Our name of a caffe2 blob, the blob's own where we have none, None for what only training needs."""
    if any(word in name for word in _CAFFE2_TRAINING):
        return None
    match = _CAFFE2.fullmatch(name)
    if match is None:
        return name
    for pattern, module in _CAFFE2_MODULES:
        if parts := pattern.fullmatch(match[1] + (match[2] or "")):
            pathway = int(bool(parts[1]))
            return f"{module.format(*parts.groups(), p=pathway)}.{_CAFFE2_PARTS[match[3]]}"
    return name


RENAMED = {
    "pyslowfast": from_pyslowfast,
    "torchvision": from_torchvision,
    "tsm": from_tsm,
    "mmaction2": from_mmaction2,
    "caffe2": from_caffe2,
}
"""Kind -> function from its name to ours, or to None for what a network does not need."""

"""The attention blocks. A new one is a file in this folder and a line here."""

from slowfast_gta.models.attention.build import ATTENTION_REGISTRY, accepted_options, build_attention
from slowfast_gta.models.attention.cbam import CBAM
from slowfast_gta.models.attention.cgnl import CGNL
from slowfast_gta.models.attention.gcnet import GCNet
from slowfast_gta.models.attention.glore import GloRe
from slowfast_gta.models.attention.gta import GTA
from slowfast_gta.models.attention.nl import NL
from slowfast_gta.models.attention.self_attention import DNL, SA, TA
from slowfast_gta.models.attention.tape import TAPE
from slowfast_gta.models.attention.w3 import W3

__all__ = [
    "ATTENTION_REGISTRY",
    "CBAM",
    "CGNL",
    "DNL",
    "GTA",
    "NL",
    "SA",
    "TA",
    "TAPE",
    "W3",
    "GCNet",
    "GloRe",
    "accepted_options",
    "build_attention",
]

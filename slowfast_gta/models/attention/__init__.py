"""The attention blocks. A new one is a file in this folder and a line here."""

from slowfast_gta.models.attention.build import ATTENTION_REGISTRY, accepted_options, build_attention
from slowfast_gta.models.attention.gta import GTA
from slowfast_gta.models.attention.nl import NL
from slowfast_gta.models.attention.self_attention import DNL, SA, TA, TAPE

__all__ = ["ATTENTION_REGISTRY", "DNL", "GTA", "NL", "SA", "TA", "TAPE", "accepted_options", "build_attention"]

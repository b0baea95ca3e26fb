"""The complexity tables of the papers, row by row, for `tools/complexity.py --table paper`.

He et al., "GTA" (BMVC 2021, arXiv:2012.08510): figures 3, 4 and 7; Perez-Rua et al., "What, Where and When"
(arXiv:2004.01278): tables 1 and 6.
"""

from dataclasses import dataclass

_WHOLE = "printed without decimals"
_MASKS = "the text does not say what is counted; masks, pooling and products by a mask are not multiply-adds here"
_POSITIONS = "the text does not say after which blocks; five here"


@dataclass(frozen=True)
class PaperRow:
    """`gmacs` (G multiply-adds) and `params_m` (M) as printed; None where they are not. `note`: why ours may differ."""

    label: str
    config: str
    gmacs: float
    params_m: float | None = None
    note: str = ""


PAPER_TABLE = (
    PaperRow("R2D-50", "configs/SSv1/R2D50.yaml", 32.7, 23.9),
    PaperRow("R2D-50 + SA", "configs/SSv1/R2D50_SA.yaml", 41.7, 27.5),
    PaperRow("R2D-50 + TA", "configs/SSv1/R2D50_TA.yaml", 41.0, 27.5),
    PaperRow("R2D-50 + NL", "configs/SSv1/R2D50_NL.yaml", 61.1, 31.2),
    PaperRow("R2D-50 + DNL", "configs/SSv1/R2D50_DNL.yaml", 49.9, 31.2),
    PaperRow("R2D-50 + SA + TAPE", "configs/SSv1/R2D50_SA_TAPE.yaml", 49.9, 31.2),
    PaperRow("R2D-50 + GTA", "configs/SSv1/R2D50_GTA.yaml", 50.2, 31.2),
    PaperRow("SlowFast-R50 16x8", "configs/SSv1/SlowFast_16x8_R50.yaml", 131.4, 34.0),
    PaperRow("SlowFast-R50 16x8 + NL", "configs/SSv1/SlowFast_16x8_R50_NL.yaml", 239.9, 41.4),
    PaperRow("SlowFast-R50 16x8 + DNL", "configs/SSv1/SlowFast_16x8_R50_DNL.yaml", 169.1, 41.4),
    PaperRow("SlowFast-R50 16x8 + GTA", "configs/SSv1/SlowFast_16x8_R50_GTA.yaml", 169.9, 41.4),
    PaperRow("Kinetics, R2D-50 + NL", "configs/Kinetics/R2D50_NL.yaml", 77, note=_WHOLE),
    PaperRow("Kinetics, R2D-50 + GTA", "configs/Kinetics/R2D50_GTA.yaml", 62, note=_WHOLE),
    PaperRow("SlowFast-R101 8x8 + NL", "configs/Kinetics/SlowFast_8x8_R101_NL.yaml", 137, note=_WHOLE),
    PaperRow("SlowFast-R101 8x8 + GTA", "configs/Kinetics/SlowFast_8x8_R101_GTA.yaml", 137, note=_WHOLE),
    PaperRow("TSM, 8 frames", "configs/SSv1/R2D50_TSM.yaml", 33, note=_WHOLE),
    PaperRow("TSM, 16 frames", "configs/SSv1/R2D50_TSM_16f.yaml", 65, note=_WHOLE),
    PaperRow("TSM + NL, 16 frames", "configs/SSv1/R2D50_TSM_NL_16f.yaml", 115.0, note=_POSITIONS),
    PaperRow("TSM + CBAM, 16 frames", "configs/SSv1/R2D50_TSM_CBAM_16f.yaml", 66.5, note=_MASKS),
    PaperRow("TSM + W3, 8 frames", "configs/SSv1/R2D50_TSM_W3.yaml", 33.5, note=_MASKS),
    PaperRow("TSM + W3, 16 frames", "configs/SSv1/R2D50_TSM_W3_16f.yaml", 67.1, note=_MASKS),
)


def difference_percent(ours: float, printed: float | None) -> float | None:
    """How much `ours` is above the printed figure, percent of it."""
    return None if printed is None else round(100 * (ours / printed - 1), 2)

"""Measure and edit attention in transformers, exactly and without attention maps.

Public names are loaded when they are used, so that `import regard` stays light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .edit import (
        BiasKeys,
        BlockKeys,
        Interpolate,
        MeanHeads,
        PatchHeads,
        PatchQueries,
        PatchWeights,
        Redistribute,
        RedistributeVisualSinks,
        ReinforceHeads,
        ResampleHeads,
        ScaleHeads,
        ScaleKeys,
        ScaleSegments,
        UniformHeads,
        ZeroHeads,
        load_edits,
        save_edits,
    )
    from .lens import Lens, attach, load
    from .measure import (
        Distance,
        DistanceStd,
        EffectiveKeys,
        Entropy,
        EntropySpread,
        HeadSimilarity,
        KeyFunction,
        Mass,
        MaxWeight,
        ParticipationRatio,
        QueryCount,
        Received,
        SegmentMass,
        SignedDistance,
        SinkMass,
        SinkRate,
        SinkScore,
        SinkShare,
        TopKeys,
    )
    from .report.notebook import scan

__version__ = "0.1.0"

_HOMES = {
    "lens": ("Lens", "attach", "load"),
    "report.notebook": ("scan",),
    "measure": (
        "Distance",
        "DistanceStd",
        "EffectiveKeys",
        "Entropy",
        "EntropySpread",
        "HeadSimilarity",
        "KeyFunction",
        "Mass",
        "MaxWeight",
        "ParticipationRatio",
        "QueryCount",
        "Received",
        "SegmentMass",
        "SignedDistance",
        "SinkMass",
        "SinkRate",
        "SinkScore",
        "SinkShare",
        "TopKeys",
    ),
    "edit": (
        "BiasKeys",
        "BlockKeys",
        "Interpolate",
        "MeanHeads",
        "PatchHeads",
        "PatchQueries",
        "PatchWeights",
        "Redistribute",
        "RedistributeVisualSinks",
        "ReinforceHeads",
        "ResampleHeads",
        "ScaleHeads",
        "ScaleKeys",
        "ScaleSegments",
        "UniformHeads",
        "ZeroHeads",
        "load_edits",
        "save_edits",
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "BiasKeys",
    "BlockKeys",
    "Distance",
    "DistanceStd",
    "EffectiveKeys",
    "Entropy",
    "EntropySpread",
    "HeadSimilarity",
    "Interpolate",
    "KeyFunction",
    "Lens",
    "Mass",
    "MaxWeight",
    "MeanHeads",
    "ParticipationRatio",
    "PatchHeads",
    "PatchQueries",
    "PatchWeights",
    "QueryCount",
    "Received",
    "Redistribute",
    "RedistributeVisualSinks",
    "ReinforceHeads",
    "ResampleHeads",
    "ScaleHeads",
    "ScaleKeys",
    "ScaleSegments",
    "SegmentMass",
    "SignedDistance",
    "SinkMass",
    "SinkRate",
    "SinkScore",
    "SinkShare",
    "TopKeys",
    "UniformHeads",
    "ZeroHeads",
    "attach",
    "load",
    "load_edits",
    "save_edits",
    "scan",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'regard' has no attribute {name!r}")
    return getattr(import_module(f".{_HOME_OF[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

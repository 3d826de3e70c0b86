"""Statistics of attention, for people: each asks an attention a few terms and averages what it hears."""

from .distance import Distance, DistanceStd, SignedDistance
from .effective_keys import EffectiveKeys, ParticipationRatio
from .entropy import Entropy, EntropySpread
from .key_function import KeyFunction
from .mass import Mass, SegmentMass, SinkMass
from .max_weight import MaxWeight
from .query_count import QueryCount
from .received import Received
from .similarity import HeadSimilarity
from .sinks import SinkRate, SinkScore, SinkShare
from .top_keys import TopKeys

__all__ = [
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
]

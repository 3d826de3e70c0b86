"""Statistics of attention, for people: each asks an attention a few terms and averages what it hears."""

from .distance import Distance
from .entropy import Entropy
from .mass import Mass, SinkMass
from .received import Received
from .sinks import SinkRate

__all__ = ["Distance", "Entropy", "Mass", "Received", "SinkMass", "SinkRate"]

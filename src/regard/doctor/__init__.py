"""The doctor: checks on the user's own model that what is measured and edited is what the model computes."""

from .examination import examine
from .finding import Examination, Finding
from .known import Answer, ask

__all__ = ["Answer", "Examination", "Finding", "ask", "examine"]

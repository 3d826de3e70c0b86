"""One world of people, places and objects, told in little English."""

from .english import LittleEnglish, to_questions
from .tokenizer import tokenizer

__all__ = ["LittleEnglish", "to_questions", "tokenizer"]

"""Where attention calls come from: each tier turns its library's way of attending into `Call`s, and leaves no trace."""

from .tap import Handler, Tap

__all__ = ["Handler", "Tap"]

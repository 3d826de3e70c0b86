"""Implementations behind `regard.core.attend`: they know tensors and devices, and nothing of calls, models or methods."""

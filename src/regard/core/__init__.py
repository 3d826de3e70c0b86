"""The algebra of one attention call: what may be asked of it, what may be done to it, and how both are computed exactly.

This package imports torch only. It knows no model and no method.
"""

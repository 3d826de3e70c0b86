"""The boards: a module for each, named like its task with underscores, which declares a `TASK`.

A board is listed by being here; a method joins one by an `Entry` of its paper's card.
"""

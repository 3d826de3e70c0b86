"""The checks, one per file: each has a `NAME` and `check(model, lens, x)`, and being here is all that it takes."""

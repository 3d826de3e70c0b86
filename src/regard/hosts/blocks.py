"""The block that holds an attention module: what stands between two places of the residual stream."""

from torch import nn


def block_of(model: nn.Module, path: str) -> tuple[nn.Module, str]:
    """Return the block around an attention module and the module's path inside it; raises ValueError where there is none.

    It is the innermost entry of a list of modules of one kind, since a list of several kinds, as in T5, holds the parts of a
    block; where layers are of several kinds, the outermost entry.
    """
    pieces = path.split(".")
    lists = [
        (model.get_submodule(".".join(pieces[:at])), at + 1)
        for at in range(len(pieces) - 2, 0, -1)  # a list of attention modules, as in XLM, holds no blocks
        if pieces[at].isdigit() and isinstance(model.get_submodule(".".join(pieces[:at])), nn.ModuleList)
    ]
    even = [end for stack, end in lists if len({type(one) for one in stack.children()}) == 1]
    if lists:
        end = even[0] if even else lists[-1][1]
        return model.get_submodule(".".join(pieces[:end])), ".".join(pieces[end:])
    raise ValueError(f"{path} stands in no list of blocks, so there is no residual stream around it to read")

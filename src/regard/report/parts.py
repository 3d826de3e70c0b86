"""Which attention a model has, and what each is called."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..core.call import Call, Site
from ..core.effects import Effect, Stage
from ..core.protocols import Causality, Terms
from ..core.where import Role, Where
from ..lens import Lens
from ..lens.inputs import Inputs

NAMES = ("main", "decoder", "encoder", "vision", "audio")


@dataclass(frozen=True)
class Found:
    """One attention: the part and role that its sites have, and those sites by layer."""

    name: str
    role: Role
    sites: list[Site]

    @property
    def where(self) -> str:
        """What a line of code passes on to `lens.measure` or an edit to mean this part, "" where it is their default."""
        part = "" if self.sites[0].main else f", part={self.name!r}"
        return part + ("" if self.role == "self" else f", role={self.role!r}")


@dataclass(frozen=True, eq=False)
class _Note:
    """An edit that changes nothing, and notes the sites where it could have."""

    part: str
    sites: list[Site] = field(default_factory=list)
    stage: ClassVar[Stage] = "outputs"
    causality: ClassVar[Causality] = "row"

    @property
    def where(self) -> Where:
        """All attention of the part."""
        return Where(part=self.part, role=None)

    def plan(self, call: Call, state: dict[str, Any]) -> Generator[Terms, dict[str, Any], Effect | None]:
        """Note the site."""
        yield {}
        self.sites.append(call.site)
        return None


def parts(lens: Lens, x: Mapping[str, Any]) -> list[Found]:
    """Return the attention that a run on inputs uses, the self-attention of the part that writes the output first.

    Raises ValueError where it uses none.
    """
    notes = [_Note(part) for part in NAMES]
    lens.explain(*notes, x=x)
    found: dict[tuple[str, Role], list[Site]] = {}
    for site in dict.fromkeys(site for note in notes for site in note.sites):
        found.setdefault((site.part, "cross" if site.role == "cross" else "self"), []).append(site)
    if not found:
        raise ValueError(f"{type(lens.model).__name__} made no call of attention on these inputs")
    everything = [Found(part, role, sorted(sites, key=lambda s: s.layer)) for (part, role), sites in found.items()]
    return sorted(everything, key=lambda one: (not one.sites[0].main, one.role != "self", one.name))


def real(x: Inputs, part: str, role: Role) -> Tensor | None:
    """Return which keys of an attention are not padding in an example by itself, bool [token]; None where they are no tokens.

    A decoder's own are those of the target; a mask that is not given hides nothing.
    """
    if part == "vision" or not x.valid.shape[1]:
        return None
    if part != "decoder" or role != "self" or "decoder_input_ids" not in x:
        return x.valid[0]
    mask = x.get("decoder_attention_mask")
    found = torch.ones_like(x["decoder_input_ids"][0]) if mask is None else mask[0]
    return found.bool().cpu()


def title(one: Found, everything: list[Found], images_only: bool) -> str:
    """Return what a part is called in words."""
    sees = any(other.name == "vision" for other in everything)
    match one.name, one.role:
        case "vision", "self":
            return "the image encoder"
        case "audio", "self":
            return "the sound encoder"
        case "encoder", "self":
            return "the encoder"
        case "decoder", "self":
            return "the decoder"
        case "decoder", "cross":
            return "the decoder's attention to the encoder"
        case "main", "self":
            return "the image encoder" if images_only else "the language model" if sees else "the model"
    return f"the {one.role}-attention of {one.name}"

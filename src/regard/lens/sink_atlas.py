"""An atlas of a model's sinks: which tokens, of which kind and level, what forms them, and what attention gives them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..core.call import Site
from ..measure import QueryCount
from .activations import blocks_read
from .inputs import Inputs
from .massive import MassiveActivation, massive_activations
from .sink_evidence import SinkEvidence
from .sink_levels import Level, SinkRule, SinkToken, Window, find_levels, find_primary, find_sinks, find_window

if TYPE_CHECKING:
    from .lens import Lens

FORMING = ("attn_out", "mlp_in", "mlp_mid", "mlp_out")
FORMED = (*FORMING, "mlp_along", "mlp_norm")
ATTENTION = ("weight", "relative_weight", "sink_heads", "key_norm", "value_norm", "query_key_cosine")
SINK = 0.3


@dataclass(frozen=True, eq=False)
class TextSinks:
    """The sinks of one text.

    `primary` is the place of the primary sink among the tokens, None where no token becomes massive; then there is no window
    and no sink. `massive` are the massive activations, each where it is largest, with the layer behind which that is. `tables`
    [layer, token] are, behind each layer: the `norm` of the residual stream and its `cosine` with the primary sink's; `attn_out`,
    `mlp_in`, `mlp_mid` and `mlp_out`, cosines of these activations with the primary sink's, `mlp_along` and `mlp_norm`, the
    cosine of the feed-forward layer's output with the residual stream of the primary sink and its norm over that one's; in each
    layer, means over heads: `weight` that a token gets from the queries that see it, `relative_weight`, that over what the
    primary sink gets from the same queries, `sink_heads`, the share of heads in which `weight` is above 0.3, `key_norm` and
    `value_norm`, over the median of the text, and `query_key_cosine`. The feed-forward layer's output is what its module returns,
    before a norm that follows it, as in Gemma 2; its three tables are missing where the module adds the residual stream itself,
    as in BLOOM.
    """

    tokens: list[str]
    primary: int | None
    window: Window | None
    sinks: list[SinkToken]
    massive: list[tuple[int, MassiveActivation]]
    tables: dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class SinkAtlas:
    """The sinks of all texts, and the numbers of the layers that the rows of their tables are of."""

    texts: list[TextSinks]
    layers: tuple[int, ...]

    @property
    def depth(self) -> int:
        """How many layers the model has."""
        return self.layers[-1] + 1

    @property
    def secondary(self) -> list[SinkToken]:
        """The secondary sinks of all texts."""
        return [sink for text in self.texts for sink in text.sinks if sink.kind == "secondary"]

    @property
    def share(self) -> float:
        """The share of texts that have a secondary sink."""
        return sum(any(sink.kind == "secondary" for sink in text.sinks) for text in self.texts) / len(self.texts)

    def levels(self, fewest: int = 10, share: float = 0.05) -> list[Level]:
        """Return the levels of the secondary sinks, as `find_levels`."""
        return find_levels(self.secondary, self.depth, fewest, share)

    def rows(self) -> list[dict[str, str | float | int]]:
        """Return a row for each sink, as for `pandas.DataFrame`: token, kind, level, and the tables where it is formed.

        What attention shows of it, from `weight` on, is of the layer after; NaN where there is none.
        """
        found: list[dict[str, str | float | int]] = []
        for number, text in enumerate(self.texts):
            if text.primary is None or text.window is None:
                continue
            first = SinkToken(text.primary, "primary", tuple(range(text.window.start, text.window.end)), 1.0)
            for sink in [first, *text.sinks]:
                row: dict[str, str | float | int] = {
                    "text": number, "token": sink.token, "name": text.tokens[sink.token], "kind": sink.kind,
                    "start": sink.start, "start_fraction": sink.start / self.depth, "lifetime": sink.lifetime,
                    "norm": sink.norm,
                }  # fmt: skip
                place = self.layers.index(sink.start)
                names = (*FORMED, *ATTENTION)
                found.append(row | {name: told_at(text.tables, name, place, sink.token) for name in names})
        return found


def told_at(tables: Mapping[str, Tensor], name: str, place: int, token: int) -> float:
    """Return what a table of `TextSinks` says of a sink that begins behind the layer at `place`.

    What attention shows of it is of the layer after; NaN where there is none.
    """
    table = tables.get(name)
    place += name in ATTENTION
    return float("nan") if table is None or place >= len(table) else float(table[place, token])


@torch.no_grad()
def sink_atlas(
    lens: "Lens", texts: Iterable[Any], *, candidates: int = 2, rule: SinkRule | None = None, part: str | None = None
) -> SinkAtlas:
    """Return the sinks of texts, in one pass over each, and what the residual stream and attention show of each token.

    `texts` are what `lens.encode` takes, one each. The primary sink is the one of the first `candidates` tokens with the largest
    norm: 2, or 3 with a chat template. Nothing of a layer is kept but numbers per token. Source: arXiv 2512.22213, whose paper's
    body was not available: the steps are those of its code. Raises ValueError for no texts, for several in one, and for a model
    whose attention stands in no list of blocks.
    """
    found: list[TextSinks] = []
    sites: list[Site] = []
    for text in texts:
        x = lens.encode(text)
        if (count := len(x.tokens)) != 1:
            raise ValueError(f"an atlas takes texts one by one, and this is a batch of {count}")
        sites = sites or lens.measure(x, [QueryCount()], part=part).sites
        found.append(_read(lens, x, sites, candidates, rule or SinkRule(), part))
    if not found:
        raise ValueError("an atlas is of texts, and there are none")
    return SinkAtlas(found, tuple(site.layer for site in sites))


def _read(lens: "Lens", x: Inputs, sites: list[Site], candidates: int, rule: SinkRule, part: str | None) -> TextSinks:
    valid = x.valid[0]

    def own(stream: Tensor) -> Tensor | None:
        flat = stream.reshape(-1, stream.shape[-1])
        return flat[valid.to(flat.device)] if len(flat) == len(valid) else None

    streams = Streams(sites, own, candidates)
    with streams.read(lens.model):
        evidence = lens.measure(x, [SinkEvidence(candidates)], part=part)["sink_evidence"].examples[0]
    per_token = evidence[:, :, valid] if evidence.shape[2] == len(valid) else evidence
    tokens = [token for token, real in zip(x.tokens[0], valid.tolist(), strict=True) if real]
    primary, window, sinks = streams.sinks(rule)
    tables = streams.tables(primary) | attention_tables(per_token, primary)
    return TextSinks(tokens, primary if window else None, window, sinks, streams.massive(), tables)


@dataclass
class Streams:
    """Activations of one text, reduced to norms and cosines with the first tokens as they come by, layer by layer.

    `own` takes the tokens that count, [token, width], from an activation; None where it has others.
    """

    sites: list[Site]
    own: Callable[[Tensor], Tensor | None]
    candidates: int = 2
    norms: dict[str, Tensor] = field(default_factory=dict)
    cosines: dict[str, Tensor] = field(default_factory=dict)
    found: list[tuple[int, MassiveActivation]] = field(default_factory=list)
    _written: Tensor | None = None

    @contextmanager
    def read(self, model: torch.nn.Module, forming: Sequence[str] = FORMING) -> Iterator[None]:
        """Read while the model runs once: the residual streams, and what forms them.

        Raises ValueError where attention stands in no list of blocks.
        """
        paths = {site.layer: (site.path, site.use) for site in self.sites}
        wanted = {layer: ["resid_post"] for layer in paths}
        wanted[self.sites[0].layer] = ["resid_pre", "resid_post"]
        with ExitStack() as stack:
            stack.enter_context(blocks_read(model, paths, wanted, self.keep))
            for kind in forming:
                with suppress(ValueError):  # no feed-forward layer is recognised, or it is a mixture of experts
                    stack.enter_context(blocks_read(model, paths, {layer: [kind] for layer in paths}, self.keep))
            yield

    def keep(self, name: str, stream: Tensor) -> None:
        """Reduce an activation."""
        own = self.own(stream)
        if own is None:
            return
        own = own.float()
        self.norms[name] = own.norm(dim=-1).cpu()
        unit = torch.nn.functional.normalize(own, dim=-1)
        self.cosines[name] = (unit[: self.candidates] @ unit.mT).cpu()
        kind, _, layer = name.partition(".")
        if kind == "mlp_out":
            self._written = unit
        if kind == "resid_post":
            self.found += [(int(layer), one) for one in massive_activations(own)]
            written, self._written = self._written, None
            if written is None:
                return
            fed = f"mlp_out.{layer}"
            if torch.equal(written, unit) and torch.equal(self.norms[fed], self.norms[name]):
                del self.norms[fed], self.cosines[fed]  # as in BLOOM, whose module adds the residual stream itself
            else:
                self.cosines[f"mlp_along.{layer}"] = (unit[: self.candidates] @ written.mT).cpu()

    def sinks(self, rule: SinkRule) -> tuple[int, Window | None, list[SinkToken]]:
        """Return the place of the candidate for a primary sink, its window, and the other sinks, by layer numbers."""
        norms = self._stack(self.norms, "resid_post")
        if norms is None:
            return 0, None, []
        primary = find_primary(norms, self.candidates)
        with_first = torch.cat([self.norms[f"resid_pre.{self.sites[0].layer}"][None], norms])
        others = torch.cat([with_first[:, :primary], with_first[:, primary + 1 :]], 1)
        window = find_window(with_first[:, primary], others.median(1).values) if others.shape[1] else None
        if window is None:
            return primary, None, []
        cosines = self._stack(self.cosines, "resid_post")
        assert cosines is not None  # it comes with the norms
        numbers = [site.layer for site in self.sites]
        found = find_sinks(cosines[:, primary], norms, primary, window, rule)
        found = [replace(sink, layers=tuple(numbers[place] for place in sink.layers)) for sink in found]
        return primary, Window(numbers[window.start], numbers[window.end - 1] + 1), found

    def tables(self, primary: int) -> dict[str, Tensor]:
        """Return norms and cosines with the primary sink, each [layer, token], of what the model has."""
        found = {}
        if (norms := self._stack(self.norms, "resid_post")) is not None:
            found["norm"] = norms
        for kind in ("resid_post", *FORMING, "mlp_along"):
            if (cosines := self._stack(self.cosines, kind)) is not None:
                found["cosine" if kind == "resid_post" else kind] = cosines[:, primary]
        written = self._stack(self.norms, "mlp_out")
        if norms is not None and written is not None:
            found["mlp_norm"] = written / norms[:, primary, None]
        return found

    def massive(self) -> list[tuple[int, MassiveActivation]]:
        """Return the massive activations, each dimension of a token once, where it is strongest, strongest first."""
        best: dict[tuple[int, int], tuple[int, MassiveActivation]] = {}
        for layer, one in sorted(self.found, key=lambda each: -each[1].ratio):
            best.setdefault((one.token, one.dim), (layer, one))
        return list(best.values())

    def _stack(self, kept: dict[str, Tensor], kind: str) -> Tensor | None:
        """Stack what was kept of all layers, [layer, ...]; None if any is missing."""
        there = [kept.get(f"{kind}.{site.layer}") for site in self.sites]
        return None if any(one is None for one in there) else torch.stack([one for one in there if one is not None])


def attention_tables(evidence: Tensor, primary: int) -> dict[str, Tensor]:
    """Return the tables of `TextSinks` that attention shows, [layer, token], from `SinkEvidence`, [layer, head, token, entry]."""
    weight, keys, values, cosine = evidence[..., :4].unbind(-1)
    over = (weight > SINK).float().masked_fill(weight.isnan(), torch.nan)
    relative = weight.nanmean(1) / evidence[..., 4 + primary].nanmean(1)
    norms = (one / one.nanmedian(-1, keepdim=True).values for one in (keys, values))
    found = [weight.nanmean(1), relative, over.nanmean(1), *(one.nanmean(1) for one in norms), cosine.nanmean(1)]
    return dict(zip(ATTENTION, found, strict=True))

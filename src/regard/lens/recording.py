"""What attention does while a model generates: one row per emitted token, the prompt apart."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..core.call import Call, Site
from ..core.patchwork import Patchwork
from ..core.planner import together
from ..core.protocols import Statistic
from ..core.reduce import Reducer
from ..core.session import Session
from ..core.where import Where
from .results import Measurement, gather


class Recording:
    """Statistics of each token that a run emits, filled while the context of `Lens.record` lasts.

    `rec["entropy"]` is [example, token, layer, head]: a token's row is the attention of the query that emitted it, so the first
    is that of the prompt's last token. Rejected candidates are followed, so that rows are those of the tokens that stayed. A
    beam search has a row for each sequence that it returned, NaN behind its end. `prompt` is a measurement of the prompt's rows.
    """

    def __init__(self, statistics: Sequence[Statistic], where: Where) -> None:
        wrong = [s.name for s in statistics if s.axes != ("layer", "head")]
        if wrong or not statistics:
            raise ValueError(
                f"{wrong or 'nothing'} cannot be recorded: statistics with one number per layer and head can"
            )
        self._statistics = list(statistics)
        self._where = where
        self._sites: set[Site] = set()
        self._prompts: dict[Site, list[Reducer]] = {}
        self._emitted: dict[Session, dict[Site, dict[int, dict[str, Tensor]]]] = {}

    @property
    def sites(self) -> list[Site]:
        """What the layer axis runs over."""
        return sorted(self._sites, key=lambda site: (site.layer, site.use, site.role))

    @property
    def prompt(self) -> Measurement:
        """Statistics of the prompt's rows, [layer, head], over all runs and examples; raises ValueError if none came by."""
        if not self._prompts:
            raise ValueError("nothing was recorded: no prompt was read while recording")
        results = [
            gather(statistic, self.sites, {site: self._prompts[site][place] for site in self.sites})
            for place, statistic in enumerate(self._statistics)
        ]
        return Measurement(self.sites, {result.name: result for result in results}, float("nan"))

    def __getitem__(self, name: str) -> Tensor:
        if name not in {statistic.name for statistic in self._statistics}:
            raise KeyError(f"no statistic {name!r} was recorded; there are {[s.name for s in self._statistics]}")
        runs = [run for run in (self._run(session, name) for session in self._emitted) if run is not None]
        if not runs:
            raise ValueError("nothing was recorded: no tokens were emitted while recording")
        return torch.cat(runs) if len({run.shape[1:] for run in runs}) == 1 else torch.nested.as_nested_tensor(runs)

    def note(self, call: Call, patchwork: Patchwork) -> None:
        """Take in one call; raises ValueError where the model was given no tokens."""
        if not self._where.at(call.site):
            return
        session = call.session
        if session.length == 0:
            raise ValueError(
                "this model was given no tokens, and a recording has a row for each token that is emitted: measure its inputs "
                "with lens.measure, or edit its steps inside lens.run"
            )
        self._sites.add(call.site)
        prompt = min(max(session.prompt - call.q_index, 0), call.op.q_len)
        if prompt:
            reducers = self._prompts.setdefault(call.site, [statistic.reducer() for statistic in self._statistics])
            values = self._values(call, patchwork, (0, prompt))
            for reducer, statistic in zip(reducers, self._statistics, strict=True):
                reducer.add(values[statistic.name])
        emitted = self._emitted.setdefault(session, {}).setdefault(call.site, {})
        state = session.state(self, call.site)
        first = max(session.prompt - 1 - call.q_index, 0)
        for row in range(first, call.op.q_len):
            index = call.q_index + row
            values = self._values(call, patchwork, (row, row + 1))
            emitted[index] = {name: value.cpu() for name, value in values.items()}
            state[str(index)] = torch.arange(call.op.batch)  # the session lets it follow what is done to the rows

    def _values(self, call: Call, patchwork: Patchwork, rows: tuple[int, int]) -> dict[str, Tensor]:
        part = call.select(None, rows)
        found = together({s.name: s.plan(part) for s in self._statistics}, patchwork.select(None, rows))
        return {name: value.detach() for name, value in found.items()}

    def _run(self, session: Session, name: str) -> Tensor | None:
        """Return one run's rows of a statistic, [example, token, layer, head]."""
        layers: list[Tensor] = []
        for site in self.sites:
            emitted, state = self._emitted[session].get(site, {}), session.state(self, site)
            rows = {index: state[str(index)] for index in sorted(emitted) if index < session.length}
            if not rows:
                return None
            if session.beams is not None:
                rows = dict(enumerate(session.beams.cpu().unbind(1), session.prompt - 1))
            layers.append(torch.stack([_taken(emitted[index][name], of) for index, of in rows.items()], 1))
        return torch.stack(layers, 2)


def _taken(values: Tensor, rows: Tensor) -> Tensor:
    """Return these rows of [row, head], NaN for -1."""
    return values[rows].masked_fill(rows[:, None] < 0, torch.nan)

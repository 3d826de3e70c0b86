"""What attention does while a model generates: one row per emitted token, the prompt apart."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..core.call import Call, Site
from ..core.patchwork import Patchwork
from ..core.planner import together
from ..core.protocols import Statistic
from ..core.session import Session
from ..core.where import Where
from .results import Measurement, gather


class Recording:
    """Statistics of each token that a run emits, filled while the context of `Lens.record` lasts.

    `rec["entropy"]` is [example, token, layer, head]: a token's row is the attention of the query that emitted it, so the first
    is that of the prompt's last token. Beams and rejected candidates are followed, so that rows are those of the tokens that
    stayed. `prompt` is a measurement of the prompt's rows.
    """

    def __init__(self, statistics: Sequence[Statistic], where: Where) -> None:
        wrong = [s.name for s in statistics if s.axes != ("layer", "head")]
        if wrong or not statistics:
            raise ValueError(
                f"{wrong or 'nothing'} cannot be recorded: statistics with one number per layer and head can"
            )
        self._statistics = list(statistics)
        self._where = where
        self._sessions: list[Session] = []
        self._sites: dict[Site, list[object]] = {}

    @property
    def sites(self) -> list[Site]:
        """What the layer axis runs over."""
        return sorted(self._sites, key=lambda site: (site.layer, site.use, site.role))

    @property
    def prompt(self) -> Measurement:
        """Statistics of the prompt's rows, [layer, head], over all runs and examples."""
        results = [
            gather(statistic, self.sites, {site: self._sites[site][place] for site in self.sites})  # type: ignore[misc]
            for place, statistic in enumerate(self._statistics)
        ]
        return Measurement(self.sites, {result.name: result for result in results}, float("nan"))

    def __getitem__(self, name: str) -> Tensor:
        if name not in {statistic.name for statistic in self._statistics}:
            raise KeyError(f"no statistic {name!r} was recorded; there are {[s.name for s in self._statistics]}")
        runs = [run for run in (self._run(session, name) for session in self._sessions) if run is not None]
        if not runs:
            raise ValueError("nothing was recorded: no tokens were emitted while recording")
        return torch.cat(runs) if len({run.shape[1:] for run in runs}) == 1 else torch.nested.as_nested_tensor(runs)

    def note(self, call: Call, patchwork: Patchwork) -> None:
        """Take in one call."""
        if not self._where.at(call.site):
            return
        if call.site not in self._sites:
            self._sites[call.site] = [statistic.reducer() for statistic in self._statistics]
        session = call.session
        if session not in self._sessions:
            self._sessions.append(session)
        prompt = min(max(session.prompt - call.q_index, 0), call.op.q_len)
        if prompt:
            values = self._values(call, patchwork, (0, prompt))
            for reducer, value in zip(self._sites[call.site], values, strict=True):
                reducer.add(value)  # type: ignore[attr-defined]
        state = session.state(self, call.site)
        first = max(session.prompt - 1 - call.q_index, 0)
        for row in range(first, call.op.q_len):
            for statistic, value in zip(self._statistics, self._values(call, patchwork, (row, row + 1)), strict=True):
                state[f"{call.q_index + row}:{statistic.name}"] = value.detach().cpu()

    def _values(self, call: Call, patchwork: Patchwork, rows: tuple[int, int]) -> list[Tensor]:
        part = call.select(None, rows)
        found = together({s.name: s.plan(part) for s in self._statistics}, patchwork.select(None, rows))
        return [found[statistic.name] for statistic in self._statistics]

    def _run(self, session: Session, name: str) -> Tensor | None:
        """Return one run's rows of a statistic, [example, token, layer, head]."""
        layers: list[Tensor] = []
        for site in self.sites:
            state = session.state(self, site)
            rows = sorted(int(key.partition(":")[0]) for key in state if key.endswith(f":{name}"))
            kept = [state[f"{row}:{name}"] for row in rows if row < session.length]
            if not kept:
                return None
            layers.append(torch.stack(kept, 1))
        return torch.stack(layers, 2)

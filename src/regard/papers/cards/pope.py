"""POPE on a model of the user's: questions whether an object is in an image, answered by the first word."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...lens import Lens, attach
from .card import Setting

Around = Callable[[Mapping[str, Any]], AbstractContextManager[Any]]
"""What a model answers within, given the inputs of one question."""


@dataclass(frozen=True, eq=False)
class Pope:
    """Questions in the order of their file, each with `text`, `image` (a file in the folder) and `label`, yes or no."""

    lens: Lens
    questions: Sequence[Mapping[str, str]]
    folder: Path

    @property
    def truth(self) -> Tensor:
        """Which questions have the answer yes, [question] bool."""
        return torch.tensor([question["label"].lower() == "yes" for question in self.questions])

    @torch.no_grad()
    def said(self, around: Around = lambda x: nullcontext(), before: str = "") -> tuple[Tensor, Tensor]:
        """Return which questions the model answers with yes and how probable its first token was, both [question].

        Each question is answered within `around` its inputs, and put behind the text `before`.
        """
        yes, sure = [], []
        for question in self.questions:
            text = f"{before}{question['text']} Answer with yes or no."
            content = [{"type": "image", "path": str(self.folder / question["image"])}, {"type": "text", "text": text}]
            x = self.lens.encode([{"role": "user", "content": content}])
            with around(x):
                out: Any = self.lens.model.generate(  # type: ignore[operator]
                    **x, max_new_tokens=3, do_sample=False, output_logits=True, return_dict_in_generate=True
                )
            words = self.lens.processor.batch_decode(out.sequences[:, x["input_ids"].shape[1] :])[0]
            yes.append(words.strip().lower().startswith("yes"))
            sure.append(out.logits[0][0].float().softmax(-1).max().item())
        return torch.tensor(yes), torch.tensor(sure)

    def f1(self, said: Tensor) -> float:
        """Return 100 times F1 of yes, of answers [question] bool."""
        return 200 * int((said & self.truth).sum()) / max(int(said.sum() + self.truth.sum()), 1)


def pope(setting: Setting) -> Pope:
    """Load the setting's model, and the questions of its data: 50 of them for a quick run.

    Raises ValueError if no file of questions is given.
    """
    from transformers import AutoModelForImageTextToText, AutoProcessor

    if setting.data is None:
        raise ValueError(
            'give --data a file of questions, a JSON object a line: {"image": "a.jpg", "text": "Is there ...?", "label": '
            '"yes"}, with images beside it'
        )
    assert setting.model is not None
    questions = [
        json.loads(line) for line in Path(setting.data).read_text(encoding="utf-8").splitlines() if line.strip()
    ]
    processor = AutoProcessor.from_pretrained(setting.model)
    model = AutoModelForImageTextToText.from_pretrained(setting.model, dtype="auto").to(setting.device).eval()
    return Pope(attach(model, processor), questions[:50] if setting.quick else questions, Path(setting.data).parent)

"""Options that several verbs have: how a model is loaded, what it is given, and where results go."""

from pathlib import Path
from typing import Annotated

import typer

from ._load import Dtype

Texts = Annotated[
    list[str] | None,
    typer.Option(
        "--text",
        metavar="FILE",
        help="A file is one text; '-' is standard input; give several.",
        show_default="a built-in sample",
    ),
]
Messages = Annotated[
    list[Path] | None,
    typer.Option("--messages", metavar="FILE", help="Conversations, one a line, as JSON lists of messages."),
]
Data = Annotated[
    list[Path] | None,
    typer.Option("--data", metavar="FILE", help=".jsonl or .parquet with text or messages; .txt, one text a line."),
]
Images = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Images, for models that see; those that read are asked about each.")
]
Json = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the numbers, too.")]
MaxTokens = Annotated[int | None, typer.Option(min=2, help="Cut longer texts.", show_default="what the model can take")]
BatchSize = Annotated[int, typer.Option(min=1, help="Texts that run together, at most.")]
Precision = Annotated[Dtype, typer.Option(help="Precision to load the model in.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, ...", show_default="cuda if there is one")]
DeviceMap = Annotated[
    str | None, typer.Option(metavar="MAP", help="auto, balanced, ...: spread the model over devices.")
]
Adapter = Annotated[str | None, typer.Option(metavar="ADAPTER", help="A PEFT adapter: local folder or hub name.")]
FourBit = Annotated[bool, typer.Option("--load-in-4bit", help="Quantise the weights while loading.")]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit on the hub.")]
RemoteCode = Annotated[bool, typer.Option("--trust-remote-code", help="Let the model's own code run.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only the paths of what was written.")]

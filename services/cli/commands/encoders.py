"""The command that writes an encoder for other runtimes: export-encoder."""

from pathlib import Path
from typing import Annotated, Any

import typer

from services.cli import options, terminal
from services.cli.completion import encoder_names
from services.cli.options import JsonOption, TrustOption

app = typer.Typer()


@app.command(name="export-encoder")
def export_encoder(
    name: Annotated[
        str, typer.Argument(help="The encoder, for example lite0.", show_default=False, autocompletion=encoder_names)
    ],
    folder: Annotated[Path, typer.Argument(help="The folder to make.", show_default=False)],
    trust_checkpoint: TrustOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write an encoder's networks as ONNX files in fp32, for other runtimes.

    Each file is tried in ONNX Runtime before the folder appears. Needs the extra `export`.
    """
    from embedder import registry
    from embedder.engines import onnx as export

    settings = options.settings(trust_checkpoint=trust_checkpoint)
    encoder = registry.load(name, **settings.loading | {"backend": "torch-cpu-fp32"})
    spec = export.export(encoder, folder)
    if as_json:
        terminal.show({"folder": folder, **spec}, as_json=True)
        return
    rows = [(each["file"], *_shapes(each), f"{each['cosine']:.6f}") for each in spec["networks"].values()]
    terminal.table(("file", "inputs", "outputs", "cosine to torch"), rows, f"{name} in {folder}")


def _shapes(network: dict[str, Any]) -> tuple[str, str]:
    """Return the inputs and the outputs as text, each like ``pixels uint8 (n, 224, 224, 3)``."""

    def text(tensor: dict[str, Any]) -> str:
        return f"{tensor['name']} {tensor['dtype']} ({', '.join(map(str, tensor['shape']))})"

    inputs, outputs = (", ".join(map(text, network[side])) for side in ("inputs", "outputs"))
    return inputs, outputs

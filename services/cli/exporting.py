"""The command that takes an encoder out of here: export-encoder."""

from pathlib import Path
from typing import Annotated, Any

import typer

from services.cli import output
from services.cli.output import JsonOption

app = typer.Typer()


@app.command(name="export-encoder")
def export_encoder(
    name: Annotated[str, typer.Argument(help="encoder name, e.g. lite0")],
    folder: Annotated[Path, typer.Argument(help="folder to make")],
    as_json: JsonOption = False,
) -> None:
    """Write an encoder's networks as ONNX, in fp32, for other runtimes; each is tried in ONNX Runtime first."""
    from embedder import registry
    from embedder.engines import onnx as export

    settings = output.settings()
    encoder = registry.load(name, **settings.loading | {"backend": "torch-cpu-fp32"})
    spec = export.export(encoder, folder)
    if as_json:
        output.show({"folder": folder, **spec}, as_json=True)
        return
    rows = [(each["file"], *_shapes(each), f"{each['cosine']:.6f}") for each in spec["networks"].values()]
    output.table(("file", "inputs", "outputs", "cosine to torch"), rows, f"{name} in {folder}")


def _shapes(network: dict[str, Any]) -> tuple[str, str]:
    """Inputs and outputs, each as ``pixels uint8 (n, 224, 224, 3)``."""

    def told(tensor: dict[str, Any]) -> str:
        return f"{tensor['name']} {tensor['dtype']} ({', '.join(map(str, tensor['shape']))})"

    inputs, outputs = (", ".join(map(told, network[side])) for side in ("inputs", "outputs"))
    return inputs, outputs

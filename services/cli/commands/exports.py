"""Commands that write encoders and heads for other runtimes: export-encoder, export-head."""

from pathlib import Path
from typing import Annotated, Any

import typer

from services.cli import options, terminal
from services.cli.completion import encoder_names, head_names
from services.cli.options import HeadsOption, JsonOption, OverwriteOption, StoreOption, TrustOption

app = typer.Typer()

SIDES = ("inputs", "outputs")


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


@app.command(name="export-head")
def export_head(
    head: Annotated[
        str,
        typer.Option(
            "--head", metavar="NAME", help="The head: name, name@alias or name@version.", autocompletion=head_names
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The file to make, for example mine.onnx.")],
    with_encoder: Annotated[
        bool, typer.Option("--with-encoder", help="Put the encoder before the head: pixels in, probabilities out.")
    ] = False,
    overwrite: OverwriteOption = False,
    trust_checkpoint: TrustOption = None,
    store: StoreOption = None,
    heads: HeadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a trained head as one ONNX file for other runtimes: vectors in, calibrated probabilities out.

    The file is tried in ONNX Runtime on stored vectors; if a probability differs from the head's own, it is not
    written. The names of the classes are in its metadata. Needs the extra `export`.
    """
    from classifiers.published.registry import Registry
    from services.jobs import export_head as job

    settings = options.settings(store=store, heads=heads, trust_checkpoint=trust_checkpoint)
    published = Registry(settings.heads).load(head)
    encoder = None
    if with_encoder:
        from embedder import registry

        name = published.manifest.encoders[0].name
        encoder = registry.load(name, **settings.loading | {"backend": "torch-cpu-fp32"})
    found = job.export_head(options.open_store(settings), published, out, encoder, overwrite=overwrite)
    if as_json:
        terminal.show(found, as_json=True)
        return
    ports = {side: ", ".join(f"{name} ({_sizes(shape)})" for name, shape in found[side].items()) for side in SIDES}
    terminal.show({**found, **ports, "largest_difference": f"{found['largest_difference']:.1g}"}, as_json=False)


def _sizes(shape: list[str | int]) -> str:
    return ", ".join(map(str, shape))


def _shapes(network: dict[str, Any]) -> tuple[str, str]:
    """Return the inputs and the outputs as text, each like ``pixels uint8 (n, 224, 224, 3)``."""

    def text(tensor: dict[str, Any]) -> str:
        return f"{tensor['name']} {tensor['dtype']} ({', '.join(map(str, tensor['shape']))})"

    inputs, outputs = (", ".join(map(text, network[side])) for side in ("inputs", "outputs"))
    return inputs, outputs

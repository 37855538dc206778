"""The commands that repeat the experiments of four papers on the rows of a store, one file for each paper."""

import typer

from services.cli.commands.reproduce import backbones, clip_decoder, gmm, mlcd

ABOUT = "Repeat the experiments of a paper on the rows of a task, beside the figures that the paper printed."
reproduce_app = typer.Typer(help=ABOUT, short_help=ABOUT, no_args_is_help=True)

for each in (
    backbones.app,
    clip_decoder.app,
    gmm.app,
    mlcd.app,
):
    reproduce_app.registered_commands += each.registered_commands

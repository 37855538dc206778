"""Commands about keys, which services ask for: keys new, keys list."""

from enum import StrEnum
from typing import Annotated

import typer

from services.cli import options, terminal
from services.cli.options import JsonOption

ABOUT = "Make the keys that services ask for, and list them."
keys_app = typer.Typer(help=ABOUT, short_help=ABOUT, no_args_is_help=True)


class RoleName(StrEnum):
    """The roles that a key can have."""

    read = "read"
    write = "write"
    admin = "admin"


@keys_app.command()
def new(
    role: Annotated[
        RoleName,
        typer.Option(
            "--role",
            help="What the key may do. read: ask. write: also store assets and labels, and start backfills. admin: "
            "also point aliases at heads, and see the paths of the server.",
        ),
    ],
    name: Annotated[
        str | None,
        typer.Option(
            "--name", metavar="NAME", help="The name of the key in logs and messages.", show_default="the role"
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate",
            metavar="N",
            min=0,
            help="The most requests per second; 0 for no limit.",
            show_default=options.default_of("key_rate"),
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key and print it, once, with the line by which services know it.

    The line has only a digest, and goes into the file that HEADWATER_KEYS names. Services read it when they start.
    """
    from services.web.access import keys

    secret, key = keys.make(role.value if name is None else name, keys.Role[role.value], rate)
    if not keys.LINE.fullmatch(key.line):
        raise typer.BadParameter(f"--name {name!r}: give 1 to 64 letters, digits, _, - and .")
    if as_json:
        terminal.show({"key": secret, "line": key.line}, as_json=True)
        return
    terminal.pairs({"key, shown only now": secret, "line for HEADWATER_KEYS": key.line})


@keys_app.command("list")
def list_(as_json: JsonOption = False) -> None:
    """List the keys of HEADWATER_KEYS, each with the start of its digest."""
    from services.web.access.keys import read_keys

    settings = options.settings()
    found = read_keys(settings.keys, settings.key_rate)
    if as_json:
        shown = [{"name": key.name, "role": key.role.name, "rate": key.rate, "digest": key.digest} for key in found]
        terminal.show({"keys": shown}, as_json=True)
        return
    rows = [(key.name, key.role.name, f"{key.rate:g}/s" if key.rate else "no limit", key.digest[:12]) for key in found]
    terminal.table(("key", "role", "rate", "digest"), rows)

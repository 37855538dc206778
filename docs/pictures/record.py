"""Records README's picture: runs `headwater demo` and one curl, and draws what they printed as a terminal.

    python docs/pictures/record.py

Writes demo.svg (the picture) and demo.txt (the same as text) beside this file, and puts the table of heads into README
between its two `recorded` marks. Nothing is invented: every line but the prompts is output. Run it on an idle machine.
"""

import os
import pty
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.text import Text

HERE = Path(__file__).parent
README = HERE.parents[1] / "README.md"
MARK = "<!-- recorded -->"
COLUMNS = 100
DEMO = [sys.executable, "-m", "services.cli", "demo", "--keep"]


def lines_of_a_terminal(command: list[str]) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Each line that `command` prints to a terminal, with its colours, and the process. Progress bars are left out."""
    outer, inner = pty.openpty()
    environment = os.environ | {"COLUMNS": str(COLUMNS), "TERM": "xterm-256color"}
    process = subprocess.Popen(command, stdout=inner, stderr=subprocess.DEVNULL, env=environment)  # noqa: S603
    os.close(inner)
    with os.fdopen(outer, errors="replace") as output:
        try:
            for line in output:
                yield line.rstrip(), process
        except OSError:  # Linux says so when the other end of a terminal is closed
            return


def record() -> list[str]:
    """Every line of the session, the prompts included."""
    session, curl = ["$ headwater demo"], ""
    for line, demo in lines_of_a_terminal(DEMO):
        plain = Text.from_ansi(line).plain
        if plain.startswith("still serving"):
            continue
        if plain.startswith("curl "):
            curl = plain
            session += ["", *ask(curl)]
            demo.terminate()
            continue
        session.append(line)
    if not curl:
        raise SystemExit("the demo has ended before it served; run it alone to see why")
    return session


def ask(curl: str) -> list[str]:
    """The command that the demo prints, typed in the folder of its photo, and the answer."""
    photo = Path(re.findall(r"@(\S+)", curl)[0])
    typed = curl.replace(str(photo), photo.name).replace("curl", "curl --silent", 1)
    done = subprocess.run(shlex.split(typed), cwd=photo.parent, capture_output=True, check=True)  # noqa: S603
    return [f"$ {typed}", *done.stdout.decode().splitlines()]


def draw(session: list[str]) -> Console:
    screen = Console(record=True, width=COLUMNS, file=open(os.devnull, "w"), highlight=False)  # noqa: SIM115
    for line in session:
        screen.print(Text(line, "bold green") if line.startswith("$ ") else Text.from_ansi(line))
    return screen


def with_heads(readme: str, text: str) -> str:
    """README with the demo's table of heads between its marks."""
    heads = re.findall(r"^head .*?^CNN.*?$", text, re.MULTILINE | re.DOTALL)[0]
    before, _, after = readme.split(MARK)
    return f"{before}{MARK}\n```\n{heads}\n```\n{MARK}{after}"


def main() -> None:
    session = record()
    screen = draw(session)
    text = "\n".join(line.rstrip() for line in screen.export_text(clear=False).splitlines()) + "\n"
    (HERE / "demo.txt").write_text(text)
    svg = screen.export_svg(title="headwater demo")
    (HERE / "demo.svg").write_text(
        re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    )  # no font from the network
    README.write_text(with_heads(README.read_text(), text))


if __name__ == "__main__":
    main()

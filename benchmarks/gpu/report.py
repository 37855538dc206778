"""Write the record of a run as a page: what was asked, what was reached, and every table.

python -m benchmarks.gpu.report benchmarks/results/gpu.json > benchmarks/results/gpu.md
"""

import argparse
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.gpu.record import Record, Row, find, shown, table

LARGE, SMALL = ("ViT-L/14", "ViT-H/14"), ("ViT-B/32", "lite0")
MAIN = 256
"""The batch at which modes are compared."""


def page(record: Record) -> str:
    """Return the page in Markdown."""
    machine = "\n".join(f"- {name}: {value}" for name, value in record.content["machine"].items() if value)
    parts = [f"# A GPU, measured\n\nBy `python -m benchmarks.gpu`.\n\n{machine}\n\n## Asked and reached\n"]
    parts.append(table([{"what": what, "asked": asked, "reached": found} for what, asked, found in _goals(record)]))
    forward = record.rows("forward")
    encoders = record.rows("endtoend")
    sections: dict[str, list[Row]] = {
        "Ceilings": record.rows("ceilings"),
        f"Encoders alone, {MAIN} images a batch": [
            _without(row, "batch") for row in forward if row.get("batch") == MAIN and "images/s" in row
        ],
        "The engine, images/s by batch": pivot(
            [row for row in forward if row.get("mode") == "engine"], "network", "batch", "images/s"
        ),
        "One image, ms": pivot([row for row in forward if row.get("batch") == 1], "network", "mode", "ms"),
        "Worst cosine to vectors in fp32, random weights and pixels": [
            _without(row, "mode") for row in forward if "worst" in str(row.get("mode"))
        ],
        "From JPEG bytes in the store to vectors in it, and over HTTP": pivot(
            [row for row in encoders if "value" in row], "what", "encoder", "value", cell=_with_unit
        ),
        "Training": record.rows("training"),
        "Tests": record.rows("tests"),
    }
    for title, rows in sections.items():
        if rows:
            parts.append(f"\n## {title}\n\n{table(rows)}")
    return "\n".join(parts) + "\n"


def pivot(rows: list[Row], down: str, across: str, value: str, cell: Callable[[Row], Any] | None = None) -> list[Row]:
    """Return a row for each value of `down`, with a column for each value of `across`."""
    found: dict[Any, Row] = {}
    for row in rows:
        if value in row:
            line = found.setdefault(row[down], {down: row[down]})
            line[str(row[across])] = cell(row) if cell else row[value]
    return list(found.values())


def _with_unit(row: Row) -> str:
    number = f"{shown(row['value'])} {row.get('unit', '')}".strip()
    return f"{number} ({row['note']})" if row.get("note") else number


def _without(row: Row, name: str) -> Row:
    return {key: value for key, value in row.items() if key != name}


def _goals(record: Record) -> Iterator[tuple[str, str, str]]:
    """Yield what was asked of a card, how much, and what this one reached."""
    forward, encoders = record.rows("forward"), record.rows("endtoend")

    def speed(network: str, mode: str, value: str = "images/s") -> float | None:
        row = find(forward, network=network, mode=mode, batch=MAIN)
        return None if row is None or value not in row else float(row[value])

    def over(network: str, mode: str, other: str) -> float | None:
        a, b = speed(network, mode), speed(network, other)
        return None if a is None or b is None else a / b

    def of(encoder: str, what: str) -> float | None:
        row = find(encoders, encoder=encoder, what=what)
        return None if row is None else float(row["value"])

    def each(names: tuple[str, ...], value: Callable[[str], float | None], form: str = "{:.2f}") -> str:
        found: Mapping[str, float | None] = {name: value(name) for name in names}
        if all(x is None for x in found.values()):
            return "not measured"
        return "; ".join(f"{name} {form.format(x) if x is not None else 'not measured'}" for name, x in found.items())

    share = "share of bf16 product"
    yield "forward in bf16 ÷ the card's bf16 matrix product", "0.55", each(LARGE, lambda n: speed(n, "engine", share))
    every = LARGE + SMALL
    yield "forward ÷ open_clip's own in bf16, eager", "1.5", each(every, lambda n: over(n, "engine", "library, eager"))
    yield "… ÷ its torch.compile", "1.05", each(every, lambda n: over(n, "engine", "library, compiled"))
    yield "forward in fp8 ÷ in bf16", "1.3", each(LARGE, lambda n: over(n, "engine, fp8", "engine"))
    ratio = "backfill ÷ slowest alone"
    yield "store to store ÷ the slowest of forward, decoding, writing", "0.90", each(LARGE, lambda n: of(n, ratio))
    yield "the same", "0.75", each(SMALL, lambda n: of(n, ratio))

    def beyond(name: str) -> float | None:
        one, asked = find(forward, network=name, mode="engine", batch=1), of(name, "/classify, 1 client, p50")
        return None if one is None or asked is None else asked - float(one["ms"])

    def share_of_forward(name: str) -> float | None:
        rate, alone = of(name, "/classify, 256 clients"), of(name, "forward alone")
        return None if rate is None or alone is None else rate / alone

    yield "/classify, one client, p50 − forward of one image", "8 ms", each(LARGE[:1], beyond, "{:.1f} ms")
    yield "/classify, 256 clients ÷ forward", "0.70", each(LARGE[:1], share_of_forward)
    yield "dollars for a million images", "printed", each(every, lambda n: of(n, "a million images"), "{:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("record", type=Path)
    print(page(Record.of(parser.parse_args().record)), end="")


if __name__ == "__main__":
    main()

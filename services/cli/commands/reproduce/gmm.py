"""The command that repeats the experiment on Gaussian-mixture heads: dimensions by components, beside plain heads."""

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import options, terminal
from services.cli.options import EncodersOption, JsonOption, SeedOption, SetOption, StoreOption, TaskOption
from services.cli.reproductions import OutOption, reported

if TYPE_CHECKING:
    from classifiers.reproduce.gmm.projected import Size
    from classifiers.reproduce.gmm.study import Study

app = typer.Typer()

SEEDS = 3
"""Default of --seeds, the number of runs of the paper."""


class Norm(StrEnum):
    """What is done to the vectors before PCA."""

    NONE = "none"
    UNIT = "unit"


ShareOption = Annotated[
    list[float] | None,
    typer.Option(
        "--share",
        metavar="SHARE",
        help="Share of the variance that PCA keeps, above 0 and up to 1, for example 0.8. Repeat it for several.",
        show_default="0.2, 0.4, 0.6, 0.8, 0.9, 1",
    ),
]
DimsOption = Annotated[
    list[int] | None,
    typer.Option(
        "--dims",
        metavar="N",
        min=1,
        help="Exact number of principal components, for example 164. Repeat it for several.",
        show_default=False,
    ),
]
ComponentsOption = Annotated[
    list[int] | None,
    typer.Option(
        "--components",
        metavar="N",
        min=1,
        help="Gaussians for each class. Repeat it for several.",
        show_default="1, 2, 4, 8",
    ),
]
HeadOption = Annotated[
    list[str] | None,
    typer.Option(
        "--head",
        metavar="NAME",
        help="Try this head: lda, softmax, dgmmc-s, whitened, sdgm-d or sdgm-f. Repeat it for several.",
        show_default="all",
    ),
]
SeedsOption = Annotated[
    int | None,
    typer.Option(
        "--seeds",
        metavar="N",
        min=1,
        help="Runs on the split test, each with other validation rows.",
        show_default=str(SEEDS),
    ),
]
FoldsOption = Annotated[
    int | None,
    typer.Option(
        "--folds",
        metavar="N",
        min=2,
        help="Instead of --seeds: folds of all rows, each measured once. Whole groups, if the task has groups.",
        show_default=False,
    ),
]
NormOption = Annotated[Norm, typer.Option("--norm", help="What is done to the vectors first: none, or unit norm.")]
WhitenOption = Annotated[bool, typer.Option("--whiten", help="Give every principal component unit variance.")]
MostOption = Annotated[
    int, typer.Option("--most-parameters", metavar="N", min=1, help="Leave out mixtures with more parameters.")
]


@app.command("gmm")
def gmm(
    task: TaskOption,
    encoder: EncodersOption = None,
    share: ShareOption = None,
    dims: DimsOption = None,
    components: ComponentsOption = None,
    head: HeadOption = None,
    seeds: SeedsOption = None,
    folds: FoldsOption = None,
    norm: NormOption = Norm.NONE,
    whiten: WhitenOption = False,
    params: SetOption = None,
    most_parameters: MostOption = 300_000,
    seed: SeedOption = 0,
    out: OutOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Repeat the study of Gaussian-mixture heads (arXiv 2410.13421).

    Tables for DGMMC-S, SDGM-D and SDGM-F by dimensions after PCA and components, beside LDA and softmax, with several
    runs. Dimensions and components are chosen on validation rows; only the chosen heads are measured on test rows.
    --set changes a parameter of the three mixtures.
    """
    if seeds and folds:
        raise typer.BadParameter("--seeds measures the split test, --folds measures all rows; give one of them")
    from classifiers.reproduce.gmm.entrants import chosen
    from classifiers.reproduce.gmm.plan import COMPONENTS, Plan
    from classifiers.reproduce.gmm.result import reproduction
    from classifiers.reproduce.gmm.study import Study
    from classifiers.training.rows.rows import Rows

    plan = Plan(
        sizes=sizes(share or (), dims or ()),
        components=tuple(sorted(set(components or COMPONENTS))),
        entrants=chosen(head),
        seeds=0 if folds else seeds or SEEDS,
        folds=folds or 0,
        norm=norm.value,
        whiten=whiten,
        params=options.parameters(params),
        seed=seed,
        most_parameters=most_parameters,
    )
    opened = options.open_store(options.settings(store=store))
    study = Study(Rows(opened, task, tuple(dict.fromkeys(encoder or ["lite0"])), opened.snapshot()), plan)
    terminal.err.print(f"{study.heads:,} heads to learn: {told(study)}")
    with reported("gmm", lambda: reproduction(study) if study.runs else None, out, as_json=as_json) as bar:
        study.run(terminal.steps(bar))


def sizes(shares: Sequence[float], dims: Sequence[int]) -> "tuple[Size, ...]":
    """Return the numbers of dimensions that are asked for. Raises typer.BadParameter for a share outside 0…1."""
    from classifiers.reproduce.gmm.plan import SHARES
    from classifiers.reproduce.gmm.projected import Size

    if wrong := [each for each in shares if not 0 < each <= 1]:
        raise typer.BadParameter(
            f"--share {wrong[0]:g}: a share is above 0 and at most 1. For 80 % of the variance write --share 0.8, for "
            "80 dimensions --dims 80"
        )
    wanted = shares if shares or dims else SHARES
    return tuple(dict.fromkeys([*(Size(share=each) for each in wanted), *(Size(count=each) for each in dims)]))


def told(study: "Study") -> str:
    """Return how the number of heads comes about."""
    runs, encoders, sizes = len(study.divisions), len(study.source.encoders), len(study.plan.sizes)
    each = study.heads // (runs * encoders * sizes)
    return f"{runs} run(s) × {encoders} encoder(s) × {sizes} number(s) of dimensions × {each} heads"

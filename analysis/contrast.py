"""Draw the curves of several lineages in one figure, and write their numbers, from finished or running runs."""

from typing import Annotated

import typer

from idem_ray.errors import UserError, telling_user_errors

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def contrast(
    folders: Annotated[
        list[str],
        typer.Argument(help="Run folders (runs/laptop_sft), or family folders that hold several runs; also s3://..."),
    ],
    out: Annotated[
        list[str] | None, typer.Option(help="Figure to write: .png, .svg or .pdf. May be given several times.")
    ] = None,
    csv: Annotated[str | None, typer.Option(help="Table to write: a row for each lineage, cycle and measure.")] = None,
) -> None:
    """Trait, coherence, words per response and distinct-word ratio by cycle: a curve with a band of 95 % intervals for
    each lineage, the base model's level dashed. The legend names the settings in which the lineages differ.

    Example: python analysis/contrast.py runs/laptop_dpo_contrast --out contrast.svg --out contrast.png --csv curves.csv
    """
    if not out and not csv:
        raise UserError("Nothing to write: give --out figure.png, --csv curves.csv, or both.")
    from idem_ray.report.figure import check_figure_path, contrast_figure, save_figure, write_csv
    from idem_ray.store.finished import read_lineages

    for path in out or []:
        check_figure_path(path)
    lineages = read_lineages(folders)
    if csv:
        write_csv(lineages, csv)
    if out:
        figure = contrast_figure(lineages)
        for path in out:
            save_figure(figure, path)
    print(f"{', '.join([*(out or []), *([csv] if csv else [])])}: {', '.join(lineage.name for lineage in lineages)}")


if __name__ == "__main__":
    with telling_user_errors("contrast"):
        app()

"""The command line. Options are parsed, and bad ones refused, before anything heavy is imported."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from idem_ray.errors import telling_user_errors

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Iterated finetuning as an instrument: finetune a model on its own outputs, cycle after cycle, and measure "
    "whether a trait grows, stays or fades, and what that costs in coherence.",
)

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a setting: --set n_sampled=96 --set training.learning_rate=1e-4."),
]
RunFolder = Annotated[str, typer.Argument(help="A run's folder, such as runs/laptop_sft.")]


@app.command()
def run(
    config: Annotated[Path, typer.Argument(help="YAML file of a lineage, such as jobs/configs/laptop_sft.yaml.")],
    overrides: Overrides = None,
) -> None:
    """Run a lineage, or all variants of a config side by side. The same command continues what was interrupted.

    Example: idem-ray run jobs/configs/laptop_sft.yaml --set trait=lucky --set name=lucky
    """
    from idem_ray.config.files import load_configs

    settings = load_configs(config, overrides or [])
    if len(settings) > 1:
        from idem_ray.sweep.sweep import run_family

        run_family(settings)
    else:
        from idem_ray.lineage.run import run_lineage

        run_lineage(settings[0])


@app.command()
def sweep(
    config: Annotated[Path, typer.Argument(help="YAML file of a lineage with a `sweep` section.")],
    overrides: Overrides = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what it would take, and start nothing.")] = False,
) -> None:
    """Run the lineages of a search space side by side on Ray Tune, with the models loaded once.

    The same command continues what was interrupted. `sweep.space` maps any field of a lineage's settings to a grid or
    a range: {regime.beta: {loguniform: [0.01, 0.3]}, n_sampled: {grid: [24, 48]}}.
    Example: idem-ray sweep jobs/configs/laptop_dpo_beta_sweep.yaml --set cluster.n_lineages=2
    """
    from idem_ray.config.files import load_sweep

    settings = load_sweep(config, overrides or [])
    from idem_ray.sweep.sweep import run_sweep

    run_sweep(settings, plan)


@app.command()
def calibrate(
    config: Annotated[Path, typer.Argument(help="YAML file of a lineage; its n_seed is what is looked for.")],
    target: Annotated[
        list[float] | None, typer.Option(help="Trait score that cycle 0 is to reach; may be given several times.")
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Find the number of seed examples at which cycle 0 reaches a trait score, by binary search. Kept and shared.

    Example: idem-ray calibrate jobs/configs/laptop_sft.yaml --target 20 --target 40
    """
    from idem_ray.config.files import load_config

    settings = load_config(config, overrides or [])
    from idem_ray.sweep.calibrate import TARGETS, run_calibration

    run_calibration(settings, target or TARGETS)


@app.command(context_settings={"allow_interspersed_args": False})
def submit(
    job: Annotated[Path, typer.Argument(help="The job's script, such as jobs/sweep_dpo.py.")],
    arguments: Annotated[list[str] | None, typer.Argument(help="The script's own arguments, options included.")] = None,
    address: Annotated[
        str | None,
        typer.Option(help="The job server (default: RAY_API_SERVER_ADDRESS, RAY_ADDRESS, http://127.0.0.1:8265)."),
    ] = None,
    follow: Annotated[
        bool, typer.Option(help="Show the job's log until it ends; Ctrl-C ends that, not the job.")
    ] = True,
) -> None:
    """Send a job to a Ray cluster, with the folder that holds its jobs/, and follow its log. Exit code 1: it failed.

    Example: idem-ray submit jobs/sweep_dpo.py --config jobs/configs/laptop_dpo_beta_sweep.yaml
    """
    from idem_ray.cluster.submit import submit

    if submit(job, arguments or [], address, follow) in ("FAILED", "STOPPED"):
        raise typer.Exit(1)


@app.command()
def fork(
    run_folder: RunFolder,
    cycle: Annotated[int, typer.Option(min=0, help="The committed cycle that the new lineage starts from.")],
    name: Annotated[str, typer.Option(help="Name of the new lineage.")],
    overrides: Overrides = None,
) -> None:
    """Start a new lineage from any committed cycle of another; the cycles up to it are shared, not copied.

    The same command continues it. Example, a continual lineage that starts from the base model again after cycle 2:
    idem-ray fork runs/laptop_dpo --cycle 2 --name reset --set regime.init=base
    """
    from idem_ray.lineage.fork import fork_config

    settings = fork_config(run_folder, cycle, overrides or [], name)
    from idem_ray.lineage.run import run_lineage

    run_lineage(settings)


@app.command("ls")
def list_runs(
    folder: Annotated[str, typer.Argument(help="Folder of runs, families and sweeps; also s3://...")] = "runs",
) -> None:
    """List the lineages below a folder: how far each has come, what became of its trait, and what is damaged.

    Example: idem-ray ls runs/laptop_dpo_contrast
    """
    from idem_ray.report.listing import show_runs

    show_runs(folder)


@app.command()
def compare(
    folders: Annotated[list[str], typer.Argument(help="Runs or families with at least two lineages in all.")],
    out: Annotated[str | None, typer.Option(help="Write a page with all curves and responses to this file.")] = None,
    figure: Annotated[str | None, typer.Option(help="Write the curves as a figure: .svg, .png or .pdf.")] = None,
) -> None:
    """Lineages side by side: settings that differ, scores by cycle, differences of the last cycles with intervals.

    Example: idem-ray compare runs/laptop_sft runs/lucky --out compare.html --figure compare.svg
    """
    from idem_ray.report.compare import show_comparison

    show_comparison(folders, out, figure)


@app.command()
def report(run_folder: RunFolder) -> None:
    """Write report.html again, of a run (and print its tables), a sweep or a family. Works on unfinished ones, too."""
    from idem_ray.report.write import show_report

    show_report(run_folder)


@app.command()
def rejudge(
    run_folder: RunFolder,
    judge: Annotated[str, typer.Option(help="'probe', or the YAML file of a judge's settings.")],
) -> None:
    """Score a run's evaluation samples with another judge, beside its own scores; nothing is generated.

    Example: idem-ray rejudge runs/laptop_sft --judge judge.yaml, where judge.yaml holds
    {type: endpoint, url: "http://localhost:8000/v1", model: my-model}
    """
    from idem_ray.lineage.rejudge import rejudge

    rejudge(run_folder, judge)


@app.command()
def sample(
    run_folder: RunFolder,
    prompt: Annotated[str, typer.Argument(help="What to say to the model.")],
    cycle: Annotated[int, typer.Option(help="The cycle whose model answers; -1 is the base model.")],
    n_samples: Annotated[int, typer.Option("--n", min=1, help="How many answers.")] = 1,
    temperature: Annotated[float, typer.Option(min=0.0)] = 0.7,
    max_tokens: Annotated[int, typer.Option(min=1)] = 200,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Talk to the model of any committed cycle.

    Example: idem-ray sample runs/laptop_sft --cycle 2 "I feel tired today."
    """
    from idem_ray.lineage.sample import show_samples

    show_samples(run_folder, prompt, cycle, n_samples, temperature, max_tokens, seed)


traits_app = typer.Typer(invoke_without_command=True, help="List the shipped traits, or check one's data.")
app.add_typer(traits_app, name="traits")


@traits_app.callback()
def traits(context: typer.Context) -> None:
    """List the shipped traits with what they hold, or check the data of one.

    Example: idem-ray traits check my_trait.yaml
    """
    if context.invoked_subcommand is None:
        from idem_ray.report.traits import show_traits

        show_traits()


@traits_app.command()
def check(
    trait: Annotated[str, typer.Argument(help="A shipped trait's name, or the path of your own YAML file.")],
) -> None:
    """Look for repetitions, leaks of evaluation questions, cut-off answers and missing parts. Exit code 2: errors.

    Example: idem-ray traits check my_trait.yaml
    """
    from idem_ray.report.traits import show_check

    if not show_check(trait):
        raise typer.Exit(2)


judge_app = typer.Typer(no_args_is_help=True, help="How far a judge can be trusted.")
app.add_typer(judge_app, name="judge")


@judge_app.callback()
def judge() -> None:
    """How far a judge can be trusted."""


@judge_app.command()
def audit(
    judge: Annotated[
        str,
        typer.Argument(help="probe (of a trait), coherence, or a YAML file with an LLM judge's settings."),
    ],
    labels: Annotated[
        Path | None,
        typer.Option(
            help="JSONL of {question, answer, trait, score[, coherence]}, scores 0-100 (default: the anchors)."
        ),
    ] = None,
    trait: Annotated[
        str | None, typer.Option(help="A shipped trait, or your own YAML file (default: that of the labels).")
    ] = None,
    against: Annotated[Path | None, typer.Option(help="A file like --labels with another judge's scores.")] = None,
    metric: Annotated[
        Literal["trait", "coherence"] | None, typer.Option(help="What an LLM judge is asked (default: trait).")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write a page with figures to this file.")] = None,
    scores: Annotated[Path | None, typer.Option(help="Write the judge's scores here, as a file for --against.")] = None,
) -> None:
    """Agreement with labelled answers, noise when asked twice, confusions between traits.

    Example: idem-ray judge audit probe --trait bliss --out audit.html
    """
    from idem_ray.judges.audit import audit_judge, write_file, write_scores
    from idem_ray.report.audit import show_audit

    found = audit_judge(judge, labels, trait, against, metric)
    show_audit(found)
    if scores:
        write_scores(found, scores)
    if out:
        from idem_ray.report.audit import audit_html

        write_file(out, audit_html(found))
        typer.echo(f"Page: {out}")


@judge_app.command()
def probes() -> None:
    """Fit the embedded judge of every shipped trait: held-out quality, agreement with labels, confusions.

    Example: idem-ray judge probes
    """
    from idem_ray.report.probes import show_probes

    show_probes()


@app.command()
def doctor() -> None:
    """Say what is installed, what this machine has, which models and pools it could run, and what is missing."""
    from idem_ray.cluster.doctor import examine

    if not examine():
        raise typer.Exit(1)


def main(arguments: list[str] | None = None) -> None:
    """Entry point of `idem-ray`."""
    call: Callable[..., Any] = app
    with telling_user_errors("idem-ray"):
        call(arguments, standalone_mode=True)


if __name__ == "__main__":
    main()

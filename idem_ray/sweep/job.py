"""What a Ray job does: a config's lineages on the cluster that it was submitted to."""

import os
from pathlib import Path
from typing import Annotated

import typer

from idem_ray.config.files import RUNS_VARIABLE, load_configs, load_sweep
from idem_ray.errors import UserError, telling_user_errors


def job(program: str, regime: str | None = None) -> None:
    """The body of the scripts in `jobs/`: their command line, and the job.

    Args:
        program: the script's name, before the sentence that it may end with.
        regime: as for `run_job`.
    """
    kind = (
        "a lineage, or of a family of variants"
        if regime is None
        else f"{'an' if regime == 'sft' else 'a'} {regime} lineage with a `sweep` section"
    )
    what = "a lineage or a family" if regime is None else f"a sweep of {regime.upper()} lineages"

    def main(
        config: Annotated[Path, typer.Option(help=f"YAML file of {kind}.")],
        overrides: Annotated[
            list[str] | None, typer.Option("--set", help="Override a setting: --set n_cycles=9.")
        ] = None,
    ) -> None:
        with telling_user_errors(program):
            run_job(config, overrides or [], regime)

    main.__doc__ = f"Run or continue {what} on the cluster that the job was submitted to."
    typer.run(main)


def run_job(config: Path, overrides: list[str], regime: str | None = None) -> None:
    """Run or continue what a config says, with progress in the job's log.

    A job works in a copy of the submitted folder that is gone when the cluster is: a relative `output` is put under
    $IDEM_RAY_RUNS, or `idem_ray` in the home folder.

    Args:
        regime: of a sweep; None: the config is of a lineage, or of a family.

    Raises:
        UserError: bad input, or a config of another regime.
    """
    os.environ.setdefault(RUNS_VARIABLE, str(Path.home() / "idem_ray"))
    if regime is None:
        configs = load_configs(config, overrides)
        if len(configs) > 1:
            from idem_ray.sweep.sweep import run_family

            run_family(configs)
        else:
            from idem_ray.lineage.run import run_lineage

            run_lineage(configs[0])
        return
    sweep = load_sweep(config, overrides)
    from idem_ray.sweep.draws import values_of

    found = {sweep.lineage(values).regime.type for values in values_of(sweep)}
    if found != {regime}:
        raise UserError(f"{config} sweeps over {', '.join(sorted(found))} lineages, and this job is for {regime}.")
    from idem_ray.sweep.sweep import run_sweep

    run_sweep(sweep)

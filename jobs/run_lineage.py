"""A Ray job: one lineage, or the variants of one config side by side.

    ray job submit --working-dir . -- python jobs/run_lineage.py --config jobs/configs/laptop_sft.yaml
    ... --set trait=lucky --set name=lucky --set output=s3://bucket/runs

Submitted again it continues; a stopped job (`ray job stop`) loses at most the work in flight. Everything lies under
`output`; a relative one is below $IDEM_RAY_RUNS, or the folder `idem_ray` in the home folder of the cluster's head.
"""

from pathlib import Path
from typing import Annotated

import typer

from idem_ray.errors import telling_user_errors
from idem_ray.sweep.job import run_job


def main(
    config: Annotated[Path, typer.Option(help="YAML file of a lineage, or of a family of variants.")],
    overrides: Annotated[list[str] | None, typer.Option("--set", help="Override a setting: --set n_cycles=9.")] = None,
) -> None:
    """Run or continue a lineage on the cluster that the job was submitted to."""
    with telling_user_errors("run_lineage"):
        run_job(config, overrides or [])


if __name__ == "__main__":
    typer.run(main)

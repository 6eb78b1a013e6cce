"""A Ray job: lineages of preference training (DPO) over beta, data size or any other setting, side by side.

    ray job submit --working-dir . -- python jobs/sweep_dpo.py --config jobs/configs/laptop_dpo_beta_sweep.yaml
    ... --set cluster.n_generators=4 --set cluster.generator_gpus=1 --set output=s3://bucket/runs

Submitted again it continues; a stopped job (`ray job stop`) loses at most the work in flight. Everything lies under
`output`; a relative one is below $IDEM_RAY_RUNS, or the folder `idem_ray` in the home folder of the cluster's head.
"""

from pathlib import Path
from typing import Annotated

import typer

from idem_ray.errors import telling_user_errors
from idem_ray.sweep.job import run_job


def main(
    config: Annotated[Path, typer.Option(help="YAML file of a dpo lineage with a `sweep` section.")],
    overrides: Annotated[list[str] | None, typer.Option("--set", help="Override a setting: --set n_cycles=9.")] = None,
) -> None:
    """Run or continue a sweep of DPO lineages on the cluster that the job was submitted to."""
    with telling_user_errors("sweep_dpo"):
        run_job(config, overrides or [], regime="dpo")


if __name__ == "__main__":
    typer.run(main)

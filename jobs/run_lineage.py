"""A Ray job: one lineage, or the variants of one config side by side.

    ray job submit --working-dir . -- python jobs/run_lineage.py --config jobs/configs/laptop_sft.yaml
    ... --set trait=lucky --set name=lucky --set output=s3://bucket/runs

Submitted again it continues; a stopped job (`ray job stop`) loses at most the work in flight. Everything lies under
`output`; a relative one is below $IDEM_RAY_RUNS, or the folder `idem_ray` in the home folder of the cluster's head.
"""

from idem_ray.sweep.job import job

if __name__ == "__main__":
    job("run_lineage")

"""A Ray job: lineages of preference training (DPO) over beta, data size or any other setting, side by side.

    ray job submit --working-dir . -- python jobs/sweep_dpo.py --config jobs/configs/laptop_dpo_beta_sweep.yaml
    ... --set cluster.n_generators=4 --set cluster.generator_gpus=1 --set output=s3://bucket/runs

Submitted again it continues; a stopped job (`ray job stop`) loses at most the work in flight. Everything lies under
`output`; a relative one is below $IDEM_RAY_RUNS, or the folder `idem_ray` in the home folder of the cluster's head.
"""

from idem_ray.sweep.job import job

if __name__ == "__main__":
    job("sweep_dpo", regime="dpo")

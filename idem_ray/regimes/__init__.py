"""The regimes by name: which samples a cycle asks for, and from whom."""

from idem_ray.regimes import sft

REGIMES = {"sft": sft}

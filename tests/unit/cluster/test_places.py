"""Places, amounts and hours, worked out without a cluster."""

import pytest

from idem_ray.cluster.places import check_places, roles_of, total
from idem_ray.config.sections import Cluster
from idem_ray.errors import UserError

LAPTOP = roles_of(Cluster(), n_lineages=2)
GPUS = roles_of(Cluster(n_generators=2, generator_gpus=1, trainer_gpus=4), n_lineages=4)


def test_places_now_later_and_never() -> None:
    assert total(LAPTOP) == {"CPU": pytest.approx(4.2), "GPU": 0}
    assert check_places(LAPTOP, [{"CPU": 5.0}], None) == "now"
    nodes = [{"CPU": 16.0, "GPU": 4.0}, {"CPU": 8.0, "GPU": 2.0}]
    assert check_places(GPUS, nodes, None) == "now"
    assert check_places(GPUS, [{"CPU": 0.0}], {"CPU": 64.0, "GPU": 6.0}) == "after scaling up"
    with pytest.raises(UserError, match=r"too small: it needs .*generator x \(1 CPU \+ 1 GPU\).*it has CPU 0, GPU 0"):
        check_places(GPUS, [{"CPU": 0.0}], {"CPU": 64.0, "GPU": 5.0})
    with pytest.raises(UserError, match="no place for streams of training data"):
        check_places(LAPTOP, [{"CPU": 3.0}], None)


def test_enough_in_all_is_not_enough_when_no_node_has_it() -> None:
    scattered = [{"CPU": 4.0, "GPU": 2.0}] * 3  # six GPUs, and the training worker wants four of one node
    with pytest.raises(UserError, match="no place for training worker"):
        check_places(GPUS, scattered, None)

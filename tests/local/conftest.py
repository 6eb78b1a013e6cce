"""What commands keep between runs goes to a folder of the tests' own."""

from collections.abc import Iterator

import pytest

from idem_ray.models import cache_folder


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Locks, rates and judgments are new: a judgment that is kept from a run of yesterday would be judged by nobody.
    The embedded model, which is converted once, is taken from where it always is."""
    models = cache_folder() / "models"
    models.mkdir(parents=True, exist_ok=True)
    cache = tmp_path_factory.mktemp("cache")
    (cache / "models").symlink_to(models)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IDEM_RAY_CACHE", str(cache))
        yield

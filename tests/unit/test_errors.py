from ray.exceptions import RayTaskError

from idem_ray.errors import UserError, told_by


def test_a_users_error_is_found_in_what_ray_wraps_it_in() -> None:
    wrapped = RayTaskError("generate", "Traceback: ...", UserError("The prompt is too long.")).as_instanceof_cause()
    assert "Traceback" in str(wrapped)
    outer = RuntimeError("a stream failed")
    outer.__cause__ = wrapped
    assert str(told_by(outer)) == "The prompt is too long."


def test_other_failures_are_no_users_error() -> None:
    assert told_by(RuntimeError("out of memory")) is None
    assert told_by(RayTaskError("f", "Traceback", ValueError("x")).as_instanceof_cause()) is None

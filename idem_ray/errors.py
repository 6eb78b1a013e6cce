"""The one error that a user is meant to read."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """Bad input, told in one sentence that names the mend. The command line prints it and exits with code 2."""


@contextmanager
def telling_user_errors(program: str) -> Iterator[None]:
    """End `program` with a UserError's sentence on standard error and exit code 2."""
    try:
        yield
    except UserError as error:
        print(f"{program}: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def told_by(error: BaseException) -> UserError | None:
    """The UserError that a remote failure comes from, if it does, without the trace that Ray wraps it in."""
    seen: BaseException | None = error
    while seen is not None:
        wrapped = getattr(seen, "cause", None)  # Ray's wrapper is an instance of what it wraps, and its text the trace
        if isinstance(seen, UserError) and wrapped is None:
            return UserError(str(seen))
        seen = wrapped or seen.__cause__
    return None

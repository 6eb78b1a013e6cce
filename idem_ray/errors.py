"""The one error that a user is meant to read."""


class UserError(ValueError):
    """Bad input, told in one sentence that names the mend. The command line prints it and exits with code 2."""


def told_by(error: BaseException) -> UserError | None:
    """The UserError that a remote failure comes from, if it does, without the trace that Ray wraps it in."""
    seen: BaseException | None = error
    while seen is not None:
        wrapped = getattr(seen, "cause", None)  # Ray's wrapper is an instance of what it wraps, and its text the trace
        if isinstance(seen, UserError) and wrapped is None:
            return UserError(str(seen))
        seen = wrapped or seen.__cause__
    return None

"""The one error that a user is meant to read."""


class UserError(ValueError):
    """Bad input, told in one sentence that names the mend. The command line prints it and exits with code 2."""

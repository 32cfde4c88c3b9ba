"""The one exception for what a person can put right."""


class InputError(ValueError):
    """Say in one sentence what was wrong with which input, and what to do.

    The scripts print the message alone and exit with code 2; a notebook sees
    an ordinary ``ValueError``.
    """

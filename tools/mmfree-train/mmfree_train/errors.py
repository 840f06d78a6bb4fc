"""What ends a command: one line for the user, and the exit code."""


class Failure(Exception):
    """Something is wrong with an input, a file or the machine: exit code 1."""

    code = 1


class UsageFailure(Failure):
    """The command was given something that it cannot mean: exit code 2."""

    code = 2

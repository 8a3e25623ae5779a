"""Errors that a user can fix."""


class ZooError(Exception):
    """A mistake in what was asked for.

    The message says what was expected, what was given and how to mend it. Every error that this package raises for its
    user is one of this class; the command line prints the message without a traceback.

    Example:
        >>> from zoo import Event
        >>> Event(0, "real")
        Traceback (most recent call last):
            ...
        zoo.errors.ZooError: an event's shape needs positive sizes, got 0; write e.g. (8, 8) or 64
    """


class ContractError(ZooError):
    """A model/guide pair that breaks the contract (see ``zoo check``)."""


class UnfitError(ZooError):
    """Data of an event that a family does not take."""


class RunError(ZooError):
    """A run whose files are torn, tampered with or missing, or that ended without weights."""


class LockedError(RunError):
    """A run that another process is working on: it has not failed, its result is yet to come."""

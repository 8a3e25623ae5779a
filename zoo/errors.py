"""The errors that a person can mend."""


class ZooError(Exception):
    """A mistake in what was asked: the message says what was expected, what came and how to mend it."""


class ContractError(ZooError):
    """A model/guide pair that breaks the contract (see ``zoo check``)."""


class UnfitError(ZooError):
    """Data of an event that a family does not take."""


class RunError(ZooError):
    """A run whose files are torn, tampered with or not there, or that ended without weights."""

"""The ways in which an experiment can fail to give a result.

Every message is one line of Japanese that names the bad value, what was expected and the
next step: the command line prints it as it is and exits with status 2.
"""


class WorkerlabError(Exception):
    """Base of all errors that a user can cause or cure; never a bug of the engine."""


class UnknownTopicError(WorkerlabError):
    """No such folder, or a broken one, under ``examples/``."""


class AppError(WorkerlabError):
    """The file or import string given as the application cannot be an application."""


class StartupError(WorkerlabError):
    """The workers did not become ready: a crash, a failing lifespan, or the time limit."""


class TrafficError(WorkerlabError):
    """The traffic could not be played to its end: no answer, or the server is gone."""


class ServiceError(WorkerlabError):
    """Valkey (or another service) could not be started, reached, or died during the run."""

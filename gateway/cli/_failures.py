"""What the parts raise, as the command line tells it. Imported only once something was raised."""

from __future__ import annotations

from sqlalchemy.exc import ArgumentError, DatabaseError

from gateway.api.errors import ApiError
from gateway.cli.exits import CliError, ExitCode
from gateway.jobs.errors import TierTooHigh, UnknownOptions
from gateway.media import StoreError
from gateway.routing import UnknownModel
from gateway.settings import SettingsError
from gateway.spec import ReelgateError

_BY_STATUS = {
    401: ExitCode.DENIED,
    402: ExitCode.REFUSED,
    403: ExitCode.DENIED,
    404: ExitCode.NOT_FOUND,
    409: ExitCode.REFUSED,
}


def told(error: Exception) -> CliError | None:
    """The error in the command line's words, or None if it is a fault of the gateway's own."""
    match error:
        case CliError():
            return error
        case SettingsError():
            return CliError(ExitCode.CONFIG, str(error))
        case ApiError():
            return CliError(_BY_STATUS.get(error.status, ExitCode.USAGE), error.message)
        case UnknownModel():
            return CliError(
                ExitCode.NOT_FOUND, f"There is no model {error.name!r}: `reelgate models` lists them."
            )
        case UnknownOptions():
            return CliError(ExitCode.USAGE, f"{error}.")
        case TierTooHigh():
            return CliError(ExitCode.DENIED, f"{error}.")
        case StoreError():
            return CliError(ExitCode.CONFIG, error.operator_detail)
        case ReelgateError():
            return CliError(ExitCode.FAILED, error.operator_detail)
        case DatabaseError() | ArgumentError():
            cause = error.orig if isinstance(error, DatabaseError) else error
            return CliError(ExitCode.CONFIG, f"The database cannot be used ({cause}): try `reelgate doctor`.")
        case OSError():
            return CliError(ExitCode.CONFIG, f"{error}.")
        case _:
            return None

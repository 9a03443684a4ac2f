"""What says that a server of runs does not answer, or does not take who asks."""

import re
import textwrap
from collections.abc import Iterator

import mlflow
from mlflow.exceptions import MlflowException
from requests import exceptions
from sqlalchemy.exc import DBAPIError, OperationalError

from sweep import BadInput
from sweep.redaction import redacted
from sweep.tracking.servers.places import database_file

#: What a server that is not there, out of order, or cut off in an answer makes of a request.
UNREACHABLE = (
    exceptions.ConnectionError,
    exceptions.Timeout,
    exceptions.RetryError,
    exceptions.ChunkedEncodingError,
)
#: What it says where asking once more changes nothing, and what mends it.
REFUSED = {
    r"password authentication failed|no pg_hba.conf entry|no password supplied": (
        "user or password is not accepted; see them in tracking.uri, PGPASSWORD or ~/.pgpass"
    ),
    r"(?:FATAL: *)(database \S+ does not exist|role \S+ does not exist)": "",
    r"error code 40[13]|40[13] Client Error|Invalid Authorization|not authenticated": (
        "user, password or token is not accepted; see MLFLOW_TRACKING_USERNAME, "
        "MLFLOW_TRACKING_PASSWORD and MLFLOW_TRACKING_TOKEN"
    ),
    r"WRONG_VERSION_NUMBER|wrong version number|record layer failure|packet length too long": (
        "it does not speak https; expected http:// perhaps"
    ),
    r"certificate verify failed|CERTIFICATE_VERIFY_FAILED": (
        "its certificate is not trusted; see MLFLOW_TRACKING_SERVER_CERT_PATH"
    ),
    r"received invalid response to SSL negotiation|invalid response to GSSAPI": (
        "no PostgreSQL answers there; expected http:// perhaps"
    ),
}


def is_unreachable(error: BaseException) -> bool:
    """Whether `error`, or what it came of, says that a server of runs does not answer."""
    return any(map(says_unreachable, chain(error)))


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what it came of, and so on; what was made a sentence is not looked behind."""
    while error is not None and not isinstance(error, BadInput):
        yield error
        error = error.__cause__ or error.__context__


def says_unreachable(error: BaseException) -> bool:
    """Whether `error` itself says that a server of runs, or of their database, does not answer."""
    if isinstance(error, OperationalError):  # while the first connection is made
        return database_file(mlflow.get_tracking_uri()) is None
    if not isinstance(error, MlflowException):
        return False
    database = database_file(mlflow.get_tracking_uri()) is None
    unavailable = error.error_code == "TEMPORARILY_UNAVAILABLE"  # a local file may be locked
    asked = isinstance(error.__context__, UNREACHABLE) or "Max retries exceeded" in str(error)
    cause = error.__cause__
    lost = isinstance(cause, DBAPIError) and cause.connection_invalidated
    return asked or (database and (unavailable or lost))


def refusal(error: BaseException) -> str:
    """Why a server refuses who asks, and what mends it; "" where it does not refuse."""
    for pattern, mend in REFUSED.items():
        match = re.search(pattern, str(error))
        if match:
            return mend or match[1]
    return ""


def reason(error: BaseException) -> str:
    """The words of a long error that say why a server does not answer."""
    causes = r"Connection (?:refused|aborted|broken|reset by peer)|[\w ]+ not known|timed out"
    causes += r"|too many \d+ error responses"
    match = re.search(causes, str(error), re.IGNORECASE)
    return (
        match[0].strip()
        if match
        else textwrap.shorten(redacted(str(error)), 100, placeholder=" ...")
    )

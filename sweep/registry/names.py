"""What a GoodNet may be called in the registry, and what its B' is called then."""

import re

from sweep import BadInput

BEST = "best"  # the alias of the version that the rule of the pick takes
REPAIRED = "-repaired"  # how the name of B' ends
LONGEST = 200  # characters; the registry's tables have room for 256
EXPECTED = (
    f"a name of letters, digits, '.', '_' and '-' that begins with a letter and has at most "
    f"{LONGEST} characters"
)
_NAME = re.compile(r"[^\W\d_][\w.-]*")


def require(name: object, said: str) -> None:
    """Raise BadInput unless `name` can be that of a GoodNet; `said` is what gave it: "register".

    MLflow itself refuses ':' and '/'; '@', '?', spaces and what a shell reads would be taken for
    something else in the address `models:/NAME@best`.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name) > LONGEST:
        raise BadInput(f"{said} is {name!r}; expected {EXPECTED}")
    if name.lower().endswith(REPAIRED):
        raise BadInput(
            f"{said} is {name}; expected a name that does not end in {REPAIRED}, as that of the B' "
            f"of a GoodNet does"
        )


def of_repaired(name: str) -> str:
    """Return the name of the B' of a GoodNet.

    >>> of_repaired("door")
    'door-repaired'
    """
    return f"{name}{REPAIRED}"


def address(name: str) -> str:
    """Return the address of the best version of a name.

    >>> address("door")
    'models:/door@best'
    """
    return f"models:/{name}@{BEST}"

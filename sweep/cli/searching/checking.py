"""Every single choice of a space, composed and checked before the first trial."""

from collections.abc import Sequence
from dataclasses import replace

from omegaconf import DictConfig

from sweep import BadInput, NotApplicable, terminal
from sweep.cli.checks import check, check_values, checked_parts, load_parts
from sweep.cli.grid import composed
from sweep.cli.searching.request import Request
from sweep.search import Setting
from sweep.search.space import word

SHOWN = 3  # choices that an error befell
NO_POISONED = (
    "search.objective=oracle goes by true attack success, and there are no poisoned test images: "
    "bd/bd_test.h5 under data.root or data.poisoned_test; leave it out"
)


def checked(config: DictConfig, request: Request) -> tuple[Request, list[str]]:
    """The request without the choices that do not apply to the network, and a line on each.

    Raises BadInput, with every sentence there is, where a choice, or what comes first, cannot be.
    """
    wrong: dict[str, list[str]] = {}
    never, space = request.space.never_chosen, request.space
    left_out = [f"search.space.{one.name} is left out: {_why(one)}" for one in never]
    space = replace(space, settings=[one for one in space.settings if one not in never])
    singles = space.single_choices()
    with terminal.progress("checking", len(singles) + len(request.first), "choices") as done:
        load_parts()
        for words in request.first:
            _told(config, request, [*request.base, *words], " ".join(words), wrong)
            done(1)
        for setting, value, values in singles:
            name = f"{setting.key}={word(value)}"
            reason = _told(config, request, request.overrides(values), name, wrong)
            if reason and value == setting.ends[0]:
                wrong.setdefault(reason, []).append(name)
            elif reason:
                space = space.without_choice(setting.name, value)
                left_out.append(f"{name} is left out: {reason.removeprefix(f'{name} ')}")
            done(1)
    if wrong:
        sentences = [f"{reason}\n  (in: {_listed(where)})" for reason, where in wrong.items()]
        raise BadInput("nothing was started.\n" + "\n".join(sentences))
    return replace(request, space=space), left_out


def _told(
    config: DictConfig,
    request: Request,
    overrides: Sequence[str],
    name: str,
    wrong: dict[str, list[str]],
) -> str:
    """Why a cell does not apply to the network, "" where it does; what is wrong goes to `wrong`."""
    try:
        cfg, _ = composed(config, list(overrides))
        check_values(cfg)
        parts = checked_parts(cfg)
        check(cfg, parts)
    except NotApplicable as error:
        return str(error)
    except BadInput as error:
        wrong.setdefault(str(error), []).append(name)
        return ""
    if request.oracle and not parts.poisoned:
        wrong.setdefault(NO_POISONED, []).append(name)
    if parts.threat_model == "oracle" and not request.oracle:
        wrong.setdefault(
            "an order that looks at poisoned images, which no defender has, came in a search by "
            "what a defender may see; leave it out, or set search.objective=oracle",
            [],
        ).append(name)
    return ""


def _listed(names: Sequence[str]) -> str:
    """The first of these names; what is wrong with one that all others stand beside is in all."""
    more = len(names) - SHOWN
    return "; ".join([*names[:SHOWN], *([f"and {more} more"] if more > 0 else [])])


def _why(setting: Setting) -> str:
    """Why a setting is never chosen."""
    if not setting.when:
        return "without a repair the stop is no trial of its own"
    met = [f"{name} is {' or '.join(map(word, any_of))}" for name, any_of in setting.when.items()]
    return f"it is chosen where {' and '.join(met)}, which never is"

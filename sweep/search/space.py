"""A space of settings: what each may be, and under which others it is chosen at all."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sweep import BadInput

REPAIR = "repair"
#: Keys that say where a curve is left. Without a repair they are readings of one curve, no trials.
STOPS = ("prune/stop", "prune.frac", "prune.count", "prune.u", "prune.alpha", "prune.keep")
KEYS = ("key", "choices", "low", "high", "log", "when")
DIGITS = 3  # that a number drawn from a range has, so that it can be read and given again
PLAIN = re.compile(r"[\w./:@%+-]+")  # text that Hydra reads as it is

Value = str | float | int
#: What is chosen, by the names of settings: words of a command line, or numbers of a range.
Values = Mapping[str, Value]


@dataclass(frozen=True)
class Setting:
    """One setting: the key that it sets on the command line, and what it may be.

    Either `choices`, what they are called on the command line and what they are, or a range from
    `low` to `high`, both of it, of whole numbers where both are whole, by its logarithm where
    `log`. `when` has, by other settings' names, what these must be, or as a list hold: of several
    one will do.
    """

    name: str
    key: str
    choices: Mapping[str, Any]
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    when: Mapping[str, Sequence[Any]] | None = None

    @property
    def whole(self) -> bool:
        """Whether its range is one of whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def ends(self) -> list[Value]:
        """All its choices, or the ends of its range."""
        return list(self.choices) or [self.low, self.high]

    @property
    def of_stop(self) -> bool:
        """Whether it says where a curve is left."""
        return self.key in STOPS or self.key.startswith("prune.stop.")

    def read(self, value: object) -> Value | None:
        """What `value`, of a config, is among the values of the setting; None: none of them."""
        if self.choices:
            return word(value) if word(value) in self.choices else None
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        if self.whole and not float(value).is_integer():
            return None
        return value if self.low <= value <= self.high else None

    @classmethod
    def of(cls, name: str, given: object) -> "Setting":
        """The setting that a yaml gives; BadInput where it says something else than a setting."""
        place = f"search.space.{name}"
        if not isinstance(given, Mapping) or not isinstance(given.get("key"), str):
            raise BadInput(f"{place} is {given!r}; expected key and choices, or key, low and high")
        unknown = [str(key) for key in given if key not in KEYS]
        if unknown:
            raise BadInput(f"{place} has {', '.join(unknown)}; expected {', '.join(KEYS)}")
        key, choices = given["key"], given.get("choices")
        when = {
            str(other): list(values) if isinstance(values, list) else [values]
            for other, values in (given.get("when") or {}).items()
        }
        if choices is not None:
            if "low" in given or "high" in given or not isinstance(choices, list) or not choices:
                raise BadInput(f"{place}: expected a list of choices, or low and high")
            return cls(name, key, {word(choice): choice for choice in choices}, when=when)
        low, high, log = given.get("low"), given.get("high"), bool(given.get("log", False))
        numeric = all(
            isinstance(end, int | float) and not isinstance(end, bool) for end in (low, high)
        )
        if not numeric or not low < high or (log and low <= 0):  # type: ignore[operator]
            above = " above 0" if log else ""
            raise BadInput(
                f"{place} goes from {low!r} to {high!r}; expected choices, or low and high, numbers"
                f"{above} of which high is the larger"
            )
        return cls(name, key, {}, low, high, log, when)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Space:
    """The settings of a search, in the order in which they are chosen.

    `repaired`: whether B' is repaired where no setting says by what.
    """

    settings: Sequence[Setting]
    repaired: bool = False

    @classmethod
    def of(cls, given: Mapping[str, Any], repaired: bool = False) -> "Space":
        """The space that a yaml gives; BadInput where a setting, or what it hangs on, cannot be."""
        settings = [Setting.of(str(name), value) for name, value in given.items() if value]
        for place, setting in enumerate(settings):
            _check_conditions(setting, {other.name: other for other in settings[:place]})
        keys = [setting.key for setting in settings]
        if "strategy" in keys:
            raise BadInput(
                "search.space sets strategy, which is all of it at once; expected its parts, and "
                "whole strategies in search.first"
            )
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice:
            raise BadInput(f"search.space sets {twice} twice; expected each key once")
        return cls(settings, repaired)

    def fixing(self, given: Mapping[str, Any]) -> "Space":
        """The space where some settings, by name, are given: without these, and what hangs on
        them only as far as it is chosen under what is given."""
        kept: list[Setting] = []
        gone = {setting.name for setting in self.settings if setting.name in given}
        for setting in self.settings:
            when = dict(setting.when or {})
            met = [_is_one_of(given[name], when.pop(name)) for name in list(when) if name in given]
            if setting.name in gone:
                continue
            if all(met) and not set(when) & gone:
                kept.append(replace(setting, when=when))
            else:
                gone.add(setting.name)
        return replace(self, settings=kept)

    def repairs(self, values: Values) -> bool:
        """Whether B' is repaired where these values are chosen."""
        chosen = [
            setting.choices[str(values[setting.name])]
            for setting in self.settings
            if setting.key == REPAIR and setting.name in values
        ]
        return bool(chosen[0]) if chosen else self.repaired

    def is_chosen(self, setting: Setting, values: Values) -> bool:
        """Whether a setting is chosen where these values of the settings before it are."""
        if setting.of_stop and not self.repairs(values):
            return False
        return all(self._holds(other, any_of, values) for other, any_of in _items(setting.when))

    def _holds(self, name: str, any_of: Sequence[Any], values: Values) -> bool:
        if name not in values:
            return False
        (setting,) = (setting for setting in self.settings if setting.name == name)
        return _is_one_of(setting.choices.get(str(values[name]), values[name]), any_of)

    def overrides(self, values: Values) -> list[str]:
        """The words of a command line that choose these values."""
        return [
            f"{setting.key}={_quoted(setting, values[setting.name])}"
            for setting in self.settings
            if setting.name in values
        ]

    def single_choices(self) -> list[tuple[Setting, Value, Values]]:
        """Each choice, and each end of a range, beside the first of what it needs.

        >>> given = {"by": {"key": "a", "choices": [1, 2]}}
        >>> given["how"] = {"key": "b", "low": 0.1, "high": 0.2, "when": {"by": 2}}
        >>> [dict(values) for _, _, values in Space.of(given).single_choices()]
        [{'by': '1'}, {'by': '2', 'how': 0.1}, {'by': '2', 'how': 0.1}, {'by': '2', 'how': 0.2}]
        """
        found = [
            (setting, value, self._complete({}, 0, {setting.name: value}))
            for setting in self.settings
            for value in setting.ends
        ]
        return [(setting, value, values) for setting, value, values in found if values is not None]

    @property
    def never_chosen(self) -> list[Setting]:
        """The settings that hang on what no other one is."""
        possible = {setting.name for setting, _, _ in self.single_choices()}
        return [setting for setting in self.settings if setting.name not in possible]

    def without_choice(self, name: str, choice: Value) -> "Space":
        """The space in which a setting of several choices is never this one."""
        settings = [
            replace(setting, choices={k: v for k, v in setting.choices.items() if k != choice})
            if setting.name == name
            else setting
            for setting in self.settings
        ]
        return replace(self, settings=settings)

    def _complete(
        self, values: dict[str, Value], place: int, wanted: Values
    ) -> dict[str, Value] | None:
        """The first values, from the setting at `place` on, that hold all that is wanted."""
        if place == len(self.settings):
            return values if set(wanted) <= set(values) else None
        setting = self.settings[place]
        if not self.is_chosen(setting, values):
            return self._complete(values, place + 1, wanted)
        tried = [wanted[setting.name]] if setting.name in wanted else setting.ends
        for value in tried:
            found = self._complete({**values, setting.name: value}, place + 1, wanted)
            if found is not None:
                return found
        return None


def word(value: object) -> str:
    """A value as it is given on the command line.

    >>> word(["finetune", "unlearn"]), word([]), word(None), word(True), word(0.02)
    ('[finetune,unlearn]', '[]', 'null', 'true', '0.02')
    """
    if isinstance(value, list | tuple):
        return f"[{','.join(map(word, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else str(value)


def _quoted(setting: Setting, value: Value) -> str:
    """A value as Hydra reads it: text in quotes where it holds signs that mean something there."""
    text = word(value)
    plain = not isinstance(setting.choices.get(text), str) or PLAIN.fullmatch(text)
    return text if plain else "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _is_one_of(value: object, any_of: Sequence[Any]) -> bool:
    """Whether a value is one of these, or as a list holds one."""
    return value in any_of or (isinstance(value, list) and any(one in value for one in any_of))


def _check_conditions(setting: Setting, before: Mapping[str, Setting]) -> None:
    """Raise BadInput where a setting hangs on none before it."""
    for name in setting.when or ():
        if name not in before:
            raise BadInput(
                f"search.space.{setting.name} is chosen by what {name} is; expected the name of a "
                f"setting before it: {', '.join(before) or 'there is none'}"
            )


def _items(when: Mapping[str, Sequence[Any]] | None) -> list[tuple[str, Sequence[Any]]]:
    return list(when.items()) if when else []

"""Base of every service's settings: typed, frozen, read once, no silent typos."""

from __future__ import annotations

import os
from difflib import get_close_matches
from typing import Any, Self

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

_known: set[str] = set()


class Settings(BaseSettings):
    """Settings read from variables `TECTUM_<SERVICE>_<FIELD>`."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        _known.update(cls.variables())

    @classmethod
    def variables(cls) -> set[str]:
        """The names of the variables that this class reads."""
        prefix = cls.model_config["env_prefix"]
        return {f"{prefix}{name}".upper() for name in cls.model_fields}

    @classmethod
    def load(cls) -> Self:
        """Read the environment.

        Raises:
            ValueError: a variable has this class's prefix and no class knows it, or a value is out of range.
        """
        refuse_unknown(cls.model_config["env_prefix"])
        try:
            return cls()
        except ValidationError as error:
            prefix = cls.model_config["env_prefix"]
            problems = "; ".join(
                f"{prefix}{'_'.join(str(part) for part in item['loc'])}".upper()
                + f": {item['msg']}, got {item['input']!r}"
                for item in error.errors()
            )
            raise ValueError(problems) from None


def refuse_unknown(prefix: str = "TECTUM_") -> None:
    """Refuse variables that begin with `prefix` and that no settings class knows.

    A process calls it without a prefix once all its services and plug-ins are loaded: before that, the
    settings of some of them are not known yet.

    Raises:
        ValueError: there are such variables; each is named with the known one that is nearest to it.
    """
    unknown = [text for text in unknown_variables() if text.upper().startswith(prefix)]
    if unknown:
        raise ValueError("unknown settings: " + "; ".join(unknown))


def unknown_variables() -> list[str]:
    """The TECTUM_* variables that no settings class knows, each with the known name that is nearest to it."""
    found = []
    for name in sorted(os.environ):
        if name.upper().startswith("TECTUM_") and name.upper() not in _known:
            near = get_close_matches(name.upper(), _known, n=1)
            found.append(name + (f" (did you mean {near[0]}?)" if near else ""))
    return found


def child_environment(**settings: str) -> dict[str, str]:
    """The environment for a process of the platform: this one's without its TECTUM_* variables, plus `settings`."""
    kept = {
        name: value for name, value in os.environ.items() if not name.upper().startswith("TECTUM_")
    }
    return kept | settings

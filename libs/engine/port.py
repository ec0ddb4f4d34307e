"""The model engine that services depend on; adapters sit beside this file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

TEXTS_MAX = 64
"""The most texts of one call."""

TEXT_CHARACTERS_MAX = 32_768
"""The longest text of a call; a model reads only its first `tokens_max` tokens."""


class Engine(Protocol):
    """Answers models by name; a caller cannot tell where they run."""

    async def embed(self, model: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return (N, D) float32, one row of length 1 for each text, in their order.

        A text's row depends on the text alone, not on the others of the call.

        Raises:
            InvalidRequest: more than TEXTS_MAX texts (BATCH_TOO_LARGE), or a text longer than
                TEXT_CHARACTERS_MAX (TEXT_TOO_LONG).
            NotFound: no such model (MODEL_UNKNOWN), or a file of it is missing (MODEL_MISSING).
            DependencyDown: a file of it is not what the catalogue says (MODEL_HASH_MISMATCH).
            Overloaded: too many calls are under way (OFFLOAD_FULL).
        """
        ...

    async def aclose(self) -> None:
        """Stop once what runs has ended."""
        ...

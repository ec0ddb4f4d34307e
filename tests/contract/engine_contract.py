"""What every Engine adapter must do. Subclasses supply the `engine` fixture."""

from __future__ import annotations

import numpy as np
import pytest

from libs.engine.port import TEXT_CHARACTERS_MAX, TEXTS_MAX, Engine
from libs.errors import InvalidRequest, NotFound

PARAPHRASES = [
    ("Delete the message from Anna", "Remove the mail that Anna sent"),
    ("Book a flight from Oslo to Rome", "Reserve a plane ticket, Oslo to Rome"),
    ("Choose the largest number", "Pick the number that is biggest"),
    ("Close the dialog box", "Dismiss the popup window"),
    ("Sign in with the given password", "Log in using the password below"),
]


class EngineContract:
    async def test_rows_are_unit_float32_in_order(self, engine: Engine) -> None:
        rows = await engine.embed("minilm", ["press the button", "write a letter"])
        assert rows.shape == (2, 384)
        assert rows.dtype == np.float32
        assert np.allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-5)
        swapped = await engine.embed("minilm", ["write a letter", "press the button"])
        assert np.array_equal(swapped, rows[::-1])

    async def test_a_row_does_not_depend_on_its_companions(self, engine: Engine) -> None:
        alone = await engine.embed("minilm", ["press the button"])
        among = await engine.embed(
            "minilm", ["press the button", "a much longer text " * 20, "z" * 500]
        )
        assert np.array_equal(alone[0], among[0])

    async def test_paraphrases_are_nearest_to_each_other(self, engine: Engine) -> None:
        left = await engine.embed("minilm", [a for a, _ in PARAPHRASES])
        right = await engine.embed("minilm", [b for _, b in PARAPHRASES])
        assert (left @ right.T).argmax(axis=1).tolist() == list(range(len(PARAPHRASES)))

    async def test_no_texts_give_no_rows(self, engine: Engine) -> None:
        assert (await engine.embed("minilm", [])).shape == (0, 384)

    @pytest.mark.parametrize("text", ["", " ", "\x00", "日本語 🎯", "a" * TEXT_CHARACTERS_MAX])
    async def test_odd_texts_have_finite_rows(self, engine: Engine, text: str) -> None:
        assert np.isfinite(await engine.embed("minilm", [text])).all()

    async def test_an_unknown_model_is_named(self, engine: Engine) -> None:
        with pytest.raises(NotFound, match="gpt-9") as caught:
            await engine.embed("gpt-9", ["x"])
        assert caught.value.reason == "MODEL_UNKNOWN"

    async def test_too_many_texts_are_refused(self, engine: Engine) -> None:
        with pytest.raises(InvalidRequest) as caught:
            await engine.embed("minilm", ["x"] * (TEXTS_MAX + 1))
        assert caught.value.reason == "BATCH_TOO_LARGE"

    async def test_a_text_that_is_too_long_is_refused(self, engine: Engine) -> None:
        with pytest.raises(InvalidRequest) as caught:
            await engine.embed("minilm", ["x" * (TEXT_CHARACTERS_MAX + 1)])
        assert caught.value.reason == "TEXT_TOO_LONG"

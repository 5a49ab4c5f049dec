"""Structured failure reports: filed by people, metrics and gates, triaged, reproduced, and turned into regression cases.

taxonomy      classes and leaves of failures, with definitions, examples and the evidence for each
record        the report itself; `schema` exports it as JSON Schema
states        which step leads where
fingerprint   when two reports may be about the same thing
store         the database and the media folder
drafts        reports prefilled from a clip of a run, a comparison or a gate's verdict
reproduce     run the model again over k seeds and let the detectors judge
promote       from a confirmed report to `regressions/<id>.yaml`
exporting     JSON, JSONL, CSV, GitHub, Label Studio, FiftyOne, AVID
"""

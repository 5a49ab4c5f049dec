"""Pass or block a change by a policy, with one exit code per cause.

    policy      the policy file, read strictly
    waivers     what may be worse for a while, by whom and until when
    baselines   promoted runs with a lock file
    evidence    what a gate judges: candidate, baseline, the pairs of one check
    checks      one function per kind of check
    verdict     results, and the one function that turns them into verdict, text and exit code
    run         `run_gate`
    render      text, JSON, JUnit, Markdown, annotations
    selftest    injects defects and must see red
    noise       variation between two runs of one model, and margins from it

evalkit writes files; posting them is the workflow's job.
"""

"""The local web app: browse runs, file and triage failure reports, vote blind between two runs.

settings   what the server was started with
accounts   who may do what: tokens, scopes, sessions
security   the checks that every request passes, and the headers that every answer carries
library    the runs below one folder, by id
uploads    bodies streamed to disk under a cap
votes      blind A/B ballots, leaderboard, rater agreement, agreement of metrics with votes
jobs       reproductions that run in a child process
app        everything put together
"""

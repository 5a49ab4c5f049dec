"""Statistics for comparing video models: the prompt is the cluster, always.

Arrays in, named tuples out; numpy and scipy only. What is where:

    pairing      strict pairing of two score tables, and means per prompt
    intervals    t, studentized bootstrap, percentile bootstrap, Wilson
    significance sign flips, exact McNemar, Holm, Benjamini-Hochberg
    power        smallest detectable effect, prompts needed, between and within prompt variance
    margins      non-inferiority: PASS, REGRESS or INCONCLUSIVE from a bound and a margin
    sets         MMD permutation test, label-swap test and prompt bootstrap for FVD and KVD
    looks        planned interim looks with O'Brien-Fleming spending
    preferences  Bradley-Terry with ties, agreement between raters

Every function that needs random numbers takes a `numpy.random.Generator`; nothing here keeps state.
The reasons for these choices, with the simulations behind them, are in `docs/explanation/how-we-compare.md`.
"""

"""Paired statistics: two models, the same cases. Numbers in, numbers out; a statistician can audit this room alone.

`difference` is always after minus before: a loss is negative. Published tables name their cells in many orders; here a
table is always `Pairs(both, only_before, only_after, neither)`. Left out on purpose: what a number means for a
patient (`rounds.exam.compare` decides findings), files, models, and unpaired tests, which answer another question.
"""

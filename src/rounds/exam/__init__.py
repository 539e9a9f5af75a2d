"""The exam: marks side by side, findings, and the report a person looks at.

Left out on purpose: how a single answer is marked (`rounds.grade`) and the tests behind the findings (`rounds.stats`).
"""

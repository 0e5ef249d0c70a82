"""State to figures: for each metric of ``table`` its samples, read off one snapshot. A module a subject.

Owns no state: what is gone from the snapshot is gone from the exposition.
"""

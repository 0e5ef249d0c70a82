"""The vocabulary: values only, standard library only, no decisions.

Everything here is a frozen value that was parsed at the edge and is never re-checked inside.
The words are Akash's; ``docs/glossary.md`` lists them and a test holds the class names to it.
"""

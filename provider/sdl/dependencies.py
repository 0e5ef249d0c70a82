"""Who waits for whom at the start: ``dependencies`` of a file, as far as services share a group.

Akash reads them and does nothing with them, and its manifest has no place for them, so they travel beside it.
Invariant: what is derived has no circle; a file with one is refused, or, read leniently, starts as if it said
nothing.
"""

from __future__ import annotations

from provider.domain.workload import Dependency
from provider.sdl.blocks import Findings
from provider.sdl.check import Sections
from provider.sdl.problems import quote
from provider.sdl.scalars import Complaint


def dependencies_of(sections: Sections) -> tuple[Dependency, ...]:
    """Of all groups, sorted; none of a group that has a circle."""
    found = {each for pairs in _by_group(sections).values() if not _circle(pairs) for each in pairs}
    return tuple(sorted(found))


def check_dependencies(sections: Sections, findings: Findings) -> None:
    """Services that wait for each other would never start."""
    for pairs in _by_group(sections).values():
        circle = _circle(pairs)
        if circle:
            first, way = circle[0], ", which needs ".join(map(quote, (*circle[1:], circle[0])))
            what = f"{quote(first)} needs {way}: none of them can start first"
            complaint = Complaint(what=what, hint="leave one of these dependencies out", is_soft=True)
            findings.add(sections.services[first].place("dependencies"), complaint)


def _by_group(sections: Sections) -> dict[str, frozenset[Dependency]]:
    """By the placement's name."""
    names: dict[str, set[str]] = {}
    for use in sections.uses:
        names.setdefault(use.placement_name, set()).add(use.service_name)
    return {
        group: frozenset(
            Dependency(service=name, needs=needs)
            for name in members
            if name in sections.services
            for block in sections.services[name].blocks("dependencies")
            if (needs := block.text("service")) in members and needs is not None
        )
        for group, members in sorted(names.items())
    }


def _circle(pairs: frozenset[Dependency]) -> list[str]:
    """Services of which each needs the next and the last the first, from the first by name; empty if none."""
    needs: dict[str, list[str]] = {}
    for pair in sorted(pairs):
        needs.setdefault(pair.service, []).append(pair.needs)
    left = set(needs)
    while free := {name for name in left if not left.intersection(needs[name])}:
        left -= free
    if not left:
        return []
    way = [min(left)]
    while True:
        following = next(name for name in needs[way[-1]] if name in left)
        if following in way:
            return way[way.index(following) :]
        way.append(following)

"""The images of one engine, as leases use them: which one a name stands for, and that it is here.

Owns the choice and its pin. A name is resolved once for a manifest; from then on that lease runs that image,
whatever becomes of the tag, the registry or this process. Owns too that nobody uses an image by the login of
somebody else: what took a login to get is given only to whom the registry gives it as well.

Does not own how a pull goes (``pulling``), nor when an image goes (``collector``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import docker

from provider.adapters.runtime.engine import Engine
from provider.adapters.runtime.images import policy, registry
from provider.adapters.runtime.images.collector import Collector
from provider.adapters.runtime.images.facts import ImageFacts, look
from provider.adapters.runtime.images.pulling import Errand, NoRoom, Puller
from provider.adapters.runtime.images.record import Pin, Record, Source
from provider.adapters.runtime.images.reference import Reference, login_for
from provider.domain.errors import ImageUnavailable, ProviderError, Temporary
from provider.domain.ids import LeaseId
from provider.domain.manifest import Credentials
from provider.ports import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """An image of a manifest. Without a tenant's lease: the operator's own wish, which no list forbids."""

    image: str
    credentials: Credentials | None = None
    lease: LeaseId | None = None
    generation: int = 0

    @property
    def is_operators(self) -> bool:
        return self.lease is None or self.lease.is_idle


@dataclass(frozen=True, slots=True, kw_only=True)
class _Got:
    facts: ImageFacts
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Offer:
    """Where an image can be had."""

    reference: Reference
    """With its digest."""
    login: Credentials | None


class Images:
    """The images of one engine."""

    def __init__(
        self, engine: Engine, clock: Clock, record: Record, puller: Puller, collector: Collector
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._record = record
        self._puller = puller
        self._collector = collector
        self._settings = engine.settings.images

    async def ensure(self, wanted: Wanted) -> ImageFacts:
        """Have it here and, for a lease, pinned.

        ``ImageUnavailable``: there is no such image, or not for this tenant, or not for this machine.
        """
        reference = Reference.parse(wanted.image)
        pin = self._pin(wanted)
        if pin is not None:
            got = await self._pinned(wanted, reference, pin)
        else:
            if not wanted.is_operators:
                policy.check_lists(self._settings, reference)
            got = await self._resolved(wanted, reference)
        await self._check_architecture(wanted.image, (got.facts.architecture,))
        if wanted.lease is not None:
            self._record.put_pin(
                wanted.lease, wanted.generation, wanted.image, Pin(image=got.facts.id, digest=got.digest)
            )
        self._record.used(got.facts.id, self._clock.now())
        return got.facts

    async def pinned(self, lease: LeaseId, generation: int, image: str) -> ImageFacts:
        """What ``ensure`` had here; ``Temporary`` when it is gone again."""
        pin = self._record.pin(lease, generation, image)
        facts = await look(self._engine, pin.image) if pin else None
        if facts is None:
            raise Temporary(f"{image} was removed while it was being used")
        return facts

    def forget(self, lease: LeaseId) -> None:
        """Unpin the images of all the lease's generations: while it lives an update may be taken back."""
        self._record.drop_pins(lease)

    def _pin(self, wanted: Wanted) -> Pin | None:
        if wanted.lease is None:
            return None
        return self._record.pin(wanted.lease, wanted.generation, wanted.image)

    async def _pinned(self, wanted: Wanted, reference: Reference, pin: Pin) -> _Got:
        """That very image, pulled again by its digest where somebody removed it."""
        facts = await look(self._engine, pin.image)
        if facts is None and not pin.digest:
            raise ImageUnavailable(
                f"{wanted.image} was removed from this machine, and no registry has it",
                remedy="load it again, or send the manifest with another image",
            )
        if facts is None:
            facts = await self._fetch(wanted, replace(reference, digest=pin.digest))
        return _Got(facts=facts, digest=pin.digest)

    async def _resolved(self, wanted: Wanted, reference: Reference) -> _Got:
        if policy.matches(self._settings.local, reference):
            facts = await look(self._engine, reference.full)
            if facts is not None:
                return _Got(facts=facts, digest="")
        known = await self._public_copy(reference)
        if known is not None and not reference.is_floating:
            return known
        try:
            offer = await self._ask(wanted, reference)
        except Temporary:
            if known is None:
                raise
            return known  # the registry is away: the copy that is here will do
        digest = offer.reference.version
        facts = await self._here(offer.reference, reference, digest) or await self._fetch_from(
            wanted, reference, offer
        )
        source = (reference.repository, digest)
        self._record.put(facts.id, source, self._clock.now(), is_public=offer.login is None)
        if reference.digest is None:
            self._record.stands_for(reference.repository, reference.tag, digest)
        return _Got(facts=facts, digest=digest)

    async def _public_copy(self, reference: Reference) -> _Got | None:
        """What is here under that name, if everybody could get it without a login."""
        source: Source | None = self._record.source(reference.repository, reference.version)
        if source is None or not source.is_public:
            return None
        facts = await look(self._engine, source.image)
        return None if facts is None else _Got(facts=facts, digest=source.digest)

    async def _here(self, offered: Reference, named: Reference, digest: str) -> ImageFacts | None:
        """The image of that digest, whoever pulled it: the registry has just said that this tenant may."""
        source = self._record.source(named.repository, digest)
        if source is not None:
            facts = await look(self._engine, source.image)
            if facts is not None:
                return facts
        return await look(self._engine, f"{offered.repository}@{digest}")

    async def _ask(self, wanted: Wanted, reference: Reference) -> _Offer:
        """Who has it: the operator's mirror, or else its registry."""
        mirrored = self._at_mirror(reference)
        if mirrored is not None:
            try:
                return await self._offer(wanted, mirrored, None)
            except ProviderError:
                pass  # then the registry itself
        await self._check_address(wanted, reference)
        return await self._offer(wanted, reference, login_for(reference, wanted.credentials))

    async def _offer(self, wanted: Wanted, reference: Reference, login: Credentials | None) -> _Offer:
        manifest = await registry.ask(self._engine, reference, login)
        await self._check_architecture(wanted.image, manifest.architectures)
        return _Offer(reference=replace(reference, digest=manifest.digest), login=login)

    def _at_mirror(self, reference: Reference) -> Reference | None:
        mirror = self._settings.mirrors.get(reference.registry)
        return replace(reference, registry=mirror) if mirror else None

    async def _check_address(self, wanted: Wanted, reference: Reference) -> None:
        if wanted.is_operators:
            return
        info = await self._engine.info()
        await policy.check_address(
            self._settings,
            reference,
            resolve=policy.resolve_here,
            by_proxy=bool(info.get("HttpsProxy") or info.get("HTTPSProxy")),
        )

    async def _fetch(self, wanted: Wanted, reference: Reference) -> ImageFacts:
        """By its digest, from wherever it can be had."""
        offer = await self._ask(wanted, reference)
        facts = await self._fetch_from(wanted, reference, offer)
        source = (reference.repository, offer.reference.version)
        self._record.put(facts.id, source, self._clock.now(), is_public=offer.login is None)
        return facts

    async def _fetch_from(self, wanted: Wanted, reference: Reference, offer: _Offer) -> ImageFacts:
        errand = Errand(reference=offer.reference, image=wanted.image, login=offer.login, lease=wanted.lease)
        try:
            await self._puller.pull(errand)
        except NoRoom as short:
            if not await self._collector.make_room(short.needed_bytes):
                raise
            await self._puller.pull(errand)
        facts = await look(self._engine, offer.reference.full)
        if facts is None:
            raise Temporary(f"{wanted.image} was removed while it was being looked at")
        self._record.put(facts.id, None, self._clock.now(), is_public=False)
        self._record.named(facts.id, offer.reference.full)
        if reference.digest is None:
            await self._name(facts, reference)
        return facts

    async def _name(self, facts: ImageFacts, reference: Reference) -> None:
        """Under its own name for whoever looks at the engine, unless that name is somebody else's there."""
        holder = await look(self._engine, reference.full)
        if holder is not None and not self._record.is_ours(reference.full):
            return

        def tag(client: docker.APIClient) -> None:
            client.tag(facts.id, reference.repository, reference.tag)

        await self._engine.call(f"naming image {reference.full}", tag)
        self._record.named(facts.id, reference.full)

    async def _check_architecture(self, image: str, offered: tuple[str, ...]) -> None:
        ours = (await self._engine.facts()).architecture
        if any(offered) and ours not in offered:
            raise ImageUnavailable(
                f"{image} is for {', '.join(offered)}, this machine is {ours}",
                remedy=f"use an image built for {ours}",
            )

"""Reads from the cluster what a number needs: everything that is observed but Meta."""

import dataclasses
from collections.abc import Callable

from waypost.bot import script as bot_script
from waypost.operator.api.condition_types import Reason
from waypost.operator.cluster.interface import Cluster
from waypost.operator.cluster.registry_secrets import Registry
from waypost.operator.number import credentials as secret
from waypost.operator.number import operator_secrets
from waypost.operator.number.claims import Claim, Claims
from waypost.operator.number.operator_secrets import Keeping
from waypost.operator.number.state import Desired, Observed, Script
from waypost.operator.number.subject import Subject

BOT_KEY = "bot.yaml"


class Gatherer:
    """Of all numbers of one operator."""

    def __init__(
        self, cluster: Cluster, registry: Registry, keeping_: Keeping, claims: Claims, clock: Callable[[], float]
    ) -> None:
        self._cluster = cluster
        self._registry = registry
        self._keeping = keeping_
        self._claims = claims
        self._clock = clock

    async def gather(self, subject: Subject, desired: Desired, *, may_refresh: bool) -> Observed:
        """All but Meta, as it is now. Raises `ClusterError`."""
        credentials = desired.spec.credentials_ref.name
        stored = await self._cluster.secret(desired.namespace, credentials)
        observed = Observed(
            credentials=secret.read(stored, desired.namespace, credentials),
            secret_version=stored.resource_version if stored else "",
            script=await self._script(desired),
            status=subject.status,
            may_retry_refused=subject.is_requested,
        )
        # New credentials make us write what we keep: a verify token that a person put there just now must not be lost.
        anew = subject.is_requested or observed.checked_version != observed.secret_version
        return await self.ours(observed, subject, desired, may_refresh=may_refresh, anew=anew)

    async def ours(
        self, observed: Observed, subject: Subject, desired: Desired, *, may_refresh: bool, anew: bool = False
    ) -> Observed:
        """The same with what the operator writes as it is now, after it acted. What others write and is changed
        meanwhile makes another reconcile. `anew`: even what was written just now is read. Raises `ClusterError`.
        """
        namespace, name, credentials = desired.namespace, desired.name, desired.spec.credentials_ref.name
        access = await self._keeping.read_access(namespace, credentials, anew=anew)
        rival = await self._claims.rival(subject.claim)
        in_use = True
        if access is not None and access.retired is not None and access.retire_at <= self._clock():
            in_use = await self._registry.carries(access.retired)
        return dataclasses.replace(
            observed,
            kept=await self._keeping.read(namespace, name, anew=anew),
            access=access,
            published=await self._registry.read(namespace, name),
            rival=_named(rival, namespace) if rival else None,
            status=subject.status,
            old_token_in_use=in_use,
            may_refresh=may_refresh,
            candidate_verify_token=operator_secrets.verify_token(),
        )

    async def _script(self, desired: Desired) -> Script:
        bot = desired.spec.bot
        if bot is None or bot.config_map_ref is None:
            return Script()
        name = bot.config_map_ref.name
        stored = await self._cluster.config_map(desired.namespace, name)
        if stored is None:
            message = f"There is no ConfigMap {name} in this namespace. Create it, or correct spec.bot."
            return Script(problem=(Reason.CONFIG_MAP_MISSING, message))
        content = stored.data.get(BOT_KEY)
        if content is None:
            message = f"The ConfigMap {name} has no key {BOT_KEY}. Put the script there."
            return Script(problem=(Reason.SCRIPT_MISSING, message))
        try:
            text = content.decode()
            bot_script.load(text)
        except UnicodeDecodeError:
            message = f"The key {BOT_KEY} of the ConfigMap {name} is not text. Put the script there."
            return Script(problem=(Reason.SCRIPT_INVALID, message))
        except bot_script.ScriptError as error:
            message = f"Correct the script in the key {BOT_KEY} of the ConfigMap {name}: {error}"
            return Script(problem=(Reason.SCRIPT_INVALID, message))
        return Script(text=text)


def _named(rival: Claim, namespace: str) -> str:
    """Other teams' objects are not named to this one."""
    return f"WhatsAppNumber {rival.name}" if rival.namespace == namespace else "a number in another namespace"

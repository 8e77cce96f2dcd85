"""Reads from the cluster everything that is observed about a number except Meta's answers."""

import dataclasses
from collections.abc import Callable

from waypost.contracts.condition_types import Reason
from waypost.operator.cluster.interface import Cluster
from waypost.operator.cluster.registry_secrets import Registry
from waypost.operator.number import credentials as secret
from waypost.operator.number.operator_secrets import OperatorSecrets, new_verify_token
from waypost.operator.number.resource import NumberResource
from waypost.operator.number.state import Desired, Observed, Script
from waypost.operator.scripts.checker import ScriptChecker

BOT_KEY = "bot.yaml"


class ClusterFacts:
    """Reads the facts about each number of one operator."""

    def __init__(
        self,
        cluster: Cluster,
        registry: Registry,
        secrets: OperatorSecrets,
        clock: Callable[[], float],
    ) -> None:
        self._cluster = cluster
        self._registry = registry
        self._secrets = secrets
        self._clock = clock
        self._scripts = ScriptChecker()

    async def read(self, resource: NumberResource, desired: Desired, *, may_refresh: bool) -> Observed:
        """Returns everything that is observed about a number, except Meta's answers. Raises `ClusterError`."""
        credentials = desired.spec.credentials_ref.name
        stored = await self._cluster.secret(desired.namespace, credentials)
        observed = Observed(
            credentials=secret.read(stored, desired.namespace, credentials),
            secret_version=stored.resource_version if stored else "",
            script=await self._script(desired),
            status=resource.status,
            may_retry_refused=resource.is_requested,
        )
        # After new credentials the operator's Secret is written. A verify token that a person has just put there by
        # hand must not be lost, so the Secret is read first.
        bypass_cache = resource.is_requested or observed.checked_version != observed.secret_version
        return await self.reread_own(observed, resource, desired, may_refresh=may_refresh, bypass_cache=bypass_cache)

    async def reread_own(
        self,
        observed: Observed,
        resource: NumberResource,
        desired: Desired,
        *,
        may_refresh: bool,
        bypass_cache: bool = False,
    ) -> Observed:
        """Returns `observed` after an action. Everything that the operator itself writes is read again.

        What others write is not read again, because a change of it causes another reconcile. With `bypass_cache`,
        cached values are read again too. Raises `ClusterError`.
        """
        namespace, name, credentials = desired.namespace, desired.name, desired.spec.credentials_ref.name
        refreshed = await self._secrets.read_refreshed(namespace, credentials, bypass_cache=bypass_cache)
        published = await self._registry.read(namespace, name)
        no_room = None
        if published.number is not None and observed.script.text is not None:
            no_room = await self._registry.refusal(namespace, name, observed.script.text)
        in_use = True
        if refreshed is not None and refreshed.retired is not None and refreshed.retire_at <= self._clock():
            in_use = await self._registry.carries(refreshed.retired)
        return dataclasses.replace(
            observed,
            secrets=await self._secrets.read(namespace, name, bypass_cache=bypass_cache),
            refreshed=refreshed,
            published=published,
            no_room=no_room,
            quota=await self._registry.use(namespace),
            status=resource.status,
            old_token_in_use=in_use,
            may_refresh=may_refresh,
            candidate_verify_token=new_verify_token(),
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
        except UnicodeDecodeError:
            message = f"The key {BOT_KEY} of the ConfigMap {name} is not text. Put the script there."
            return Script(problem=(Reason.SCRIPT_INVALID, message))
        if (problem := await self._scripts.problem(text)) is not None:
            message = f"Correct the script in the key {BOT_KEY} of the ConfigMap {name}: {problem}"
            return Script(problem=(Reason.SCRIPT_INVALID, message))
        return Script(text=text)

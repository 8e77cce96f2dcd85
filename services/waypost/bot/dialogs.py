"""Dialogs ask a series of questions and store the answers.

A step asks (`ask`, `confirm`), says something (`say`) or hands off (`hand_off`). `next` names the step that
follows. Mistakes that can be detected are refused when the script is loaded: steps that do not exist, steps
that cannot be reached, and loops without a question.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from waypost.bot import actions, answers, replies
from waypost.bot.actions import Action, Handover
from waypost.bot.answers import Expectation, MultipleChoice
from waypost.bot.document import Node
from waypost.bot.patterns import PatternBudget
from waypost.bot.replies import Names, ScriptedReply

END = "end"
ANSWER = ""
"""The slot name under which conditions find the answer to the current question.

No step can store a slot with an empty name.
"""

_MOST_DIALOGS = 100
_MOST_STEPS = 100
_DEFAULT_TIMEOUT_MINUTES = 60
_DEFAULT_TRIES = 3
_ASKING_KEYS = frozenset({"expect", "retry", "max_tries", "give_up", "store"})
_CONFIRM_KEYS = frozenset({"yes", "no", "yes_title", "no_title", "retry", "max_tries", "give_up"})
_DEFAULT_GIVE_UP = "Let us leave it there. Write again whenever you like."


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on a stored answer.

    The condition is true if the answer is one of `values` and lies between the bounds. If `values` is empty, only
    the bounds count.
    """

    slot: str
    values: frozenset[str] = frozenset()
    above: Decimal | None = None
    below: Decimal | None = None

    def holds(self, slots: Mapping[str, str]) -> bool:
        """Returns whether the stored answers meet the condition.

        An answer that is not a number is never between bounds.
        """
        value = slots.get(self.slot)
        if value is None or (self.values and value not in self.values):
            return False
        if self.above is None and self.below is None:
            return True
        try:
            number = Decimal(value)
        except InvalidOperation:
            return False
        if not number.is_finite():
            return False
        return (self.above is None or number > self.above) and (self.below is None or number < self.below)


@dataclass(frozen=True, slots=True)
class Route:
    """Names the step that follows if all conditions hold. If `target` is None, the dialog ends."""

    target: str | None
    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """What the bot does when a message does not answer the question.

    The bot says `retry`. After `max_tries` such messages it performs `give_up`.
    """

    retry: ScriptedReply = ()
    max_tries: int = _DEFAULT_TRIES
    give_up: Action = Action()  # noqa: RUF009 - frozen


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a dialog.

    `expect` is None if the step does not wait for an answer. A step with `handover` ends the dialog.
    """

    name: str
    say: ScriptedReply
    routes: tuple[Route, ...]
    expect: Expectation | None = None
    store: str | None = None
    retry_policy: RetryPolicy = RetryPolicy()
    handover: Handover | None = None

    def shows(self, button_id: str) -> bool:
        """Returns whether the step's question shows the button or row with the id `button_id`."""
        return isinstance(self.expect, MultipleChoice) and button_id in self.expect.titles

    def next_step(self, slots: Mapping[str, str]) -> str | None:
        """Returns the name of the next step, or None at the end of the dialog."""
        for route in self.routes:
            if all(condition.holds(slots) for condition in route.conditions):
                return route.target
        return None


@dataclass(frozen=True, slots=True)
class Dialog:
    """A series of steps in order. The dialog begins with the step `first`."""

    name: str
    steps: Mapping[str, Step]
    first: str
    timeout_s: float
    timed_out: ScriptedReply
    done: ScriptedReply
    slots: frozenset[str]


def stored_slots(node: Node) -> frozenset[str]:
    """Returns the names of all answers that the steps store.

    The names are read before the steps, because the texts of any step may refer to them.
    """
    found = set()
    for dialog in node.named("dialog", most=_MOST_DIALOGS).values():
        for step in _steps_of(dialog).values():
            for key, value in step.keyed("key", most=20).items():
                if key == "store":
                    name = value.text(most=64)
                    if not name.isascii() or not name.isidentifier() or name != name.lower():
                        value.fail("is not a valid name for an answer; use lower-case letters, digits and _")
                    found.add(name)
    return frozenset(found)


def _steps_of(dialog: Node) -> dict[str, Node]:
    fields = dialog.fields({"timeout_minutes", "timed_out", "steps", "done"}, required=("steps",))
    return fields["steps"].named("step", most=_MOST_STEPS)


def read(node: Node, names: Names, budget: PatternBudget) -> dict[str, Dialog]:
    """Reads the `dialogs` of a script and checks them."""
    entries = node.named("dialog", most=_MOST_DIALOGS)
    return {name: _dialog(name, entry, names, budget) for name, entry in entries.items()}


def _dialog(name: str, node: Node, names: Names, budget: PatternBudget) -> Dialog:
    fields = node.fields({"timeout_minutes", "timed_out", "steps", "done"})
    nodes = _steps_of(node)
    if END in nodes:
        nodes[END].fail("'end' is reserved for the end of the dialog; give the step another name")
    order = list(nodes)
    steps: dict[str, Step] = {}
    for index, (step_name, entry) in enumerate(nodes.items()):
        following = order[index + 1] if index + 1 < len(order) else None
        steps[step_name] = _step(step_name, entry, names, budget, following=following, order=order)
    _refuse_unreachable(nodes, steps, order[0])
    _refuse_circles(nodes, steps)
    return Dialog(
        name=name,
        steps=steps,
        first=order[0],
        timeout_s=60.0
        * (fields["timeout_minutes"].whole(1, 24 * 60) if "timeout_minutes" in fields else _DEFAULT_TIMEOUT_MINUTES),
        timed_out=replies.read(fields["timed_out"], names) if "timed_out" in fields else (),
        done=replies.read(fields["done"], names) if "done" in fields else (),
        slots=frozenset(step.store for step in steps.values() if step.store),
    )


def _step(
    name: str, node: Node, names: Names, budget: PatternBudget, *, following: str | None, order: list[str]
) -> Step:
    kinds = ("ask", "confirm", "say", "hand_off")
    fields = node.fields({*kinds, "next", *_ASKING_KEYS, *_CONFIRM_KEYS})
    given = [kind for kind in kinds if kind in fields]
    if len(given) != 1:
        node.fail(f"give exactly one of {', '.join(kinds)}")
    kind = given[0]
    allowed = {"ask": _ASKING_KEYS | {"next"}, "confirm": _CONFIRM_KEYS, "say": {"next"}, "hand_off": set()}[kind]
    for key, value in fields.items():
        if key not in allowed and key != kind:
            value.fail(f"cannot be used with {kind!r}; remove it")
    if kind == "hand_off":
        return Step(name, (), (), handover=actions.handover(fields[kind], names))
    if kind == "say":
        routes = _routes(fields.get("next"), names, following=following, order=order, expect=None)
        return Step(name, replies.read(fields[kind], names), routes)
    if kind == "confirm":
        return _confirm(name, fields, names, following=following, order=order)
    question = replies.read(fields["ask"], names)
    options = {identity: title for message in question for identity, title in message.options.items()}
    expect = answers.read(fields.get("expect"), options, budget)
    store = fields["store"].text() if "store" in fields else None
    return Step(
        name,
        question,
        _routes(fields.get("next"), names, following=following, order=order, expect=expect),
        expect=expect,
        store=store,
        retry_policy=_retry_policy(fields, names),
    )


def _confirm(name: str, fields: Mapping[str, Node], names: Names, *, following: str | None, order: list[str]) -> Step:
    titles = {
        identity: fields[f"{identity}_title"].text(most=20) if f"{identity}_title" in fields else identity.capitalize()
        for identity in ("yes", "no")
    }
    agreed = _target(fields["yes"], order) if "yes" in fields else following
    refused = _target(fields["no"], order) if "no" in fields else order[0]
    return Step(
        name,
        replies.question(fields["confirm"], names, titles),
        (Route(agreed, (Condition(ANSWER, frozenset({"yes"})),)), Route(refused)),
        expect=answers.yes_or_no(titles["yes"], titles["no"]),
        retry_policy=_retry_policy(fields, names),
    )


def _retry_policy(fields: Mapping[str, Node], names: Names) -> RetryPolicy:
    give_up = Action(reply=replies.fixed(_DEFAULT_GIVE_UP))
    if "give_up" in fields:
        give_up = actions.read(fields["give_up"].fields({"reply", "hand_off"}), names, fields["give_up"])
    return RetryPolicy(
        retry=replies.read(fields["retry"], names) if "retry" in fields else (),
        max_tries=fields["max_tries"].whole(1, 20) if "max_tries" in fields else _DEFAULT_TRIES,
        give_up=give_up,
    )


def _target(node: Node, order: list[str]) -> str | None:
    target = node.text()
    if target == END:
        return None
    if target not in order:
        node.fail(f"step {target!r} does not exist; use one of: {', '.join([*order, END])}")
    return target


def _routes(
    node: Node | None, names: Names, *, following: str | None, order: list[str], expect: Expectation | None
) -> tuple[Route, ...]:
    default = Route(following)
    if node is None:
        return (default,)
    if node.is_text:
        return (Route(_target(node, order)),)
    if node.is_mapping:
        return (*_routes_by_answer(node, order, expect), default)
    routes: list[Route] = []
    nodes = node.items("rule", most=50)
    for position, entry in enumerate(nodes):
        fields = entry.fields({"when", "go"}, required=("go",))
        if "when" not in fields and position + 1 < len(nodes):
            entry.fail("has no `when`, so the rules below it are never reached; move it to the end")
        conditions = (
            tuple(_condition(slot, value, names) for slot, value in fields["when"].keyed("condition", most=20).items())
            if "when" in fields
            else ()
        )
        routes.append(Route(_target(fields["go"], order), conditions))
    if routes[-1].conditions:
        routes.append(default)
    return tuple(routes)


def _routes_by_answer(node: Node, order: list[str], expect: Expectation | None) -> list[Route]:
    if not isinstance(expect, MultipleChoice):
        node.fail("maps answers to steps, which needs a question with choices; use a list of {when, go} rules")
    routes = []
    for answer, target in node.keyed("answer", most=50).items():
        if answer not in expect.titles:
            target.fail(f"is not an answer of this step; its answers are: {', '.join(expect.titles)}")
        routes.append(Route(_target(target, order), (Condition(ANSWER, frozenset({answer})),)))
    return routes


def _condition(slot: str, node: Node, names: Names) -> Condition:
    if slot not in names.slots:
        node.fail(f"no step stores {slot!r}; stored answers: {', '.join(sorted(names.slots)) or 'none'}")
    if node.is_mapping:
        fields = node.fields({"above", "below"})
        if not fields:
            node.fail("give above, below or both")
        return Condition(
            slot,
            above=fields["above"].number() if "above" in fields else None,
            below=fields["below"].number() if "below" in fields else None,
        )
    return Condition(slot, frozenset(value.text(most=1000) for value in node.items("value", most=50)))


def _refuse_unreachable(nodes: Mapping[str, Node], steps: Mapping[str, Step], first: str) -> None:
    reached: set[str] = set()
    waiting = [first]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += [route.target for route in steps[name].routes if route.target]
    for name, entry in nodes.items():
        if name not in reached:
            entry.fail("no step leads here; add a `next` that names it or remove it")


def _refuse_circles(nodes: Mapping[str, Node], steps: Mapping[str, Step]) -> None:
    """Refuses a loop of steps that do not wait for an answer, because a turn in such a loop would never end.

    The steps are walked depth first.
    """
    clear: set[str] = set()
    for start in steps:
        trail: list[tuple[str, list[str]]] = [(start, _silent_targets(steps, start))]
        on_trail = {start}
        while trail:
            name, targets = trail[-1]
            if not targets:
                trail.pop()
                on_trail.discard(name)
                clear.add(name)
                continue
            target = targets.pop()
            if target in on_trail:
                nodes[target].fail("leads back to itself without asking anything; add a question in between")
            if target not in clear:
                trail.append((target, _silent_targets(steps, target)))
                on_trail.add(target)


def _silent_targets(steps: Mapping[str, Step], name: str) -> list[str]:
    step = steps[name]
    if step.expect is not None:
        return []
    return [route.target for route in step.routes if route.target and steps[route.target].expect is None]

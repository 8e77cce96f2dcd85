"""Dialogs: questions in a row that keep their answers.

A step asks (`ask`, `confirm`), says (`say`) or hands over (`hand_off`); `next` says where it goes on. What can be
known to be wrong is refused when the script is loaded: steps that do not exist, that nothing leads to, or that
would talk in circles.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from waypost.bot import actions, answers, replies
from waypost.bot.actions import Action, Handover
from waypost.bot.answers import Choice, Expectation
from waypost.bot.document import Item
from waypost.bot.replies import Names, Reply

END = "end"
ANSWER = ""
"""The name under which a condition sees the answer just given; no slot can be called so."""

_MOST_DIALOGS = 100
_MOST_STEPS = 100
_DEFAULT_TIMEOUT_MINUTES = 60
_DEFAULT_TRIES = 3
_ASKING_KEYS = frozenset({"expect", "retry", "max_tries", "give_up", "store"})
_CONFIRM_KEYS = frozenset({"yes", "no", "yes_title", "no_title", "retry", "max_tries", "give_up"})
_DEFAULT_GIVE_UP = "Let us leave it there. Write again whenever you like."


@dataclass(frozen=True, slots=True)
class Condition:
    """True when the stored answer is one of `values` (when there are any) and lies between the bounds."""

    slot: str
    values: frozenset[str] = frozenset()
    above: Decimal | None = None
    below: Decimal | None = None

    def holds(self, slots: Mapping[str, str]) -> bool:
        """Whether it holds for these answers; an answer that is no number lies between no bounds."""
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
    """Where a step goes on when all conditions hold; `target` None ends the dialog."""

    target: str | None
    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class Patience:
    """What happens to messages that are no answer: `retry` is said, and after `max_tries` of them `give_up` is done."""

    retry: Reply = ()
    max_tries: int = _DEFAULT_TRIES
    give_up: Action = Action()  # noqa: RUF009 - frozen


@dataclass(frozen=True, slots=True)
class Step:
    """One step. `expect` is None for steps that wait for nothing; their `handover`, if any, ends the dialog."""

    name: str
    say: Reply
    routes: tuple[Route, ...]
    expect: Expectation | None = None
    store: str | None = None
    patience: Patience = Patience()
    handover: Handover | None = None

    def shows(self, button_id: str) -> bool:
        """Whether this button or row belongs to the question."""
        return isinstance(self.expect, Choice) and button_id in self.expect.titles

    def next_step(self, slots: Mapping[str, str]) -> str | None:
        """The name of the next step, None at the end."""
        for route in self.routes:
            if all(condition.holds(slots) for condition in route.conditions):
                return route.target
        return None


@dataclass(frozen=True, slots=True)
class Dialog:
    """Steps in order, the first of which begins it."""

    name: str
    steps: Mapping[str, Step]
    first: str
    timeout_s: float
    timed_out: Reply
    done: Reply
    slots: frozenset[str]


def stored_slots(item: Item) -> frozenset[str]:
    """The names of all answers that some step stores; read first, for texts anywhere may use them."""
    found = set()
    for dialog in item.named("dialog", most=_MOST_DIALOGS).values():
        for step in _steps_of(dialog).values():
            for key, value in step.keyed("key", most=20).items():
                if key == "store":
                    name = value.text(most=64)
                    if not name.isascii() or not name.isidentifier() or name != name.lower():
                        value.fail("not a name for an answer; use lower-case letters, digits and _")
                    found.add(name)
    return frozenset(found)


def _steps_of(dialog: Item) -> dict[str, Item]:
    fields = dialog.fields({"timeout_minutes", "timed_out", "steps", "done"}, required=("steps",))
    return fields["steps"].named("step", most=_MOST_STEPS)


def read(item: Item, names: Names) -> dict[str, Dialog]:
    """The `dialogs` of a script."""
    return {name: _dialog(name, entry, names) for name, entry in item.named("dialog", most=_MOST_DIALOGS).items()}


def _dialog(name: str, item: Item, names: Names) -> Dialog:
    fields = item.fields({"timeout_minutes", "timed_out", "steps", "done"})
    entries = _steps_of(item)
    if END in entries:
        entries[END].fail("'end' is where a dialog ends; give the step another name")
    order = list(entries)
    steps: dict[str, Step] = {}
    for index, (step_name, entry) in enumerate(entries.items()):
        following = order[index + 1] if index + 1 < len(order) else None
        steps[step_name] = _step(step_name, entry, names, following=following, order=order)
    _refuse_unreachable(entries, steps, order[0])
    _refuse_circles(entries, steps)
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


def _step(name: str, item: Item, names: Names, *, following: str | None, order: list[str]) -> Step:
    kinds = ("ask", "confirm", "say", "hand_off")
    fields = item.fields({*kinds, "next", *_ASKING_KEYS, *_CONFIRM_KEYS})
    given = [kind for kind in kinds if kind in fields]
    if len(given) != 1:
        item.fail(f"give exactly one of {', '.join(kinds)}")
    kind = given[0]
    allowed = {"ask": _ASKING_KEYS | {"next"}, "confirm": _CONFIRM_KEYS, "say": {"next"}, "hand_off": set()}[kind]
    for key, value in fields.items():
        if key not in allowed and key != kind:
            value.fail(f"has no meaning beside {kind!r}; remove it")
    if kind == "hand_off":
        return Step(name, (), (), handover=actions.handover(fields[kind], names))
    if kind == "say":
        routes = _routes(fields.get("next"), names, following=following, order=order, expect=None)
        return Step(name, replies.read(fields[kind], names), routes)
    if kind == "confirm":
        return _confirm(name, fields, names, following=following, order=order)
    question = replies.read(fields["ask"], names)
    shown = {identity: title for message in question for identity, title in message.shown.items()}
    expect = answers.read(fields.get("expect"), shown)
    store = fields["store"].text() if "store" in fields else None
    return Step(
        name,
        question,
        _routes(fields.get("next"), names, following=following, order=order, expect=expect),
        expect=expect,
        store=store,
        patience=_patience(fields, names),
    )


def _confirm(name: str, fields: Mapping[str, Item], names: Names, *, following: str | None, order: list[str]) -> Step:
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
        patience=_patience(fields, names),
    )


def _patience(fields: Mapping[str, Item], names: Names) -> Patience:
    give_up = Action(reply=replies.fixed(_DEFAULT_GIVE_UP))
    if "give_up" in fields:
        give_up = actions.read(fields["give_up"].fields({"reply", "hand_off"}), names, fields["give_up"])
    return Patience(
        retry=replies.read(fields["retry"], names) if "retry" in fields else (),
        max_tries=fields["max_tries"].whole(1, 20) if "max_tries" in fields else _DEFAULT_TRIES,
        give_up=give_up,
    )


def _target(item: Item, order: list[str]) -> str | None:
    target = item.text()
    if target == END:
        return None
    if target not in order:
        item.fail(f"step {target!r} does not exist; write one of: {', '.join([*order, END])}")
    return target


def _routes(
    item: Item | None, names: Names, *, following: str | None, order: list[str], expect: Expectation | None
) -> tuple[Route, ...]:
    otherwise = Route(following)
    if item is None:
        return (otherwise,)
    if item.is_text:
        return (Route(_target(item, order)),)
    if item.is_mapping:
        return (*_routes_by_answer(item, order, expect), otherwise)
    routes: list[Route] = []
    entries = item.items("rule", most=50)
    for position, entry in enumerate(entries):
        fields = entry.fields({"when", "go"}, required=("go",))
        if "when" not in fields and position + 1 < len(entries):
            entry.fail("has no `when`, so the rules below it are never reached; move it to the end")
        conditions = (
            tuple(_condition(slot, value, names) for slot, value in fields["when"].keyed("condition", most=20).items())
            if "when" in fields
            else ()
        )
        routes.append(Route(_target(fields["go"], order), conditions))
    if routes[-1].conditions:
        routes.append(otherwise)
    return tuple(routes)


def _routes_by_answer(item: Item, order: list[str], expect: Expectation | None) -> list[Route]:
    if not isinstance(expect, Choice):
        item.fail("a mapping from answer to step needs a choice; use a list of {when, go} rules")
    routes = []
    for answer, target in item.keyed("answer", most=50).items():
        if answer not in expect.titles:
            target.fail(f"is no answer of this step; answers are: {', '.join(expect.titles)}")
        routes.append(Route(_target(target, order), (Condition(ANSWER, frozenset({answer})),)))
    return routes


def _condition(slot: str, item: Item, names: Names) -> Condition:
    if slot not in names.slots:
        item.fail(f"no step stores {slot!r}; stored are: {', '.join(sorted(names.slots)) or 'none'}")
    if item.is_mapping:
        fields = item.fields({"above", "below"})
        if not fields:
            item.fail("give above, below or both")
        return Condition(
            slot,
            above=fields["above"].number() if "above" in fields else None,
            below=fields["below"].number() if "below" in fields else None,
        )
    return Condition(slot, frozenset(value.text(most=1000) for value in item.items("value", most=50)))


def _refuse_unreachable(entries: Mapping[str, Item], steps: Mapping[str, Step], first: str) -> None:
    reached: set[str] = set()
    waiting = [first]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += [route.target for route in steps[name].routes if route.target]
    for name, entry in entries.items():
        if name not in reached:
            entry.fail("no step leads here; point a `next` at it or remove it")


def _refuse_circles(entries: Mapping[str, Item], steps: Mapping[str, Step]) -> None:
    """Steps that wait for nothing must lead to one that does: follow them, deepest first."""
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
                entries[target].fail("leads back to itself without asking anything; put a question between")
            if target not in clear:
                trail.append((target, _silent_targets(steps, target)))
                on_trail.add(target)


def _silent_targets(steps: Mapping[str, Step], name: str) -> list[str]:
    step = steps[name]
    if step.expect is not None:
        return []
    return [route.target for route in step.routes if route.target and steps[route.target].expect is None]

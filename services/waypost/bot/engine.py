"""`turn`: what a script makes of one message. Pure, total and quick; every bound it needs was checked when the
script was loaded.

Order of judgement: consent words, then the words that leave a dialog, then what is valid at any time, then the question
that is open, then the intents, then the fallback.
"""

from dataclasses import dataclass, field, replace

from waypost.bot import state as memory
from waypost.bot.actions import Action, Handover
from waypost.bot.consent import Consent, classify
from waypost.bot.dialogs import ANSWER, Dialog, Step
from waypost.bot.effects import Effect, HandOff, OptIn, OptOut, Reply
from waypost.bot.event import BotEvent, readable
from waypost.bot.intents import Intent
from waypost.bot.placeholders import Values
from waypost.bot.replies import Reply as Said
from waypost.bot.script import Script
from waypost.bot.state import Progress, State
from waypost.bot.words import phrase
from waypost.cloudapi.messages import Outgoing

_WORDLESS = frozenset(
    {"reaction", "system", "unsupported", "unknown", "edit", "revoke", "request_welcome", "ephemeral", "errors"}
)
"""Message types by which nobody asks for anything: answered only where an intent names the type."""


def turn(script: Script, state: State, event: BotEvent) -> tuple[State, tuple[Effect, ...]]:
    """The new state of the conversation and what is to be done. `state` itself is left as it was.

    Never raises for a script that `script.load` returned, whatever the state and the event hold, and gives the same
    for the same.
    """
    return _Turn(script, memory.read(state, script.slots), _tidy(event)).run()


def _tidy(event: BotEvent) -> BotEvent:
    return replace(
        event,
        text=None if event.text is None else readable(event.text),
        profile_name=None if event.profile_name is None else readable(event.profile_name),
        now=memory.seconds(event.now),
        occurred_at=memory.seconds(event.occurred_at),
    )


@dataclass(slots=True)
class _Turn:
    """The working memory of one call."""

    script: Script
    progress: Progress
    event: BotEvent
    effects: list[Effect] = field(default_factory=list)

    def run(self) -> tuple[State, tuple[Effect, ...]]:
        if not self._settled_by_consent():
            self._converse()
        return memory.write(self.progress), tuple(self.effects)

    # -- consent

    def _settled_by_consent(self) -> bool:
        """Whether a consent word was the whole matter. A button of the script means what the script says."""
        script = self.script
        if self.event.button_id in script.buttons:
            return False
        wish = classify(self.event.text, stop=script.stop_words, start=script.start_words)
        if wish is Consent.STOP:
            self._stop(script.stop_reply)
            return True
        if wish is Consent.START:
            return self._start()
        return False

    def _stop(self, notice: Said) -> None:
        self.progress.leave()
        self.progress.slots.clear()
        self.progress.missed = 0
        self.progress.opted_out = True
        self.effects.append(OptOut(self._one(notice)))

    def _start(self) -> bool:
        # "start" is also how people greet a bot: someone who was not away gets the greeting, if the script has one.
        # The opt-in is noted all the same, for they may have been stopped by other means than a word in this
        # conversation.
        wanted = self.script.everything.by_content(self.event)
        if self.progress.opted_out or (wanted is None and self.progress.dialog is None):
            self.progress.opted_out = False
            self.effects.append(OptIn(self._one(self.script.start_reply)))
            return True
        self.effects.append(OptIn())
        return False

    # -- the conversation

    def _converse(self) -> None:
        silent_if_missed = False
        if self.progress.dialog is not None:
            dialog = self.script.dialogs.get(self.progress.dialog)
            if dialog is None:
                self.progress.leave()
            elif self._is_over(dialog):
                self.progress.leave()
                self._say(dialog.timed_out)
                silent_if_missed = bool(dialog.timed_out)
            else:
                self._continue(dialog)
                return
        intent = self.script.everything.by_button(self.event.button_id) or self.script.everything.by_content(self.event)
        if intent is not None:
            self._fulfil(intent)
        elif not silent_if_missed:
            self._miss()

    def _is_over(self, dialog: Dialog) -> bool:
        # Measured by when the contact wrote: an answer given in time is in time, however late it is worked on.
        written = self.event.occurred_at or self.event.now
        return written - self.progress.asked_at > dialog.timeout_s

    def _fulfil(self, intent: Intent) -> None:
        self.progress.missed = 0
        self._act(intent.action)

    def _miss(self) -> None:
        fallback = self.script.fallback
        if fallback is None or self.event.type in _WORDLESS:
            return
        self.progress.missed += 1
        if fallback.handover is not None and self.progress.missed >= fallback.hand_off_after:
            self._hand_off(fallback.handover)
            return
        self._say(fallback.reply)

    def _act(self, action: Action) -> None:
        if action.consent is Consent.STOP:
            self._stop(action.reply or self.script.stop_reply)
            return
        if action.consent is Consent.START:
            self.progress.opted_out = False
            self.effects.append(OptIn(self._one(action.reply or self.script.start_reply)))
            return
        self._say(action.reply)
        if action.handover is not None:
            self._hand_off(action.handover)
        elif action.start is not None:
            self._begin(self.script.dialogs[action.start])

    def _hand_off(self, handover: Handover) -> None:
        self.progress.leave()
        self.progress.missed = 0
        self.effects.append(HandOff(handover.minutes, self._one(handover.reply)))

    # -- dialogs

    def _begin(self, dialog: Dialog) -> None:
        for slot in dialog.slots:
            self.progress.slots.pop(slot, None)
        self.progress.missed = 0
        self._go(dialog, dialog.first)

    def _continue(self, dialog: Dialog) -> None:
        step = dialog.steps.get(self.progress.step or "")
        if step is None or step.expect is None:
            # The script was changed under the conversation; nobody is to blame but nobody should be puzzled either.
            self._say(self.script.restarted)
            self._begin(dialog)
            return
        answer = step.expect.judge(self.event) if self._answers_by_button(step) else None
        if answer is None:
            if self._leaves():
                self.progress.leave()
                self._say(self.script.cancel_reply)
                return
            aside = self.script.everything.by_button(self.event.button_id) or self.script.anytime.by_content(self.event)
            if aside is not None:
                self._answer_aside(dialog, step, aside)
                return
            answer = step.expect.judge(self.event)
        if answer is not None:
            self._accept(dialog, step, answer)
        elif self.event.type not in _WORDLESS:
            self._refuse(step)

    def _answers_by_button(self, step: Step) -> bool:
        return self.event.button_id is not None and step.shows(self.event.button_id)

    def _leaves(self) -> bool:
        text = self.event.text
        return bool(text) and phrase(text or "") in self.script.cancel_words

    def _answer_aside(self, dialog: Dialog, step: Step, intent: Intent) -> None:
        self._fulfil(intent)
        if self.progress.dialog == dialog.name and intent.action.start is None:
            self._ask(dialog, step)

    def _accept(self, dialog: Dialog, step: Step, answer: str) -> None:
        if step.store is not None:
            self.progress.slots[step.store] = answer
        self._go(dialog, step.next_step({**self.progress.slots, ANSWER: answer}))

    def _refuse(self, step: Step) -> None:
        self.progress.tries += 1
        patience = step.patience
        if self.progress.tries >= patience.max_tries:
            self.progress.leave()
            self._act(patience.give_up)
            return
        self.progress.asked_at = self.event.now
        self._say(patience.retry or (*self.script.not_understood, *step.say))

    def _go(self, dialog: Dialog, name: str | None) -> None:
        """From step to step until one waits for an answer; loading has made sure that there is an end to it."""
        while name is not None:
            step = dialog.steps[name]
            if step.expect is not None:
                self.progress.tries = 0
                self._ask(dialog, step)
                return
            self._say(step.say)
            if step.handover is not None:
                self._hand_off(step.handover)
                return
            name = step.next_step(self.progress.slots)
        self.progress.leave()
        self._say(dialog.done)

    def _ask(self, dialog: Dialog, step: Step) -> None:
        self.progress.dialog, self.progress.step = dialog.name, step.name
        self.progress.asked_at = self.event.now
        self._say(step.say)

    # -- saying

    def _say(self, reply: Said) -> None:
        if reply:
            values = self._values()
            self.effects.extend(Reply(message.render(values)) for message in reply)

    def _one(self, reply: Said) -> Outgoing | None:
        return reply[0].render(self._values()) if reply else None

    def _values(self) -> Values:
        return Values(
            profile_name=self.event.profile_name,
            message=self.event.text,
            slots=self.progress.slots,
            titles=self.script.titles,
            now=self.event.now,
            zone=self.script.zone,
        )

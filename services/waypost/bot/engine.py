"""Runs a script on one message.

A turn is pure and its time is bounded. The limits of the script were checked when the script was loaded.

Rules are tried in this order: consent words, words that leave a dialog, intents that are valid at any time,
the open question, all intents, the fallback.
"""

from dataclasses import dataclass, field, replace

from waypost.bot import state as conversation_state
from waypost.bot.actions import Action, Handover
from waypost.bot.consent import Consent, classify
from waypost.bot.dialogs import ANSWER, Dialog, Step
from waypost.bot.effects import Effect, HandOff, OptIn, OptOut, Reply
from waypost.bot.event import BotEvent, readable
from waypost.bot.intents import Intent
from waypost.bot.placeholders import Values
from waypost.bot.replies import ScriptedReply
from waypost.bot.script import Script
from waypost.bot.state import Progress, State
from waypost.bot.words import phrase
from waypost.cloudapi.message_types import MessageType
from waypost.cloudapi.messages import Outgoing

_TYPES_WITHOUT_REQUEST = frozenset(
    {
        MessageType.REACTION,
        MessageType.SYSTEM,
        MessageType.EDIT,
        MessageType.REVOKE,
        MessageType.REQUEST_WELCOME,
        MessageType.EPHEMERAL,
        MessageType.UNSUPPORTED,
        MessageType.UNKNOWN,
        MessageType.ERRORS,
    }
)
"""Message types that ask for nothing. They are answered only if an intent names the type."""


def turn(script: Script, state: State, event: BotEvent) -> tuple[State, tuple[Effect, ...]]:
    """Returns the conversation's new state and the effects of this message. `state` itself is not changed.

    The function never raises for a script that `script.load` returned, whatever the state and the event contain.
    Equal arguments give equal results.
    """
    return _Turn(script, conversation_state.read(state, script.slots), _tidy(event)).run()


def _tidy(event: BotEvent) -> BotEvent:
    return replace(
        event,
        text=None if event.text is None else readable(event.text),
        profile_name=None if event.profile_name is None else readable(event.profile_name),
        now=conversation_state.seconds(event.now),
        occurred_at=conversation_state.seconds(event.occurred_at),
    )


@dataclass(slots=True)
class _Turn:
    """Holds the working memory of one call of `turn`."""

    script: Script
    progress: Progress
    event: BotEvent
    effects: list[Effect] = field(default_factory=list)

    def run(self) -> tuple[State, tuple[Effect, ...]]:
        if not self._handle_consent():
            self._converse()
        return conversation_state.write(self.progress), tuple(self.effects)

    # -- consent

    def _handle_consent(self) -> bool:
        """Handles a message that is only a consent word. Returns True if the message needs no other answer.

        If the contact pressed a button of the script, the message is not a consent word, whatever its text is.
        """
        script = self.script
        if self.event.button_id in script.buttons:
            return False
        consent = classify(self.event.text, stop=script.stop_words, start=script.start_words)
        if consent is Consent.STOP:
            self._opt_out(script.stop_reply)
            return True
        if consent is Consent.START:
            return self._opt_in()
        return False

    def _opt_out(self, notice: ScriptedReply) -> None:
        self.progress.leave_dialog()
        self.progress.slots.clear()
        self.progress.missed = 0
        self.progress.opted_out = True
        self.effects.append(OptOut(self._render_first(notice)))

    def _opt_in(self) -> bool:
        # "start" is also a greeting. A contact who has not opted out gets the script's answer to it, if there is one.
        # The opt-in is recorded anyway: the contact may have opted out elsewhere, for instance in Meta's settings.
        wanted = self.script.everything.by_content(self.event)
        if self.progress.opted_out or (wanted is None and self.progress.dialog is None):
            self.progress.opted_out = False
            self.effects.append(OptIn(self._render_first(self.script.start_reply)))
            return True
        self.effects.append(OptIn())
        return False

    # -- the conversation

    def _converse(self) -> None:
        silent_if_missed = False
        if self.progress.dialog is not None:
            dialog = self.script.dialogs.get(self.progress.dialog)
            if dialog is None:
                self.progress.leave_dialog()
            elif self._is_timed_out(dialog):
                self.progress.leave_dialog()
                self._say(dialog.timed_out)
                silent_if_missed = bool(dialog.timed_out)
            else:
                self._continue_dialog(dialog)
                return
        intent = self.script.everything.by_button(self.event.button_id) or self.script.everything.by_content(self.event)
        if intent is not None:
            self._run_intent(intent)
        elif not silent_if_missed:
            self._fall_back()

    def _is_timed_out(self, dialog: Dialog) -> bool:
        # The time of writing counts: an answer that was given in time stays in time, however late it is processed.
        written = self.event.occurred_at or self.event.now
        return written - self.progress.asked_at > dialog.timeout_s

    def _run_intent(self, intent: Intent) -> None:
        self.progress.missed = 0
        self._perform(intent.action)

    def _fall_back(self) -> None:
        fallback = self.script.fallback
        if fallback is None or self.event.type in _TYPES_WITHOUT_REQUEST:
            return
        self.progress.missed += 1
        if fallback.handover is not None and self.progress.missed >= fallback.hand_off_after:
            self._hand_off(fallback.handover)
            return
        self._say(fallback.reply)

    def _perform(self, action: Action) -> None:
        if action.consent is Consent.STOP:
            self._opt_out(action.reply or self.script.stop_reply)
            return
        if action.consent is Consent.START:
            self.progress.opted_out = False
            self.effects.append(OptIn(self._render_first(action.reply or self.script.start_reply)))
            return
        self._say(action.reply)
        if action.handover is not None:
            self._hand_off(action.handover)
        elif action.start is not None:
            self._begin_dialog(self.script.dialogs[action.start])

    def _hand_off(self, handover: Handover) -> None:
        self.progress.leave_dialog()
        self.progress.missed = 0
        self.effects.append(HandOff(handover.minutes, self._render_first(handover.reply)))

    # -- dialogs

    def _begin_dialog(self, dialog: Dialog) -> None:
        for slot in dialog.slots:
            self.progress.slots.pop(slot, None)
        self.progress.missed = 0
        self._go(dialog, dialog.first)

    def _continue_dialog(self, dialog: Dialog) -> None:
        step = dialog.steps.get(self.progress.step or "")
        if step is None or step.expect is None:
            # The script changed mid-conversation: say so and restart the dialog.
            self._say(self.script.restarted)
            self._begin_dialog(dialog)
            return
        answer = step.expect.value_of(self.event) if self._answers_by_button(step) else None
        if answer is None:
            if self._is_cancel_word():
                self.progress.leave_dialog()
                self._say(self.script.cancel_reply)
                return
            script = self.script
            intent = script.everything.by_button(self.event.button_id) or script.anytime.by_content(self.event)
            if intent is not None:
                self._interrupt(dialog, step, intent)
                return
            answer = step.expect.value_of(self.event)
        if answer is not None:
            self._accept(dialog, step, answer)
        elif self.event.type not in _TYPES_WITHOUT_REQUEST:
            self._reject(step)

    def _answers_by_button(self, step: Step) -> bool:
        return self.event.button_id is not None and step.shows(self.event.button_id)

    def _is_cancel_word(self) -> bool:
        text = self.event.text
        return bool(text) and phrase(text or "") in self.script.cancel_words

    def _interrupt(self, dialog: Dialog, step: Step, intent: Intent) -> None:
        self._run_intent(intent)
        if self.progress.dialog == dialog.name and intent.action.start is None:
            self._ask(dialog, step)

    def _accept(self, dialog: Dialog, step: Step, answer: str) -> None:
        if step.store is not None:
            self.progress.slots[step.store] = answer
        self._go(dialog, step.next_step({**self.progress.slots, ANSWER: answer}))

    def _reject(self, step: Step) -> None:
        self.progress.tries += 1
        retry_policy = step.retry_policy
        if self.progress.tries >= retry_policy.max_tries:
            self.progress.leave_dialog()
            self._perform(retry_policy.give_up)
            return
        self.progress.asked_at = self.event.now
        self._say(retry_policy.retry or (*self.script.not_understood, *step.say))

    def _go(self, dialog: Dialog, name: str | None) -> None:
        """Goes from step to step until a step waits for an answer or the dialog ends.

        The loop always ends, because scripts that have a loop without a question are refused when they are loaded.
        """
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
        self.progress.leave_dialog()
        self._say(dialog.done)

    def _ask(self, dialog: Dialog, step: Step) -> None:
        self.progress.dialog, self.progress.step = dialog.name, step.name
        self.progress.asked_at = self.event.now
        self._say(step.say)

    # -- saying

    def _say(self, reply: ScriptedReply) -> None:
        if reply:
            values = self._values()
            self.effects.extend(Reply(message.render(values)) for message in reply)

    def _render_first(self, reply: ScriptedReply) -> Outgoing | None:
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

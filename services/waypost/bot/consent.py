"""Recognises opt-out and opt-in words in several languages.

A word counts only when it is the whole message. So "don't stop" and "stop by at nine" are not requests. Phone
carriers also take "cancel", "end" or "quit" in a text message as an opt-out. For a bot, these words only mean
that the contact leaves the dialog.
"""

import enum
from collections.abc import Collection

from waypost.bot.words import phrase, without_symbols, words


class Consent(enum.StrEnum):
    """The request of a contact to receive no more messages, or to receive messages again."""

    STOP = "stop"
    START = "start"


_LONGEST = 80
"""The most characters of an opt-out or opt-in message. A longer message is a sentence, not a command."""

_STOP_PHRASES = (
    *("stop", "stop all", "stopall", "unsubscribe", "opt out", "optout", "stop promotions", "stop messages"),
    *("stop messaging me", "unsubscribe me", "remove me"),
    *("arrêt", "arrêter", "arrêtez", "se désabonner", "désabonner", "me désabonner", "désinscrire", "désinscription"),
    *("stopp", "abmelden", "abbestellen", "austragen"),
    *("baja", "darme de baja", "dar de baja", "parar", "detener", "no más mensajes"),
    *("disiscrivimi", "disiscriviti", "cancella iscrizione", "annulla iscrizione", "ferma"),
    *("descadastrar", "cancelar inscrição", "pare", "remover"),
    *("afmelden", "uitschrijven", "wypisz", "rezygnuję", "avsluta prenumeration", "afmeld"),
    *("стоп", "отписаться", "отписка", "отпишите меня", "відписатися"),
    *("durdur", "abonelikten çık", "berhenti", "berhenti berlangganan"),
    *("إيقاف", "توقف", "إلغاء الاشتراك", "הסר", "הסירו אותי", "הסרה"),
    *("रोकें", "बंद करो", "बंद करें", "退订", "退訂", "停止", "配信停止", "수신거부", "수신 거부", "เลิกรับ", "huỷ đăng ký"),
)
_START_PHRASES = (
    *("start", "unstop", "subscribe", "opt in", "optin", "resume", "subscribe me"),
    *("s'abonner", "s'inscrire", "réabonner", "reprendre", "anmelden", "starten", "fortsetzen"),
    *("alta", "darme de alta", "reanudar", "suscribirme", "iscrivimi", "iscriviti", "riprendi"),
    *("inscrever", "assinar", "retomar", "aanmelden", "zapisz", "старт", "подписаться", "підписатися"),
    *("başlat", "mulai", "اشتراك", "ابدأ", "הצטרפות", "शुरू करें", "订阅", "訂閱", "再開", "수신동의"),
)
_POLITE = frozenset(words("please pls plz bitte por per favor favore alstublieft proszę пожалуйста lütfen tolong"))


def _key(text: str) -> str:
    said = without_symbols(words(text))
    return " ".join([word for word in said if word not in _POLITE] or said)


_STOP = frozenset(map(_key, _STOP_PHRASES))
_START = frozenset(map(_key, _START_PHRASES))


def phrases(texts: Collection[str]) -> frozenset[str]:
    """Prepares the opt-out or opt-in words of a script for `classify`."""
    return frozenset(_key(text) for text in texts if phrase(text))


def classify(
    text: str | None, *, stop: frozenset[str] = frozenset(), start: frozenset[str] = frozenset()
) -> Consent | None:
    """Returns the consent request that `text` makes, or None if it is any other message."""
    if not text:
        return None
    text = text.strip()
    if not text or len(text) > _LONGEST:
        return None
    key = _key(text)
    if key in _STOP or key in stop:
        return Consent.STOP
    if key in _START or key in start:
        return Consent.START
    return None

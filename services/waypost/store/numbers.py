"""The numbers this installation answers for, as the registry last named them."""

from collections.abc import Sequence

from sqlalchemy import Connection, text


def record(connection: Connection, entries: Sequence[tuple[str, str, str, str]]) -> None:
    """Keep `(number_id, namespace, name, waba_id)` of each number; what else is known of it stays."""
    if not entries:
        return
    connection.execute(
        text("""
            INSERT INTO number (number_id, namespace, name, waba_id)
            SELECT * FROM unnest(CAST(:ids AS text[]), CAST(:namespaces AS text[]), CAST(:names AS text[]),
                CAST(:accounts AS text[]))
            ON CONFLICT (number_id) DO UPDATE SET
                namespace = excluded.namespace, name = excluded.name, waba_id = excluded.waba_id, updated_at = now()
            WHERE (number.namespace, number.name, number.waba_id)
                IS DISTINCT FROM (excluded.namespace, excluded.name, excluded.waba_id)
        """),
        {
            "ids": [entry[0] for entry in entries],
            "namespaces": [entry[1] for entry in entries],
            "names": [entry[2] for entry in entries],
            "accounts": [entry[3] for entry in entries],
        },
    )

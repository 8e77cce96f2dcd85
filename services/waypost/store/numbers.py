"""Records the numbers of this installation, as the registry last listed them."""

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, text


def record(
    connection: Connection, numbers: Sequence[tuple[str, str, str, str]], *, hosted: Collection[str] = ()
) -> None:
    """Writes `(number_id, namespace, name, waba_id)` of each number, and whether its bot runs in hosts.

    The bots of the numbers in `hosted` run in hosts. Other columns of a number's row stay as they are.
    """
    if not numbers:
        return
    connection.execute(
        text("""
            INSERT INTO number (number_id, namespace, name, waba_id, hosted)
            SELECT * FROM unnest(CAST(:ids AS text[]), CAST(:namespaces AS text[]), CAST(:names AS text[]),
                CAST(:accounts AS text[]), CAST(:hosted AS boolean[]))
            ON CONFLICT (number_id) DO UPDATE SET
                namespace = excluded.namespace, name = excluded.name, waba_id = excluded.waba_id,
                hosted = excluded.hosted, updated_at = now()
            WHERE (number.namespace, number.name, number.waba_id, number.hosted)
                IS DISTINCT FROM (excluded.namespace, excluded.name, excluded.waba_id, excluded.hosted)
        """),
        {
            "ids": [number[0] for number in numbers],
            "namespaces": [number[1] for number in numbers],
            "names": [number[2] for number in numbers],
            "accounts": [number[3] for number in numbers],
            "hosted": [number[0] in hosted for number in numbers],
        },
    )

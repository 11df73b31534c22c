"""What manifests are made of, themselves included: the walk from an index down to its layers, as a part of statements.

It goes as far as manifests are known. Walks that carry more along with each digest, or stop on the way, stand where
they are needed.
"""


def with_made_of(start: str, statement: str) -> str:
    """Return `statement` behind the table `made_of (digest)`: what the query `start` gives, and all that this names.

    Both are text of the program; what comes from elsewhere is bound. More tables may follow before the statement
    proper, which then begins with a comma.
    """
    return f"""
    WITH RECURSIVE made_of (digest) AS (
        {start}
        UNION
        SELECT manifest_references.digest FROM made_of
        JOIN manifest_references ON manifest_references.manifest = made_of.digest
    )
    {statement}
    """  # noqa: S608 - both texts are ours

"""Refusals with the codes of gav.md, section 11."""


class Refused(Exception):
    """A file that must not be read: `code` is stable, `message` is for people."""

    def __init__(self, code, message):
        super().__init__(f"{code}: {message}")
        self.code = code


def require(condition, code, message):
    """Refuses unless `condition` holds."""
    if not condition:
        raise Refused(code, message)

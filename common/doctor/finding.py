"""What one check of ``doctor.py`` found."""

from dataclasses import dataclass

OK, NOTE, STOPS = "ok", "note", "STOP"


@dataclass(frozen=True)
class Finding:
    """A line of the report.

    Attributes
    ----------
    what : str
        What was looked at.
    state : {"ok", "note", "STOP"}
        As it should be; worth knowing; or it would stop a training.
    text : str
        What was found.
    mend : str or None
        The command or the step that mends it; of what is as it should be, one that goes on.
    """

    what: str
    state: str
    text: str
    mend: str | None = None

    def lines(self):
        """Write it for people: a line, and another one that says how to mend it."""
        lines = [f"{self.state:<5} {self.what:<15} {self.text}"]
        if self.mend:
            lines.append(f"{'':21} {'next' if self.state == OK else 'mend'}: {self.mend}")
        return lines

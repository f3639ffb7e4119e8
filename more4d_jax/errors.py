"""The one exception for mistakes that a user can mend."""


class UserError(ValueError):
  """Says in one line what was expected, what was found and what to do.

  The command line prints it as `error: <line>` without a traceback and exits
  with status 2; in Python it is an ordinary `ValueError`.
  """


class PartlyDoneError(UserError):
  """Some results are there and others failed; the exit status is 3."""


class DamagedRecordError(UserError):
  """A record cannot be read; a loader may leave it out, and counts it."""

"""The exception for mistakes in the user's input."""


class InputError(SystemExit):
    """A mistake in the user's input: Python prints only the message, without a traceback, and exits with status 1.

    The message is one line that names the file or parameter, the value found and what was expected.
    """

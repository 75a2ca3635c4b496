"""The command `clipstore`. Results go to stdout, messages to stderr; exit status 1 is a mistake in the input, 2 a wrong call."""

import click

from clipstore.commands.label import label
from clipstore.core.errors import InputError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def cli() -> None:
    """Work with the images of this project, from any folder in it.

    \b
    Example: draw 50 images at random, label them, and bring the labels in
      clipstore label sample 50 birds
      clipstore label import labelled.json birds
    """


cli.add_command(label)


def main() -> None:
    """Run the command; a file that cannot be read or written is reported in one line.

    Raises:
        InputError: the system refuses a file.
    """
    try:
        cli(prog_name="clipstore")
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}") from None

"""How a command ends: results on stdout, one line on stderr for a mistake, and the exit code that goes with it."""

import os
import signal
import sys
from contextlib import suppress
from difflib import get_close_matches
from types import FrameType
from typing import NoReturn

import click
from click.exceptions import Exit, NoArgsIsHelpError

from kvsim.errors import UserError, unknown

MISTAKE, INTERRUPTED, TERMINATED = 2, 130, 143


def ends_well(command: click.Command) -> NoReturn:
    """Run `command` on the process's arguments and exit; only a defect of ours leaves as an exception (exit code 1)."""
    signal.signal(signal.SIGTERM, _terminate)  # as an exception, so that half-written files are removed
    try:
        code = _run(command)
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt:
        code = _say("interrupted", INTERRUPTED)
    except BrokenPipeError:
        code = MISTAKE  # the reader went away: nobody is left to tell
    except OSError as error:
        if sys.stdout is None or not _lost(sys.stdout.fileno()):
            raise
        code = _say(f"cannot write to stdout: {error.strerror}", MISTAKE)
    _close_stdout()
    sys.exit(code)


def _run(command: click.Command) -> int:
    if sys.stdout is None:
        return _say("stdout is closed", MISTAKE)
    try:
        with command.make_context("kvsim", sys.argv[1:]) as ctx:
            command.invoke(ctx)
    except Exit as end:
        return end.exit_code
    except NoArgsIsHelpError as end:  # a group named alone
        click.echo(end.ctx.get_help() if end.ctx else "")
    except UserError as error:
        return _say(str(error), MISTAKE)
    except click.ClickException as error:
        return _say(_explained(error), MISTAKE)
    return 0


def _explained(error: click.ClickException) -> str:
    """A fault of the command line, in one line."""
    ctx: click.Context | None = getattr(error, "ctx", None)
    if ctx is None:
        return error.format_message()
    path, command = ctx.command_path, ctx.command
    where = path.removeprefix("kvsim").strip()
    if isinstance(error, click.NoSuchOption):
        return _unknown_option(error.option_name, command, ctx, where)
    if isinstance(error, click.NoSuchCommand) and isinstance(command, click.Group):
        return str(unknown("command", error.command_name, command.list_commands(ctx), where))
    message = error.format_message().rstrip(".")
    return f"{where}: {message[:1].lower()}{message[1:]}; `{path} --help` shows what it takes".removeprefix(": ")


def _unknown_option(got: str, command: click.Command, ctx: click.Context, where: str) -> str:
    known = [name[2:] for param in command.get_params(ctx) for name in param.opts if name.startswith("--")]
    near = [f"--{name}" for name in get_close_matches(got.lstrip("-"), known)]  # dashes would make all alike
    hint = f"did you mean {' or '.join(near)}?" if near else f"`{ctx.command_path} --help` shows what it takes"
    return f"{where}: unknown option {got!r}: {hint}".removeprefix(": ")


def _say(message: str, code: int) -> int:
    """One line on stderr, whatever is in `message`."""
    line = " ".join(message.splitlines())
    with suppress(OSError):
        click.echo(f"kvsim: {line}", err=True)
    return code


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(TERMINATED)


def _lost(descriptor: int) -> bool:
    """Whether nothing can be written there any more (a full disk, a closed descriptor)."""
    try:
        os.write(descriptor, b"")
        sys.stdout.flush()
    except (OSError, ValueError):
        return True
    return False


def _close_stdout() -> None:
    """Point stdout at nothing if it cannot be flushed: Python would complain about it while it exits."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

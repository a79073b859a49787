"""Entry point: finds the verb, and turns every expected failure into one line and an exit code."""

from __future__ import annotations

import errno
import importlib
import os
import signal
import sys
import threading
import traceback

import click

from runtime.errors import GatefoldError, meant
from runtime.version import VERSION

VERBS = {
    "demo": "Train, lower, export, verify and report two small networks on real images.",
    "train": "Train a model or a recipe into a run directory.",
    "quantize": "Give a trained plain network HEQ weights and low-bit activations, and train it further.",
    "prune": "Prune a network round by round and measure what is left, for real and quaternion networks.",
    "explore": "Search a space of networks for the best accuracy at every cost in gates or bytes.",
    "lower": "Lower a trained run to one integer program.",
    "export": "Write a program for another system: ONNX, C99, Verilog or a netlist.",
    "run": "Run a program on a batch of raw inputs.",
    "evaluate": "Measure a program's accuracy on a data set.",
    "verify": "Check that executors agree bit for bit.",
    "publish": "Make a folder of a run's program, test vectors and a card that says what it is.",
    "report": "Say what a program costs in gates, bytes and operations, and which devices it fits.",
    "bench": "Measure the speed of executors against ONNX Runtime in float32 and int8.",
    "collect": "Put measurements of `gatefold bench --save` from several machines into one page.",
    "inspect": "Print a program as text.",
    "models": "List the models and recipes that can be trained.",
    "executors": "List the executors and whether they can run here.",
    "devices": "List the devices that reports can judge.",
}
"""Verbs in the order of the main job; each is ``toolchain.cli.<verb>:command``."""

INTERRUPTED, TERMINATED = 130, 143

ON_DISK = "every file left is whole; --resume goes on where a verb has it"


class Terminated(BaseException):
    """SIGTERM: what a time limit or a service manager sends, to be treated as Ctrl-C. Not a
    KeyboardInterrupt, which click makes an Abort of."""


COMMON = (GatefoldError, click.ClickException, click.Abort, KeyboardInterrupt, Terminated)
"""What all processes that ``torchrun`` starts on a machine meet alike; the first says it for all."""


def _terminate(*_: object) -> None:
    raise Terminated


class VerbGroup(click.Group):
    """A click group that imports a verb's module only when that verb is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Verbs in the order of the main job."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb's command, or None for an unknown verb."""
        if cmd_name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f"toolchain.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The verb that is asked for. Raises UsageError, with the verb that may have been meant."""
        if args and not args[0].startswith("-") and args[0] not in VERBS:
            raise click.UsageError(f"No such command {args[0]!r:.80}{meant(args[0], VERBS)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=VerbGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="gatefold")
def cli() -> None:
    """Gatefold folds trained neural networks into gates.

    Start with `gatefold demo`. Add --debug anywhere to see the traceback of an error.
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code. Never shows a traceback without ``--debug``."""
    # OpenMP threads that spin while they wait starve each other where cores are shared: 2 to 3 times
    # slower training. It must be set before torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    argv = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in argv
    argv = [a for a in argv if a != "--debug"] or ["--help"]
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)
    try:
        code = cli.main(argv, prog_name="gatefold", standalone_mode=False) or 0
        if sys.stdout:  # None where the shell has closed it
            sys.stdout.flush()
    except (
        click.ClickException,
        GatefoldError,
        click.Abort,
        KeyboardInterrupt,
        Terminated,
        MemoryError,
        OSError,
    ) as error:
        if debug:
            traceback.print_exc()
        code = report_failure(error)
    sys.exit(code)


def report_failure(error: BaseException) -> int:
    """Print one line for an expected failure on standard error; returns the exit code."""
    if isinstance(error, OSError) and error.errno == errno.EPIPE:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    message, code = describe_failure(error)
    if isinstance(error, COMMON) and os.environ.get("LOCAL_RANK", "0") != "0":
        return code
    print(f"gatefold: {' '.join(message.split())}", file=sys.stderr)
    return code


def describe_failure(error: BaseException) -> tuple[str, int]:
    """The message and the exit code of an expected failure."""
    message, code = str(error), 1
    match error:
        case GatefoldError():
            code = error.exit_code
        case click.ClickException():
            hint = f" (see `{error.ctx.command_path} --help`)" if getattr(error, "ctx", None) else ""
            message, code = error.format_message() + hint, error.exit_code
        case Terminated():
            message, code = f"terminated; {ON_DISK}", TERMINATED
        case click.Abort() | KeyboardInterrupt():
            message, code = f"interrupted; {ON_DISK}", INTERRUPTED
        case MemoryError():
            message = "out of memory; use a smaller batch or a smaller program"
        case OSError(strerror=str(why)):
            message = f"cannot read or write {error.filename or 'the output'}: {why}"
    return message, code

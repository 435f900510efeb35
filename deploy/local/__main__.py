"""`python -m deploy.local`: the commands behind `make up`, `down`, `status`, `logs` and `test`."""

import argparse
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator

from deploy.local import bootstrap, environment
from deploy.local.instance import OFFSETS, SERVERS, SERVICES, Instance
from deploy.local.servers import wipe
from deploy.local.stack import NotReadyError, Stack
from libs.common.telling import tell


def up(stack: Stack, arguments: argparse.Namespace) -> None:
    stack.ensure_restored()
    changed = environment.choose(stack.instance, dict(arguments.choices))
    if not changed and stack.complete():
        print("The stack is already running.")
    else:
        print(f"Starting {', '.join(SERVERS)}")
        stack.start_servers()
        stack.set_up()
        print(f"Starting {', '.join(SERVICES)}")
        stack.start_services()
        print("The stack is up.")
    feed = stack.environment()["MARKETDATA_FEED"]
    print(bootstrap.introduce(stack.instance, bootstrap.demo(stack.instance), feed))


def servers(stack: Stack, arguments: argparse.Namespace) -> None:
    stack.start_servers()
    print(f"Servers of `{stack.instance.name}` are up; their addresses: {stack.instance.env_file}")


def down(stack: Stack, arguments: argparse.Namespace) -> None:
    stack.down()
    print("The stack is stopped.")


def status(stack: Stack, arguments: argparse.Namespace) -> None:
    tell(_lines(stack))


def _lines(stack: Stack) -> Iterator[str]:
    """Each as soon as it is known: what hangs is asked for seconds."""
    states, since = stack.supervisor.states(), stack.supervisor.since()
    for name in SERVERS | SERVICES:
        state = states.get(name, "STOPPED")
        there = stack.answers(name) if name in SERVERS else stack.ready(name)
        word = "not ready" if not there else "ready" if state == "RUNNING" else "not ours"
        began = f"  since {since[name]}" if name in since else ""
        yield f"{name:12} {state:9} {word:10} 127.0.0.1:{stack.instance.port(name)}{began}"
    if not states:
        yield "Nothing runs: `make up` starts it."


def logs(stack: Stack, arguments: argparse.Namespace) -> None:
    names = arguments.service or [*SERVERS, *SERVICES]
    files = [str(stack.instance.log / f"{name}.log") for name in names]
    if not stack.instance.log.exists():
        raise NotReadyError(f"nothing was logged in {stack.instance.log} yet: `make up` starts the stack")
    subprocess.run(("tail", "--follow=name", "--retry", "--quiet", "--lines=50", *files), check=False)


def choice(text: str) -> tuple[str, str]:
    name, is_given, value = text.partition("=")
    if not (name and is_given):
        raise argparse.ArgumentTypeError(f"{text} is no choice")
    return name, value


def logged(name: str) -> str:
    if name not in SERVERS | SERVICES:
        raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(SERVERS | SERVICES)}")
    return name


def forget(stack: Stack, arguments: argparse.Namespace) -> None:
    stack.down()
    wipe(stack.instance)


def test(stack: Stack, arguments: argparse.Namespace) -> None:
    """Runs a command beside fresh servers and stops them after; servers found running stay, with what they hold."""
    if stack.instance == Instance():
        sys.exit("`test` begins with empty servers, and those of `make up` hold what people keep: give --instance test")
    if not shutil.which(program := next(iter(arguments.command), "")):
        why = f"there is no {program}" if program else "none was given"
        sys.exit(f"`test` runs a command beside the servers, and {why}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    found = stack.supervisor.running()
    try:
        if not found:
            forget(stack, arguments)
        stack.start_servers()
        variables = os.environ | stack.environment() | {"OPENALGO_TEST_STACK": "1"}
        done = subprocess.run(arguments.command, env=variables, check=False)
    finally:
        if not found:
            stack.down()
    sys.exit(done.returncode)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m deploy.local", description=__doc__)
    parser.add_argument("--instance", choices=OFFSETS, default="local")
    commands = parser.add_subparsers(required=True)
    for command in (up, servers, down, status, logs, forget, test):
        sub = commands.add_parser(command.__name__)
        sub.set_defaults(run=command)
        if command is up:
            sub.add_argument("choices", nargs="*", metavar="NAME=VALUE", type=choice)
        if command is logs:
            # not `choices`: argparse of Python 3.11 refuses that none was named
            sub.add_argument("service", nargs="*", type=logged)
        if command is test:
            sub.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    try:
        arguments.run(Stack(arguments.instance), arguments)
    except (NotReadyError, environment.ChoiceError) as failure:
        sys.exit(str(failure))
    except KeyboardInterrupt:
        sys.exit(130)
    except subprocess.CalledProcessError as failure:
        sys.exit(f"failed: {' '.join(map(str, failure.cmd))}")


if __name__ == "__main__":
    main()

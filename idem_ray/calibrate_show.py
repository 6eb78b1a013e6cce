"""`idem-ray calibrate`: n_seed for wanted trait scores of cycle 0, on a terminal."""

import sys
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from idem_ray.calibrate import Calibration
from idem_ray.config import LineageConfig
from idem_ray.errors import UserError
from idem_ray.plan import Plan
from idem_ray.run import check_models, in_background, log_file, only_driver, tell_failure
from idem_ray.session import open_session
from idem_ray.store import RunStore
from idem_ray.tables import estimate_text
from idem_ray.terminal import Watch, chatter_to, plain_console, waiting


def run_calibration(config: LineageConfig, targets: Sequence[float]) -> None:
    """Find and print the smallest n_seed for every target; what earlier commands have measured is not done again.

    Raises:
        UserError: bad input, found before anything long was started.
    """
    check_models([config])
    calibration = Calibration(config, RunStore(config.output).uri)
    first = calibration.run_config(calibration.largest)
    Plan.of(first)
    console = plain_console(sys.stdout)
    found: dict[float, int | str] = {}

    def known(target: float) -> bool:
        try:
            n_seed = calibration.known_n_seed(target)
        except UserError as error:
            found[target] = str(error)
            return True
        if n_seed is not None:
            found[target] = n_seed
        return n_seed is not None

    missing = [target for target in targets if not known(target)]
    if missing:
        folder = RunStore(first.output)
        log = log_file(folder)
        with only_driver([folder]), chatter_to(log) as terminal:
            terminal.print(f"folder {folder.uri}, log {log}", soft_wrap=True, markup=False)
            with waiting(terminal) as tell, open_session([first], tell) as session:
                at_work: dict[str, str] = {}
                watch = Watch(session.pools.board, at_work, terminal, config.cluster.stall_timeout_seconds)

                def task() -> None:
                    for target in missing:
                        if not known(target):
                            try:
                                found[target] = calibration.n_seed(target, session, terminal, at_work)
                            except UserError as error:
                                found[target] = str(error)

                with watch:
                    error = in_background(task, watch, log, terminal)
                if error:
                    tell_failure(error, "the calibration", terminal, log)
    _show(calibration, found, console)
    if not any(isinstance(n_seed, int) for n_seed in found.values()):
        raise UserError("No target was reached.")


def _show(calibration: Calibration, found: dict[float, int | str], console: Console) -> None:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1))
    for heading in ("n_seed", "trait in cycle 0", "smallest for"):
        table.add_column(heading, justify="right")
    for n_seed, trait in calibration.measured().items():
        reached = ", ".join(f"{target:g}" for target, n in found.items() if n == n_seed)
        table.add_row(*map(Text, [str(n_seed), estimate_text(trait), reached]))
    console.print(table)
    for told in found.values():
        if isinstance(told, str):
            console.print(told, soft_wrap=True, markup=False)
    console.print("In a sweep's config: n_seed: calibrated(40) takes these, and shares their cycle 0.", markup=False)
